"""Densities without latent variables, from counts to nets."""

from tinygen.models.density.anomaly import AnomalyDetector, ChangePoint
from tinygen.models.density.belief_net import LogisticBeliefNet
from tinygen.models.density.divergences import GaussianOnGrid
from tinygen.models.density.gaussian import Gaussian
from tinygen.models.density.grouped_belief_net import GroupedBeliefNet
from tinygen.models.density.histogram import Histogram
from tinygen.models.density.kernel import KernelDensity
from tinygen.models.density.nearest_neighbours import NearestNeighbours

__all__ = [
    "AnomalyDetector", "ChangePoint", "Gaussian", "GaussianOnGrid", "GroupedBeliefNet", "Histogram", "KernelDensity",
    "LogisticBeliefNet", "NearestNeighbours",
]  # fmt: skip
