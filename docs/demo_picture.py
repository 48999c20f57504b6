"""Draw docs/images/demo.png from a folder of ``pycryo demo``: ``python docs/demo_picture.py demo_run``."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import scipy.ndimage as ndi

from pycryo.io.mrc import read_map
from pycryo.io.star import read_star

VIEWS = {"along x": (2, 1, 0), "along y": (1, 0, 2), "along z": (0, 1, 2)}


def shaded(data: np.ndarray, level: float) -> np.ndarray:
    """(N, N) brightness of the isosurface seen along the first axis, NaN where there is none: Lambert's law."""
    steps, inside = len(data), data > level
    hit = inside.any(axis=0)
    first = np.where(hit, inside.argmax(axis=0), 0)
    row, column = np.indices(hit.shape)
    gradient = np.stack([np.gradient(data, axis=axis)[first, row, column] for axis in range(3)])
    normal = gradient / np.maximum(np.linalg.norm(gradient, axis=0), 1e-12)
    light = np.array([0.8, 0.4, 0.45])
    brightness = np.clip(np.tensordot(light / np.linalg.norm(light), normal, 1), 0.08, 1) * (1 - 0.4 * first / steps)
    return np.where(hit, brightness, np.nan)


def main(folder: Path, picture: Path) -> None:
    """Three views of the map beside its FSC curves."""
    density = read_map(folder / "run_class001.mrc")
    fsc = read_star(folder / "run_fsc.star")["fsc"].astype(float)
    data = ndi.zoom(density.data, 3, order=3)
    level = np.quantile(data, 0.985)
    middle = slice(len(data) // 5, -len(data) // 5)
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), width_ratios=(1, 1, 1, 1.5), layout="constrained")
    for axis, (name, order) in zip(axes, VIEWS.items(), strict=False):
        axis.imshow(shaded(data.transpose(order)[:, middle, middle], level), cmap="bone", vmin=0, vmax=1)
        axis.set_title(name, fontsize=10)
        axis.set_axis_off()
    frequency = 1 / fsc["rlnAngstromResolution"].to_numpy()
    curves = {
        "corrected": "rlnFourierShellCorrelationCorrected",
        "in the mask": "rlnFourierShellCorrelationMaskedMaps",
        "no mask": "rlnFourierShellCorrelationUnmaskedMaps",
    }
    for name, label in curves.items():
        axes[3].plot(frequency, fsc[label], label=name, lw=2 if name == "corrected" else 1)
    axes[3].axhline(0.143, color="0.5", lw=0.8, ls="--")
    axes[3].set(xlim=(0, 0.12), ylim=(-0.1, 1.05), ylabel="FSC of the half-maps")
    ticks = [40, 20, 15, 10]
    axes[3].set_xticks([1 / t for t in ticks], [f"{t} Å" for t in ticks])
    axes[3].legend(frameon=False, fontsize=9)
    picture.parent.mkdir(exist_ok=True)
    figure.savefig(picture, dpi=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent / "images" / "demo.png")
