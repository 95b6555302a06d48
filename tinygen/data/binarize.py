"""Grey images in [0, 1] as images of zeros and ones: the three conventions, which give different likelihoods.

The literature's figures for binarized MNIST are not comparable across conventions, so a result names its own:

- `by_threshold`: a pixel is on when it is brighter than 1/2.
- `resampled`: a pixel is on with its brightness as probability, drawn anew whenever the image is used; a model
  cannot learn the noise by heart (figures are a little better).
- `fixed`: drawn so once and kept, as Salakhutdinov and Murray (2008) did. Their own file is not reproduced here:
  the draw is ours, a function of the seed.
"""

from __future__ import annotations

import numpy as np

from tinygen.backend.random import Generator


def by_threshold(x: np.ndarray, at: float = 0.5) -> np.ndarray:
    """1 where x > at, else 0: float32, x's shape."""
    return (_checked("by_threshold", x) > at).astype(np.float32)


def resampled(x: np.ndarray, rng: Generator) -> np.ndarray:
    """1 with probability x, else 0, from the generator: float32, x's shape."""
    return rng.bernoulli(_checked("resampled", x))


def fixed(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """1 with probability x, else 0, the same for the same x and seed: float32, x's shape."""
    return resampled(_checked("fixed", x), Generator(seed))


def _checked(function: str, x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype.kind != "f" or not (x.size == 0 or (x.min() >= 0 and x.max() <= 1)):
        raise ValueError(f"{function}: x is {x.dtype}, from {x.min() if x.size else 0} to {x.max() if x.size else 0}; "
                         "wanted floats in [0, 1] (bytes: divide by 255)")  # fmt: skip
    return x
