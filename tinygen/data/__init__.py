"""Data sets by name, pictures drawn on demand, points of known density, and minibatches.

Arrays are NumPy's; nothing here knows Tensors. Nothing is fetched from anywhere unless `download` is called.
"""

from tinygen.data import binarize, clothes, faces, figures, glyphs, scenes, shapes
from tinygen.data.batches import Batches, batch, in_order
from tinygen.data.downloads import download
from tinygen.data.folders import image_folder
from tinygen.data.glyphs import warp
from tinygen.data.idx import DataError, MissingDataError, read_idx, write_idx
from tinygen.data.loaders import Dataset, Labelled, Points, load, names
from tinygen.data.mixtures import Mixture, grid, mixture, moons, ring, swiss_roll
from tinygen.data.pictures import Attributed, attributes, draw, drawing, drawn
from tinygen.data.published import load_parameters

__all__ = [
    "Attributed", "Batches", "DataError", "Dataset", "Labelled", "MissingDataError", "Mixture", "Points", "attributes",
    "batch", "binarize", "clothes", "download", "draw", "drawing", "drawn", "faces", "figures", "glyphs", "grid",
    "image_folder", "in_order", "load", "load_parameters", "mixture", "moons", "names", "read_idx", "ring", "scenes",
    "shapes", "swiss_roll", "warp", "write_idx",
]  # fmt: skip
