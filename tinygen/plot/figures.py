"""Pictures: grids of images, maps of codes, curves of a run. Each function returns a matplotlib Figure.

matplotlib is imported when a picture is drawn. Figures are made without pyplot, so that no window opens and
no global list of figures grows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.ndimage import zoom

from tinygen.runs.metrics import read_metrics


def figure(width: float, height: float) -> Any:
    """An empty Figure of so many inches, which draws with Agg."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "tinygen[demos]"') from error
    made = Figure(figsize=(width, height), dpi=120)
    FigureCanvasAgg(made)
    return made


def image_grid(images: np.ndarray, columns: int, *, enlarge: int = 1, title: str = "",
               row_names: Sequence[str] = (), column_names: Sequence[str] = ()) -> Any:  # fmt: skip
    """Images in rows of `columns`, on one scale from 0 (black) to 1 (white).

    Parameters
    ----------
    images : (n, h, w), (n, 1, h, w) or (n, 3, h, w), in [0, 1]; values outside are cut off
    enlarge : interpolate each image to so many times its size; a tiny one is easier to read smooth
    title, row_names, column_names : what stands above the sheet, at the left of each row and above each column
    """
    images = np.asarray(images)
    images = images[:, None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"image_grid: images has shape {images.shape}; (n, h, w) or (n, 1 or 3, h, w) is wanted")
    if not len(images) or columns < 1:
        raise ValueError(f"image_grid: there are {len(images)} images in {columns} columns; at least one of each is "
                         "wanted")  # fmt: skip
    if enlarge > 1:
        images = images if images.dtype.kind == "f" else images.astype(float)  # whole numbers have nothing between
        images = zoom(images, (1, 1, enlarge, enlarge), order=1, mode="nearest", grid_mode=True)
    n, channels, h, w = images.shape
    gap, rows = max(1, h // 8), -(-n // columns)
    sheet = np.ones((rows * (h + gap) + gap, columns * (w + gap) + gap, channels))
    for k, image in enumerate(images):
        top, left = (k // columns) * (h + gap) + gap, (k % columns) * (w + gap) + gap
        sheet[top : top + h, left : left + w] = np.clip(image, 0, 1).transpose(1, 2, 0)
    scale = 8 / max(sheet.shape[:2])
    made = figure(sheet.shape[1] * scale, sheet.shape[0] * scale)
    if title or len(row_names) or len(column_names):
        made.set_layout_engine("constrained")
        axes = made.add_subplot(title=title)
        axes.set_xticks(gap + w / 2 + (w + gap) * np.arange(len(column_names)), column_names)
        axes.set_yticks(gap + h / 2 + (h + gap) * np.arange(len(row_names)), row_names)
        axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
    else:
        axes = made.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
    axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    return made


def scatter_latent(z: np.ndarray, labels: np.ndarray) -> Any:
    """Codes (n, 2) as points, coloured by their label (n,); the label stands at the middle of its points."""
    z, labels = np.asarray(z), np.asarray(labels)
    if z.ndim != 2 or z.shape[1] != 2 or labels.shape != z.shape[:1]:
        raise ValueError(f"scatter_latent: z has shape {z.shape} and labels {labels.shape}; (n, 2) and (n,) are wanted")
    made = figure(6, 6)
    made.set_layout_engine("constrained")
    _scatter(made.add_subplot(), z, labels)
    return made


def scatter_panels(codes: Mapping[str, np.ndarray], labels: np.ndarray, *, radius: float = 0) -> Any:
    """Several maps of codes (n, 2) side by side, each below its name and on its own scale; labels (n,).

    radius : of a dashed circle about 0 in each, to compare the scales by; 0 draws none
    """
    if not codes or any(np.shape(z) != (len(labels), 2) for z in codes.values()):
        found = ", ".join(str(np.shape(z)) for z in codes.values()) or "none"
        raise ValueError(f"scatter_panels: codes of shapes {found}; ({len(labels)}, 2) is wanted, as labels are")
    made = figure(5 * len(codes), 5)
    made.set_layout_engine("constrained")
    for axes, (name, z) in zip(np.atleast_1d(made.subplots(1, len(codes))), codes.items(), strict=True):
        _scatter(axes, np.asarray(z), np.asarray(labels))
        axes.set(title=name)
        if radius:
            turn = np.linspace(0, 2 * np.pi, 200)
            axes.plot(radius * np.cos(turn), radius * np.sin(turn), "--", color="black", linewidth=1.5)
    return made


def _scatter(axes: Any, z: np.ndarray, labels: np.ndarray) -> None:
    """Points in the colour of their label, which stands at the middle of them."""
    for k, label in enumerate(np.unique(labels)):
        points = z[labels == label]
        axes.scatter(*points.T, s=12, color=f"C{k % 10}")
        axes.annotate(str(label), np.median(points, 0), fontsize=15, fontweight="bold", ha="center", va="center",
                      bbox=dict(boxstyle="round,pad=0.15", fc="white", alpha=0.8, ec=f"C{k % 10}"))  # fmt: skip
    axes.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")


def confusion(counts: np.ndarray, classes: Sequence[str]) -> Any:
    """Who is taken for whom: rows are true classes, columns answers, in percent of the row.

    Parameters
    ----------
    counts : (m, m), how many of class a were answered by b; each class at least once
    classes : m names
    """
    counts = np.asarray(counts)
    if not (np.isfinite(counts) & (counts >= 0)).all():
        raise ValueError(f"confusion: counts are from {counts.min()} to {counts.max()}; finite numbers of at least 0 "
                         "are wanted")  # fmt: skip
    if counts.shape != (len(classes),) * 2 or not counts.sum(1).all():
        raise ValueError(f"confusion: counts has shape {counts.shape} and row sums from {counts.sum(1).min()}; a row "
                         f"and a column for each of {len(classes)} classes are wanted, and no empty row")  # fmt: skip
    made = figure(6, 5.5)
    made.set_layout_engine("constrained")
    axes, share = made.add_subplot(), 100 * counts / counts.sum(1, keepdims=True)
    off = share * (1 - np.eye(len(share)))  # the diagonal would drown the rest
    picture = axes.imshow(off, cmap="Blues", vmin=0, vmax=max(off.max(), 1))
    for a, b in np.ndindex(*share.shape):
        dark = off[a, b] > off.max() / 2
        axes.text(b, a, f"{share[a, b]:.1f}" if a != b else f"{share[a, b]:.0f}", ha="center", va="center", fontsize=8,
                  color="white" if dark else "black", weight="bold" if a == b else "normal")  # fmt: skip
    ticks = range(len(classes))
    axes.set(xticks=ticks, yticks=ticks, xticklabels=classes, yticklabels=classes, xlabel="answer",
             ylabel="truth", title="Confusion matrix, percent (colour: mistakes only)")  # fmt: skip
    made.colorbar(picture, shrink=0.8, label="% of the class")
    return made


def curves(csv: str | os.PathLike) -> Any:
    """Every column of a run's `metrics.csv` against its step, one panel each."""
    columns = read_metrics(csv)
    steps = np.array(columns.pop("step"))
    if not columns:
        raise ValueError(f"curves: {csv} has no column but step, so there is nothing to draw")
    made = figure(4 * len(columns), 3)
    made.set_layout_engine("constrained")
    for axes, (name, values) in zip(np.atleast_1d(made.subplots(1, len(columns))), columns.items(), strict=True):
        given = np.isfinite(values)
        axes.plot(steps[given], np.array(values)[given], linewidth=0.8)
        axes.set(title=name, xlabel="step")
    return made
