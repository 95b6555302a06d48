"""Autoencoders."""

from tinygen.models.autoencoder.autoencoder import Autoencoder, fully_connected
from tinygen.models.autoencoder.convolutional import ConvolutionalAutoencoder
from tinygen.models.autoencoder.denoising import DenoisingAutoencoder
from tinygen.models.autoencoder.markov_chain import DenoisingChain
from tinygen.models.autoencoder.novelty import SymbolMaker
from tinygen.models.autoencoder.sparse import SparseAutoencoder
from tinygen.models.autoencoder.stacked import StackedAutoencoder
from tinygen.models.autoencoder.uses import Appended, Unrolling

__all__ = [
    "Appended",
    "Autoencoder",
    "ConvolutionalAutoencoder",
    "DenoisingAutoencoder",
    "DenoisingChain",
    "SparseAutoencoder",
    "StackedAutoencoder",
    "SymbolMaker",
    "Unrolling",
    "fully_connected",
]
