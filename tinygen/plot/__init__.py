"""Pictures of samples, codes and runs; a recorder whose page replays a run."""

from tinygen.plot.figures import confusion, curves, figure, image_grid, scatter_latent, scatter_panels
from tinygen.plot.replay import Replay, gan_layers, lattice

__all__ = [
    "Replay", "confusion", "curves", "figure", "gan_layers", "image_grid", "lattice", "scatter_latent",
    "scatter_panels",
]  # fmt: skip
