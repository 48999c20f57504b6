"""Images of their Fourier samples (kernel `images`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo import _core
from pycryo.arguments import numbers, result, split, whole_number
from pycryo.errors import InputError
from pycryo.fourier import ifft, irfft
from pycryo.kernels._samples import place
from pycryo.memory import core_cache
from pycryo.threads import get_threads, threads_or_default


def images(
    samples: ArrayLike,
    kx: ArrayLike,
    ky: ArrayLike,
    box: int,
    *,
    out: NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Transform Fourier samples of images back, the origin in the centre pixel box//2.

    ``1/box² Σ_k F(k) exp(2πi k·(r - box//2) / box)``, where F(-k) is the conjugate of F(k).

    Parameters
    ----------
    samples : (n, 2, n_pixel) float32
        Real parts, then imaginary parts; or (n, n_pixel) complex. That of k = 0 counts as real.
    kx, ky : (n_pixel,) int32
        Fourier indices as `pycryo.kernels.half_plane` lists them: 0 ≤ kx < box/2, |ky| < box/2, of kx = 0 only ky ≥ 0.
    box : int
        Box size, px. Even products of 2, 3 and 5 take a third of the time of others.
    out : (n, box, box) float32, optional
        Result.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (n, box, box) float32

    Raises
    ------
    InputError
        If shapes disagree or an index is out of range.

    Examples
    --------
    >>> from pycryo.kernels.images import images
    >>> pixels = pycryo.kernels.half_plane(8, 4)
    >>> image = np.zeros((1, 8, 8))
    >>> image[0, 4, 6] = 1.0
    >>> int(images(pixels.from_images(image), pixels.kx, pixels.ky, 8).argmax()) == 4 * 8 + 6
    True
    """
    samples, kx, ky = split("samples", samples), numbers("kx", kx, np.int32), numbers("ky", ky, np.int32)
    box = whole_number("box", box, 1)
    out = result("out", out, (len(samples), box, box), np.float32)
    workers = threads_or_default(threads)
    if _core.image_box_is_quick(box):
        _core.images(samples, kx, ky, box, out, workers)
        return out
    _check_range("kx", kx, 0, (box - 1) // 2)
    _check_range("ky", ky, -((box - 1) // 2), (box - 1) // 2)
    # exp(πi (kx + ky)) moves the origin of an even box to its centre. Some images at a time stay in the cache.
    is_even = box % 2 == 0
    factors = np.asarray((1 - 2 * ((kx + ky) & 1) if is_even else np.ones(kx.shape)) / box**2, np.float32)
    step = max(1, workers * core_cache() // (16 * box**2))
    for first in range(0, len(samples), step):
        some = slice(first, first + step)
        planes = half_planes(samples[some], kx, ky, box, factors=factors, threads=workers)
        planes = ifft(planes, 1, scaled=False, overwrite=True, workers=workers)
        irfft(planes, box, 2, scaled=False, out=out[some], workers=workers)
    if not is_even:
        out[...] = np.fft.fftshift(out, axes=(1, 2))
    return out


def half_planes(
    samples: NDArray[np.float32],
    kx: NDArray[np.int32],
    ky: NDArray[np.int32],
    box: int,
    *,
    factors: NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> NDArray[np.complex64]:
    """(n, box, box//2+1) transforms of samples (n, 2, n_pixel) times `factors` (n_pixel,); zero where no sample is.

    `kx` and `ky` (n_pixel,) are in the range that `images` takes.

    Raises
    ------
    InputError
        If shapes disagree.
    """
    if samples.ndim != 3:
        raise InputError(f"samples: expected shape (n, 2, n_pixel), got {samples.shape}")
    for name, index in (("kx", kx), ("ky", ky)):
        if index.shape != samples.shape[2:]:
            raise InputError(f"{name}: expected shape {samples.shape[2:]}, got {index.shape}")
    width = box // 2 + 1
    places, mates = (np.asarray(y % box * width + kx, np.int64) for y in (ky, -ky))
    mates[(kx > 0) | (ky == 0)] = -1
    if factors is None:
        factors = np.ones(len(kx), np.float32)
    parts = place(np.ascontiguousarray(samples), places, mates, factors, box * width, threads or get_threads())
    return parts.view(np.complex64).reshape(len(samples), box, width)


def _check_range(name: str, index: NDArray[np.int32], low: int, high: int) -> None:
    beyond = np.flatnonzero((index < low) | (index > high))
    if len(beyond):
        raise InputError(f"{name}: element {beyond[0]} is {index[beyond[0]]}, expected {low} to {high}")
