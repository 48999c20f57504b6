"""From two half-maps to a sharpened map: MTF, FSC weights, B-factor, each a factor of the map's transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.fourier import irfftn, rfftn
from pycryo.maps.fsc import Fsc
from pycryo.maps.returned import Band
from pycryo.option_fields import check_types
from pycryo.postprocessing.guinier import FIT_FROM, Line, fit_b_factor, log_amplitudes, shell_amplitudes
from pycryo.postprocessing.mtf import Mtf
from pycryo.threads import get_threads

_OfRadius = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Guinier:
    """Curves of a Guinier plot, a value per shell 0 .. box // 2; NaN where a shell has no amplitude.

    Attributes
    ----------
    squared : (n_shell,) float64
        1/d², Å⁻².
    original : (n_shell,) float64
        ln of the mean amplitude of the mean of the half-maps; amplitudes are divided by the number of voxels.
    mtf_corrected : (n_shell,) float64, or None
        Divided by the MTF, if there is one.
    weighted : (n_shell,) float64
        And weighted by the FSC.
    sharpened : (n_shell,) float64
        And sharpened.
    line : Line or None
        Fitted to `weighted`; None where too few shells are between the limits of the fit.
    """

    squared: NDArray[np.float64]
    original: NDArray[np.float64]
    mtf_corrected: NDArray[np.float64] | None
    weighted: NDArray[np.float64]
    sharpened: NDArray[np.float64]
    line: Line | None


@dataclass(frozen=True, slots=True)
class Filter:
    """How a map is sharpened.

    Attributes
    ----------
    mtf : Mtf, optional
    b_factor : float, optional
        Å², negative to sharpen; None: that of the Guinier fit.
    fit_from, fit_to : float
        Å; limits of the fit. 0: the resolution of the FSC.
    is_weighted : bool
        By the FSC.

    Raises
    ------
    InputError
        If a value is of another type.
    """

    mtf: Mtf | None = None
    b_factor: float | None = None
    fit_from: float = FIT_FROM
    fit_to: float = 0.0
    is_weighted: bool = True

    def __post_init__(self) -> None:
        check_types(self)


def fsc_weights(curve: NDArray[np.float64], returned: tuple[Band, ...] = ()) -> NDArray[np.float64]:
    """``√(2 FSC / (1 + FSC))``, the correlation of the map of all data with the truth (Rosenthal & Henderson 2003).

    0 from the shell on where the curve first falls to 0, but for the bands where the signal comes back.
    """
    ends = np.flatnonzero(~(curve > 0))
    keep = np.arange(len(curve)) < (ends[0] if len(ends) else len(curve))
    for first, last in returned:
        keep[first : last + 1] = True
    value = np.where(keep, np.clip(curve, 0, 1), 0)
    return np.asarray(np.sqrt(2 * value / (1 + value)))


def sharpen(mean: NDArray[np.float32], fsc: Fsc, how: Filter) -> tuple[NDArray[np.float32], float | None, Guinier]:
    """Sharpen the mean of two half-maps.

    Parameters
    ----------
    mean : (N, N, N) float32
    fsc : Fsc
        Of the half-maps; `returned` bands have their weights, too.
    how : Filter

    Returns
    -------
    (N, N, N) float32
    float or None
        B-factor used, Å²; None where none was given and none could be fitted: then the map is not sharpened.
    Guinier
    """
    n = fsc.box
    field = n * fsc.pixel_size
    square = np.square(np.rint(np.fft.fftfreq(n, 1 / n)))
    transform = rfftn(mean, workers=get_threads())
    curves = [shell_amplitudes(transform)]

    def multiply(factor_of: _OfRadius) -> None:
        for z in range(n):
            radius = np.sqrt(square[z] + square[:, None] + square[: n // 2 + 1])
            transform[z] *= factor_of(radius).astype(np.float32)
        curves.append(shell_amplitudes(transform))

    mtf = how.mtf
    if mtf is not None:
        multiply(lambda radius: 1 / mtf.at(radius / field))
    if how.is_weighted:
        weights = np.append(fsc_weights(fsc.corrected, fsc.returned), 0)
        multiply(lambda radius: weights[np.minimum(np.rint(radius), len(weights) - 1).astype(np.int64)])
    logs = [log_amplitudes(each / n**3) for each in curves]
    line = fit_b_factor(logs[-1], field, how.fit_from, how.fit_to or fsc.resolution_0143)
    b_factor = how.b_factor if how.b_factor is not None else (None if line is None else line.b_factor)
    sharpened = logs[-1]
    if b_factor is not None:
        multiply(lambda radius: np.exp(-b_factor / 4 * np.square(radius / field)))
        sharpened = log_amplitudes(curves[-1] / n**3)
    data = irfftn(transform, n, workers=get_threads())
    squared = np.square(np.arange(n // 2 + 1) / field)
    corrected = logs[1] if how.mtf is not None else None
    return data.astype(np.float32), b_factor, Guinier(squared, logs[0], corrected, logs[-1], sharpened, line)
