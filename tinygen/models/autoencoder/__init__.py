"""Autoencoders."""

from tinygen.models.autoencoder.autoencoder import Autoencoder, fully_connected

__all__ = ["Autoencoder", "fully_connected"]
