"""Size, type and colours that the figures of docs/method.md have in common, and a small particle for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

IMAGES = Path(__file__).resolve().parents[1] / "images"
# Okabe and Ito's colours, which colour-blind readers tell apart.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
_STYLE = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
}
# Centres (x, y, z) and widths of the particle's blobs as parts of the box, and their masses.
_CENTRES = np.array([[0, 0, 0], [18, 4, -6], [-9, 15, 8], [5, -17, 12], [-14, -8, -13], [3, 9, -20]]) / 128
_WIDTHS = np.array([3.2, 2.9, 3.5, 2.9, 3.2, 2.9]) / 128
_MASSES = np.array([3.0, 2.0, 2.0, 1.5, 2.5, 1.0])


def panels(rows: int, columns: int, height: float, **more: Any) -> tuple[Any, Any]:
    """A figure as wide as a page, `height` in inches, and its axes."""
    plt.rcParams.update(_STYLE)
    return plt.subplots(rows, columns, figsize=(7.2, height), layout="constrained", **more)


def save(figure: Any, name: str) -> None:
    """Write docs/images/method_<name>.png."""
    IMAGES.mkdir(exist_ok=True)
    figure.savefig(IMAGES / f"method_{name}.png", dpi=140, metadata={"Software": None})
    plt.close(figure)


def particle(box: int, narrower: float = 1.0) -> NDArray[np.float64]:
    """(box, box, box) density of six Gaussian blobs."""
    line = (np.arange(box) - box // 2) / box
    density = np.zeros((box, box, box))
    for (x, y, z), width, mass in zip(_CENTRES, _WIDTHS / narrower, _MASSES, strict=True):
        of_x, of_y, of_z = (np.exp(-np.square((line - centre) / width) / 2) for centre in (x, y, z))
        density += mass / width**3 * of_z[:, None, None] * of_y[:, None] * of_x
    return density / density.max()
