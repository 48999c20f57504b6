"""From two half-maps to r_high: masked, randomised and corrected FSC, and the limits that follow."""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from style import BLUE, GREEN, GREY, ORANGE, RED, panels, particle, save

from pycryo.maps.fsc import corrected_fsc
from pycryo.refinement.stage_schedule import insertion_limit

Array = NDArray[np.float64]

_BOX, _PIXEL, _SEED = 96, 1.5, 2
# Signal over noise of a half-map in the first shell, and the shell at which it has fallen by a factor of e².
_RATIO, _FALL = 600.0, 12.0


def _half_maps() -> tuple[Array, Array, Array]:
    """Two half-maps with independent noise, and a mask about what is in them."""
    rng = np.random.default_rng(_SEED)
    k = np.fft.fftfreq(_BOX) * _BOX
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k[: _BOX // 2 + 1] ** 2)
    density = particle(_BOX)
    inside = density > 0.02
    # Detail as a protein has it: white inside the particle.
    density = np.fft.rfftn(inside * rng.standard_normal(inside.shape))
    damped = density * np.exp(-((radius / _FALL) ** 2))
    level = np.sqrt(np.square(np.abs(damped[radius < 4])).mean() / _RATIO)
    halves = [
        np.fft.irfftn(
            damped + level * np.fft.rfftn(rng.standard_normal(inside.shape)) / _BOX**1.5, s=inside.shape, axes=(0, 1, 2)
        )
        for _ in range(2)
    ]
    return halves[0], halves[1], np.clip(ndi.gaussian_filter(inside.astype(float), 5.0) * 4, 0, 1)


def draw() -> None:
    """docs/images/method_resolution.png"""
    first, second, mask = _half_maps()
    curves = corrected_fsc(first, second, _PIXEL, mask)
    shells = np.arange(len(curves.corrected))
    found = _BOX * _PIXEL / curves.resolution_0143
    r_high = found + max(3.0, 0.12 * found)
    r_insert = insertion_limit(r_high, _BOX / 2)

    figure, axes = panels(1, 1, 2.9)
    axes.plot(shells, curves.unmasked, color=GREY, lw=1, label="no mask")
    axes.plot(shells, curves.masked, color=ORANGE, label="in the mask")
    axes.plot(shells, curves.randomised, color=RED, lw=1, ls=":", label="in the mask, random phases")
    axes.plot(shells, curves.corrected, color=BLUE, lw=2.2, label="corrected")
    axes.axhline(0.143, color="#333333", lw=0.8, ls="--")
    axes.text(0.5, 0.16, "0.143", fontsize=8.5)
    for at, text, colour, height in (
        (found, "resolution", BLUE, 0.98),
        (r_high, "r_high: compared", GREEN, 0.83),
        (r_insert, "r_insert: inserted", GREEN, 0.68),
    ):
        axes.axvline(at, 0, (height + 0.1) / 1.15, color=colour, lw=1)
        axes.text(at + 0.3, height, text, color=colour, va="top")
    axes.set(xlim=(0, _BOX / 2), ylim=(-0.1, 1.05), xlabel="shell, Fourier px", ylabel="FSC of the half-maps")
    axes.legend(loc="center left", bbox_to_anchor=(0.02, 0.5))
    save(figure, "resolution")
