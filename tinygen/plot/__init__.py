"""Pictures of samples, codes and runs."""

from tinygen.plot.figures import curves, figure, image_grid, scatter_latent

__all__ = ["curves", "figure", "image_grid", "scatter_latent"]
