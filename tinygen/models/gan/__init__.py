"""Generative adversarial networks: the game, its losses, and what was built on them."""

from tinygen.models.gan.game import GAN, normal, uniform
from tinygen.models.gan.losses import LOSSES, Loss

__all__ = ["GAN", "LOSSES", "Loss", "normal", "uniform"]
