"""Variational autoencoders."""

from tinygen.models.vae.vae import VAE

__all__ = ["VAE"]
