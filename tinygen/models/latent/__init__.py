"""Latent variables, classical: what is hidden has few values, or a linear effect."""

from tinygen.models.latent.em import EM, Posterior
from tinygen.models.latent.gaussian_mixture import GaussianMixture
from tinygen.models.latent.k_means import KMeans

__all__ = ["EM", "GaussianMixture", "KMeans", "Posterior"]
