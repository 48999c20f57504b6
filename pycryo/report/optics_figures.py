"""Figures of the phase errors that images show and of those that were fitted, by optics group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.pixels import Pixels
from pycryo.report.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

# Standard deviation, Fourier px, of the window in which what images show is averaged, and radians of the standard error
# of its phases up to which they are shown.
_SMOOTH, _MOST_ERROR = 2.0, 0.35
# Begins the names of the files of these figures; those of a refinement's own stage have run_ before it.
PHASES = "phases"
PHASES_TEXT = (
    "Phases, in the plane of the transform, beyond what the STAR file stated: what the images of a group show, above, "
    "and what was fitted, below. Both should look alike. Antisymmetric: beam tilt and trefoil; symmetric: defocus, "
    "astigmatism and the fourth order. Noise all over says that there are too few particles to tell; spirals that the "
    "fit lacks are aberrations of higher order."
)


def phase_figure(
    title: str, pixels: Pixels, seen: list[tuple[str, Array, Array]], fitted: list[Array], frequency_step: float
) -> Figure:
    """What images show above, what was fitted below.

    Parameters
    ----------
    title : str
    pixels : Pixels
    seen : list of (name, slope, information)
        Of each kind of phase error: the fitted phase is where the slope is 0; (n_pixel,) each. An odd kind is named
        "antisymmetric".
    fitted : list of (n_pixel,) float64
        Phases, radians.
    frequency_step : float
        1/Å per Fourier index.
    """
    figure = new_figure(3.4 * len(seen), 6.4)
    figure.suptitle(title)
    axes = figure.subplots(2, len(seen), squeeze=False)
    for column, ((name, slope, information), phase) in enumerate(zip(seen, fitted, strict=True)):
        sign = -1 if name == "antisymmetric" else 1
        weight = _smoothed(_plane(pixels, information, 1))
        step = _smoothed(_plane(pixels, slope, sign)) / np.maximum(weight, 1e-300)
        whole = _plane(pixels, phase, sign)
        known = weight * 4 * np.pi * _SMOOTH**2 > _MOST_ERROR**-2
        known &= _plane(pixels, np.ones(len(pixels)), 1) > 0
        limit = min(np.pi, 1.2 * float(np.abs(whole[known]).max(initial=0.1)) + 0.05)
        reach = len(whole) // 2 * frequency_step
        for row, values in enumerate((np.where(known, whole + step, np.nan), np.where(known, whole, np.nan))):
            image = axes[row, column].imshow(
                values, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit, extent=(-reach, reach, -reach, reach)
            )
            axes[row, column].set_title(f"{name}, {'seen' if row == 0 else 'fitted'}", fontsize=10)
            axes[row, column].set_xlabel("1/Å")
            figure.colorbar(image, ax=axes[row, column], label="phase, rad", shrink=0.8)
    return figure


def _plane(pixels: Pixels, values: Array, sign: int) -> Array:
    """(2 r + 1, 2 r + 1) of all frequencies [ky, kx]; the half that is not listed is `sign` times its mate."""
    r = int(max(np.abs(pixels.kx).max(), np.abs(pixels.ky).max()))
    plane = np.zeros((2 * r + 1, 2 * r + 1))
    plane[r - pixels.ky, r - pixels.kx] = sign * values
    plane[r + pixels.ky, r + pixels.kx] = values
    return plane


def _smoothed(plane: Array) -> Array:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(plane, _SMOOTH))
