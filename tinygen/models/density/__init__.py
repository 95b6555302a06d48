"""Densities without latent variables, from counts to nets."""

from tinygen.models.density.kernel import KernelDensity

__all__ = ["KernelDensity"]
