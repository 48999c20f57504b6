"""Guinier plot of a map, ln of its amplitude against 1/d², and the B-factor that its slope is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.kernels.shells import shell_counts

# Å; coarser shells show the molecule's shape, finer ones the fall-off that a B-factor describes (Rosenthal & Henderson,
# J. Mol. Biol. 333, 2003, 721-745).
FIT_FROM = 10.0
# Points below which no line is fitted.
LEAST_POINTS = 4
# Å²; B-factors beyond it are those of no map.
_MOST_B_FACTOR = 5000.0


@dataclass(frozen=True, slots=True)
class Line:
    """``ln amplitude = intercept + slope / d²``.

    Attributes
    ----------
    slope : float
        Å².
    intercept : float
    correlation : float
        Pearson's, of the points that were fitted.
    n : int
        Points.
    """

    slope: float
    intercept: float
    correlation: float
    n: int

    @property
    def b_factor(self) -> float:
        """Å², 4 · slope: negative for amplitudes that fall off, and then it sharpens (RELION's sign)."""
        return 4 * self.slope


def check_b_factor(value: float) -> None:
    """Raise InputError if a B-factor (Å²) is no number, or that of no map."""
    if not abs(value) <= _MOST_B_FACTOR:
        most = f"{_MOST_B_FACTOR:.0f}"
        raise InputError(f"the B-factor must be between -{most} and {most} Å², not {value}")


def shell_amplitudes(transform: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """Mean \\|F\\| of each shell round(\\|k\\|) of a real volume's transform.

    Parameters
    ----------
    transform : (N, N, N // 2 + 1) complex
        As `scipy.fft.rfftn` returns it; the samples that it leaves out are counted, too.

    Returns
    -------
    (N // 2 + 1,) float64
    """
    n = len(transform)
    n_shell = n // 2 + 1
    square = np.square(np.rint(np.fft.fftfreq(n, 1 / n)))
    weight = np.full(transform.shape[2], 2.0)
    weight[0] = 1
    if n % 2 == 0:
        weight[-1] = 1
    total = np.zeros(n_shell)
    for z, layer in enumerate(transform):
        shell = np.rint(np.sqrt(square[z] + square[:, None] + square[: len(weight)])).astype(np.int64)
        amplitude = np.abs(layer) * weight
        inside = shell < n_shell
        total += np.bincount(shell[inside], amplitude[inside], n_shell)
    return total / np.maximum(shell_counts(n), 1)


def log_amplitudes(amplitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm of the amplitudes; NaN where there are none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(amplitude > 0, np.log(np.maximum(amplitude, 1e-300)), np.nan)


def fit_line(x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]) -> Line | None:
    """Least-squares line through points.

    Parameters
    ----------
    x, y : (n,) float64
        1/d², Å⁻², and ln of the amplitude.
    weight : (n,) float64
        Points of weight 0, and those that are not finite, are left out.

    Returns
    -------
    Line or None
        None of fewer than 4 points.
    """
    used = (weight > 0) & np.isfinite(y) & np.isfinite(x)
    if np.count_nonzero(used) < LEAST_POINTS:
        return None
    w = weight[used] / weight[used].sum()
    dx, dy = x[used] - w @ x[used], y[used] - w @ y[used]
    xx, xy, yy = w @ dx**2, w @ (dx * dy), w @ dy**2
    slope = float(xy / xx)
    correlation = float(xy / np.sqrt(xx * yy)) if yy > 0 else 0.0
    return Line(slope, float(w @ y[used] - slope * (w @ x[used])), correlation, int(np.count_nonzero(used)))


def fit_b_factor(
    log_amplitude: NDArray[np.float64], field_of_view: float, coarsest: float = FIT_FROM, finest: float = 0.0
) -> Line | None:
    """The Guinier fit of a map: a line through the shells between two resolutions.

    Parameters
    ----------
    log_amplitude : (n_shell,) float64
        ln of the mean amplitude of shells 0, 1, ..., of a map that is freed of the detector's MTF and weighted by its
        FSC; NaN or infinite where there is none.
    field_of_view : float
        Box · pixel size, Å.
    coarsest, finest : float
        Å, both included.

    Returns
    -------
    Line or None
        None where fewer than 4 shells are between them.
    """
    shell = np.arange(len(log_amplitude))
    # Shells at the limits themselves count: 1e-6 is above the rounding of a resolution from a shell's number.
    inside = (shell >= field_of_view / coarsest - 1e-6) & (shell * finest <= field_of_view * (1 + 1e-6)) & (shell > 0)
    return fit_line(np.square(shell / field_of_view), log_amplitude, inside.astype(np.float64))
