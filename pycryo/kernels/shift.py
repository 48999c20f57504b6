"""Shifts of images by phase ramps in Fourier space (kernel `shift`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo import _core
from pycryo.arguments import numbers, result, split
from pycryo.threads import threads_or_default


def shift(
    images: ArrayLike,
    kx: ArrayLike,
    ky: ArrayLike,
    shifts: ArrayLike,
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
        Real parts, then imaginary parts, of the Fourier samples listed in `kx`, `ky`; or (n_image, n_pixel) complex.
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
    InputError
        If shapes disagree.

    Examples
    --------
    >>> pixels = pycryo.kernels.half_plane(8, 4)
    >>> image = np.zeros((1, 8, 8))
    >>> image[0, 4, 6] = 1.0  # 2 px from the centre along x
    >>> moved = pycryo.kernels.shift(pixels.from_images(image), pixels.kx, pixels.ky, [[[2, 0]]], 8)
    >>> int(pixels.to_images(moved[:, 0]).argmax()) == 4 * 8 + 4
    True
    """
    images, kx, ky = split("images", images), numbers("kx", kx, np.int32), numbers("ky", ky, np.int32)
    shifts = numbers("shifts", shifts, np.float64, (len(images), None, 2))
    out = result("out", out, (*shifts.shape[:2], 2, len(kx)), np.float32)
    k_max = int(max(np.abs(kx).max(initial=0), np.abs(ky).max(initial=0)))
    _core.shift(images, kx, ky, shifts, float(box), k_max, out, threads_or_default(threads))
    return out
