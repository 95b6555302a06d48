"""Tests of tinygen/autograd: each promise of the engine, and proof that each checker can fail."""
