"""Variational autoencoders."""

from tinygen.models.vae import exploring, importance
from tinygen.models.vae.vae import VAE

__all__ = ["VAE", "exploring", "importance"]
