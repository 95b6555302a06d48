"""Optimisers: each is a formula for one step (PyTorch's names and defaults)."""

from tinygen.optim.adam import Adam
from tinygen.optim.optimizer import Optimizer
from tinygen.optim.sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer"]
