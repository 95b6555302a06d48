"""Parameters of published models, to test estimates against figures that others have found.

| name        | what                                                                                          |
|-------------|-----------------------------------------------------------------------------------------------|
| rbm_cd25_500 | a restricted Boltzmann machine with 500 hidden units, trained by Salakhutdinov and Murray (2008) |
|             | with 25 Gibbs steps on MNIST: `weight` (784, 500), `visible_bias` (784,), `hidden_bias` (500,) |

Each lies as `NAME/NAME.npz` under the root, and is accepted by its SHA-256. An NPZ file is a ZIP archive of arrays; one
from outside may be cut short, altered, or promise more than it holds. So the sum comes first, then each array's
header, and no more is read than the shape that is wanted takes. Nothing is unpickled.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from tinygen.data import real
from tinygen.data.downloads import default_roots
from tinygen.data.idx import MissingDataError, check_sum, read_bytes, refuse

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def load_parameters(name: str, root: str | os.PathLike | None = None, *, verify: bool = True) -> dict[str, np.ndarray]:
    """The parameters of a published model by name: float32 arrays by their names.

    Parameters
    ----------
    root : path, optional
        Where to look, instead of $TINYGEN_DATA and ~/.cache/tinygen.
    verify : bool
        Whether the file must have the known SHA-256 sum. Names, shapes and types are checked in any case.

    Raises
    ------
    DataError
        The file is damaged, or missing (`MissingDataError`): one line that names it, what is wrong, and what to do.
    """
    if name not in real.PARAMETERS:
        raise ValueError(
            f"load_parameters: no model is called {name!r}; there are {', '.join(sorted(real.PARAMETERS))}"
        )
    known = real.PARAMETERS[name]
    places = [Path(place) / name / f"{name}.npz" for place in (default_roots() if root is None else [root])]
    path = next((place for place in places if place.exists()), None)
    if path is None:
        raise MissingDataError(f"{name}: there is no {' nor '.join(map(str, places))}; to get it: {known.fix}")
    stored = read_bytes(path, sizes=[known.size] if verify else None, fix=known.fix)
    if verify:
        check_sum(path, stored, [known.sha256], known.fix)
    try:
        with zipfile.ZipFile(io.BytesIO(stored)) as archive:
            return {entry: _array(archive, entry, shape) for entry, shape in known.shapes.items()}
    except (ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        refuse(path, f"it is not an NPZ file as wanted ({error})", known.fix)


def _array(archive: zipfile.ZipFile, entry: str, shape: tuple[int, ...]) -> np.ndarray:
    """One array of the archive; its values are read only if its header says what is wanted."""
    with archive.open(f"{entry}.npy") as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"{entry} has a header of version {version}")
        found, columns_first, dtype = _HEADERS[version](file)
        if found != shape or dtype != np.float32 or columns_first:
            raise ValueError(f"{entry} is {dtype} of shape {found}, wanted float32 {shape}, row by row")
        data = file.read(4 * math.prod(shape) + 1)
    if len(data) != 4 * math.prod(shape):
        raise ValueError(
            f"{entry} holds {'fewer' if len(data) < 4 * math.prod(shape) else 'more'} numbers than its shape"
        )
    array = np.frombuffer(data, np.float32).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError(f"{entry} holds numbers that are not finite")
    return array
