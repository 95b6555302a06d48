"""Supervised learning: classifiers, and what makes them learn."""

from tinygen.models.supervised.backpropagation import Network
from tinygen.models.supervised.batch_normalisation import NormalisedNet
from tinygen.models.supervised.classifier import Classifier
from tinygen.models.supervised.convolutional import ConvolutionalNet
from tinygen.models.supervised.dropout import DropoutNet
from tinygen.models.supervised.linear_regression import LinearRegression
from tinygen.models.supervised.risk import PolynomialRegression
from tinygen.models.supervised.softmax_regression import SoftmaxRegression

__all__ = [
    "Classifier", "ConvolutionalNet", "DropoutNet", "LinearRegression", "Network", "NormalisedNet",
    "PolynomialRegression", "SoftmaxRegression",
]  # fmt: skip
