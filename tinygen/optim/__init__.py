"""Optimisers: each is a formula for one step (PyTorch's names and defaults); and what goes with them."""

from tinygen.optim import schedules
from tinygen.optim.adagrad import Adagrad
from tinygen.optim.adam import Adam, AdamW
from tinygen.optim.averaging import ParameterAverage
from tinygen.optim.clipping import clip_by_norm, clip_by_value, clip_grad_norm_, clip_grad_value_
from tinygen.optim.optimizer import Optimizer
from tinygen.optim.rmsprop import RMSprop
from tinygen.optim.schedules import Schedule
from tinygen.optim.scipy_minimize import minimize
from tinygen.optim.sgd import SGD, PreconditionedSGD
from tinygen.optim.unrolled import momentum_step, sgd_step

__all__ = [
    "SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "ParameterAverage", "PreconditionedSGD", "RMSprop", "Schedule",
    "clip_by_norm", "clip_by_value", "clip_grad_norm_", "clip_grad_value_", "minimize", "momentum_step", "schedules",
    "sgd_step",
]  # fmt: skip
