"""What the variations on the variational autoencoder share: errors that carry the variation's own name."""

from __future__ import annotations

from tinygen.models.vae.vae import VAE


class Variant(VAE):
    """A `VAE` by another name."""

    def _checked(self, x):
        """As `VAE` does it."""
        try:
            return super()._checked(x)
        except ValueError as error:
            raise ValueError(str(error).replace("VAE:", f"{type(self).__name__}:", 1)) from None
