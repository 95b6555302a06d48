"""Pictures of samples, codes and runs."""

from tinygen.plot.figures import curves, figure, image_grid, scatter_latent, scatter_panels

__all__ = ["curves", "figure", "image_grid", "scatter_latent", "scatter_panels"]
