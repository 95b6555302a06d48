"""Energy-based models: restricted Boltzmann machines and what is built of them."""

from tinygen.models.energy.deep_autoencoder import CodeRBM, DeepAutoencoder
from tinygen.models.energy.deep_belief_net import DeepBeliefNet
from tinygen.models.energy.gaussian_rbm import GaussianRBM
from tinygen.models.energy.rbm import RBM

__all__ = ["CodeRBM", "DeepAutoencoder", "DeepBeliefNet", "GaussianRBM", "RBM"]
