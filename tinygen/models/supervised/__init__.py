"""Supervised learning: classifiers, and what makes them learn."""

from tinygen.models.supervised.backpropagation import Network
from tinygen.models.supervised.batch_normalisation import NormalisedNet
from tinygen.models.supervised.classifier import Classifier
from tinygen.models.supervised.dropout import DropoutNet

__all__ = ["Classifier", "DropoutNet", "Network", "NormalisedNet"]
