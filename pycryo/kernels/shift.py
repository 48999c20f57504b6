"""Shifts of images by phase ramps in Fourier space (kernel `shift`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo import _core
from pycryo.threads import get_threads


def shift(
    images: NDArray[np.float32],
    kx: NDArray[np.int32],
    ky: NDArray[np.int32],
    shifts: NDArray[np.float64],
    box: int,
    *,
    out: NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Multiply image transforms by ``exp(+2πi (kx·sx + ky·sy) / box)``.

    Moves image i by -(sx, sy) px: a particle at t = -rlnOrigin is centred with ``shifts = t``
    (docs/method.md, Model and likelihood).

    Parameters
    ----------
    images : (n_image, 2, n_pixel) float32
        Real parts, then imaginary parts, of the Fourier samples listed in `kx`, `ky`.
    kx, ky : (n_pixel,) int32
        Fourier indices.
    shifts : (n_image, n_shift, 2) float64
        Shifts (x, y) in px of the full box.
    box : int
        Box size, px.
    out : (n_image, n_shift, 2, n_pixel) float32, optional
        Result; must not overlap `images`.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (n_image, n_shift, 2, n_pixel) float32

    Raises
    ------
    ValueError
        If shapes disagree.
    """
    shifts = np.ascontiguousarray(shifts, np.float64)
    if out is None:
        out = np.empty((shifts.shape[0], shifts.shape[1], 2, len(kx)), np.float32)
    k_max = int(max(np.abs(kx).max(initial=0), np.abs(ky).max(initial=0)))
    _core.shift(images, kx, ky, shifts, float(box), k_max, out, threads or get_threads())
    return out
