"""Variational autoencoders."""

from tinygen.models.vae import exploring, importance
from tinygen.models.vae.beta_vae import BetaVAE
from tinygen.models.vae.inverse_graphics import InverseGraphics
from tinygen.models.vae.perceptual import PerceptualVAE
from tinygen.models.vae.vae import VAE

__all__ = ["VAE", "BetaVAE", "InverseGraphics", "PerceptualVAE", "exploring", "importance"]
