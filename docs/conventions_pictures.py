"""The figures of docs/conventions.md, computed by the package itself: ``python docs/conventions_pictures.py``."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import pycryo
from pycryo.geometry.rotations import euler_to_matrix
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.sphere import sphere

IMAGES = Path(__file__).parent / "images"
WIDTH, DPI = 8.2, 120  # inches, pixels per inch
# Okabe and Ito's colours, which colour-blind people tell apart.
RANKS = ("#56B4E9", "#E69F00", "#009E73")
SHELLS = ("#F0E442", "#E69F00", "#56B4E9", "#009E73", "#CC79A7")
BOX = 48
# Places of three balls, px from the centre of the map, x, y, z, and the mass of each.
BALLS = {"on x": ((14.0, 0.0, 0.0), 1.0), "on y": ((0.0, 9.0, 0.0), 1.0), "on z": ((0.0, 0.0, 12.0), 1.0)}
# Title, rot, tilt, psi in degrees, rlnOrigin x and y in px.
POSES: dict[str, tuple[tuple[float, float, float], tuple[float, float]]] = {
    "rot = tilt = psi = 0": ((0, 0, 0), (0, 0)),
    "rot = 30°": ((30, 0, 0), (0, 0)),
    "tilt = 50°": ((0, 50, 0), (0, 0)),
    "psi = 30°": ((0, 0, 30), (0, 0)),
    "30°, 50°, 20°": ((30, 50, 20), (0, 0)),
    "origin (8, 4) px": ((0, 0, 0), (8, 4)),
}


def balls(sigma: float = 1.8) -> np.ndarray:
    """(BOX, BOX, BOX) float32, a map with a Gaussian ball at each place of `BALLS`; axes z, y, x."""
    z, y, x = np.indices((BOX,) * 3) - BOX // 2
    total = np.zeros((BOX,) * 3)
    for (px, py, pz), mass in BALLS.values():
        total += mass * np.exp(-((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2) / (2 * sigma**2))
    return total.astype(np.float32)


def expected(angles: tuple[float, float, float], origin: tuple[float, float]) -> dict[str, np.ndarray]:
    """Name -> (2,) place x, y of each ball in the image, px from its centre: A v less the origin."""
    matrix = euler_to_matrix(*angles)[0]
    return {name: (matrix @ np.array(place))[:2] - origin for name, (place, _) in BALLS.items()}


def image_of(angles: tuple[float, float, float], origin: tuple[float, float]) -> np.ndarray:
    """(BOX, BOX) the projection that pycryo makes of `balls`."""
    return np.asarray(pycryo.project(balls(), euler_to_matrix(*angles), shifts=np.array([origin]))[0])


def poses() -> Figure:
    """Projections by pycryo, and where the formulas put the balls."""
    figure = Figure(figsize=(WIDTH, 5.9), layout="constrained")
    half = BOX // 2
    extent = (-half - 0.5, half - 0.5, -half - 0.5, half - 0.5)
    for axes, (title, (angles, origin)) in zip(figure.subplots(2, 3).flat, POSES.items(), strict=True):
        axes.imshow(image_of(angles, origin), cmap="gray_r", origin="lower", extent=extent)
        for name, (x, y) in expected(angles, origin).items():
            axes.plot(x, y, "+", color="#D55E00", markersize=9)
            axes.annotate(name, (x, y), xytext=(5, 5), textcoords="offset points", fontsize=8)
        axes.axhline(0, color="0.6", lw=0.5)
        axes.axvline(0, color="0.6", lw=0.5)
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="x / px", ylabel="y / px", xticks=[-20, -10, 0, 10, 20], yticks=[-20, -10, 0, 10, 20])
    return figure


def _cell(axes: Axes, x: float, y: float, text: str, colour: Any) -> None:
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white"))
    axes.text(x, y, text, ha="center", va="center", fontsize=8)


def half_plane_cells(axes: Axes, box: int = 10) -> None:
    """The samples of an image, with the number of each in the list, coloured by shell."""
    pixels = half_plane(box, box / 2)
    for number, (kx, ky, shell) in enumerate(zip(pixels.kx, pixels.ky, pixels.shell, strict=True)):
        _cell(axes, kx, ky, str(number), SHELLS[shell % len(SHELLS)])
    for ky in range(-int(pixels.ky.max()), 0):
        _cell(axes, 0, ky, "", "0.92")
    reach = int(pixels.kx.max())
    axes.set(xlim=(-0.6, reach + 0.6), ylim=(-reach - 0.6, reach + 0.6), aspect="equal", xlabel="kx", ylabel="ky")
    axes.set_title(f"samples of an image of {box} px:\nnumber in the list, colour = shell", fontsize=9)


def half_volume_cells(axes: Axes, radius: int = 4, n_rank: int = 3) -> None:
    """The section z = 0 of a half volume: the index of each row, and the slabs of some ranks."""
    ball = sphere(radius)
    bounds = ball.bounds(n_rank)
    for layer in range(ball.layers):
        row = layer * ball.layers + radius
        rank = int(np.searchsorted(bounds, layer, side="right")) - 1
        for x in range(int(ball.start[row + 1] - ball.start[row])):
            _cell(axes, x, layer - radius, str(ball.start[row] + x), RANKS[rank])
    for rank, (low, high) in enumerate(pairwise(bounds.tolist())):
        axes.text(radius + 0.8, (low + high - 1) / 2 - radius, f"slab of\nrank {rank}", va="center", fontsize=8)
    axes.set(
        xlim=(-0.6, radius + 2.6), ylim=(-radius - 0.6, radius + 0.6), aspect="equal", xlabel="x", ylabel="layer y"
    )
    axes.set_xticks(range(0, radius + 1, 2))
    axes.set_title(f"packed voxels of radius {radius}, section z = 0:\nnumber of the voxel", fontsize=9)


def layout() -> Figure:
    """Which samples of a transform are kept, in what order."""
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    half_plane_cells(left)
    half_volume_cells(right)
    return figure


def main(folder: Path) -> None:
    """Draw both."""
    folder.mkdir(exist_ok=True)
    for name, figure in (("poses", poses()), ("layout", layout())):
        figure.savefig(folder / f"conventions_{name}.png", dpi=DPI)


if __name__ == "__main__":
    main(IMAGES)
