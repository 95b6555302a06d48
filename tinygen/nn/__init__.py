"""Networks: modules, layers, and the functions and losses they are made of (PyTorch's names and layouts)."""

from tinygen.nn import functional
from tinygen.nn.layers import Flatten, LeakyReLU, Linear, ReLU, Sigmoid, Softplus, Tanh
from tinygen.nn.module import Module, ModuleList, Sequential

__all__ = [
    "Flatten", "LeakyReLU", "Linear", "Module", "ModuleList", "ReLU", "Sequential", "Sigmoid", "Softplus", "Tanh",
    "functional",
]  # fmt: skip
