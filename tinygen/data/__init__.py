"""Data sets, and minibatches of them. Arrays are NumPy's; nothing here knows Tensors."""

from tinygen.data.batches import Batches, batch
from tinygen.data.loaders import Dataset, Labelled, load

__all__ = ["Batches", "Dataset", "Labelled", "batch", "load"]
