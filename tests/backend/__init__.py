"""Tests of tinygen/backend: each function against a plain reference, on NumPy and on a stand-in for CuPy."""
