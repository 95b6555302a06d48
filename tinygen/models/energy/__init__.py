"""Energy-based models: restricted Boltzmann machines and what is built of them."""

from tinygen.models.energy.rbm import RBM

__all__ = ["RBM"]
