"""Tests of `tinygen.nn`."""
