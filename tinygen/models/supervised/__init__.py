"""Supervised learning: classifiers, and what makes them learn."""

from tinygen.models.supervised.audio import DilatedNet
from tinygen.models.supervised.backpropagation import Network
from tinygen.models.supervised.batch_normalisation import NormalisedNet
from tinygen.models.supervised.class_activation import ActivationNet
from tinygen.models.supervised.classifier import Classifier
from tinygen.models.supervised.convolutional import ConvolutionalNet
from tinygen.models.supervised.decision_rules import Readout
from tinygen.models.supervised.dropout import DropoutNet
from tinygen.models.supervised.feed_forward import FeedForward
from tinygen.models.supervised.fine_tuning import FineTuned
from tinygen.models.supervised.generative import GenerativeClassifier
from tinygen.models.supervised.gradient_descent import DescentRegression
from tinygen.models.supervised.gradient_estimation import EstimatedDescent
from tinygen.models.supervised.linear_discriminant import LinearDiscriminantAnalysis
from tinygen.models.supervised.linear_regression import LinearRegression
from tinygen.models.supervised.losses import LinearPredictor
from tinygen.models.supervised.naive_bayes import NaiveBayes
from tinygen.models.supervised.perceptron import Perceptron, SigmaNeuron
from tinygen.models.supervised.quadratic_discriminant import QuadraticDiscriminantAnalysis
from tinygen.models.supervised.recurrent import SequenceClassifier
from tinygen.models.supervised.residual import ResidualNet
from tinygen.models.supervised.risk import PolynomialRegression
from tinygen.models.supervised.softmax_regression import SoftmaxRegression
from tinygen.models.supervised.wide_net import WideNet

__all__ = [
    "ActivationNet", "Classifier", "ConvolutionalNet", "DescentRegression", "DilatedNet", "DropoutNet",
    "EstimatedDescent", "FeedForward", "FineTuned", "GenerativeClassifier", "LinearDiscriminantAnalysis",
    "LinearPredictor", "LinearRegression", "NaiveBayes", "Network", "NormalisedNet", "Perceptron",
    "PolynomialRegression", "QuadraticDiscriminantAnalysis", "Readout", "ResidualNet", "SequenceClassifier",
    "SigmaNeuron", "SoftmaxRegression", "WideNet",
]  # fmt: skip
