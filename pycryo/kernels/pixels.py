"""The Fourier samples of an image that the kernels work on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.arguments import number, numbers, result, split, whole_number
from pycryo.errors import InputError
from pycryo.fourier import rfft2
from pycryo.kernels._samples import columns, pick
from pycryo.kernels.images import half_planes, images
from pycryo.threads import get_threads, threads_or_default


@dataclass(frozen=True, slots=True)
class Pixels:
    """Independent samples of the Fourier half plane of a real box × box image, row by row (ky, then kx).

    Attributes
    ----------
    box : int
        Box size, px.
    kx, ky : (n_pixel,) int32
        Fourier index, kx ≥ 0; of kx = 0 only ky ≥ 0 (the rest follows by Hermitian symmetry).
    shell : (n_pixel,) int32
        round(|k|).

    Examples
    --------
    >>> pixels = pycryo.kernels.half_plane(8, 4)
    >>> images = np.random.default_rng(1).normal(size=(3, 8, 8))
    >>> samples = pixels.from_images(images)
    >>> samples.shape, pixels.to_images(samples).shape
    ((3, 2, 23), (3, 8, 8))
    """

    box: int
    kx: NDArray[np.int32]
    ky: NDArray[np.int32]
    shell: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.kx)

    def index(self, r_low: float, r_high: float) -> NDArray[np.int64]:
        """Places of the samples with r_low ≤ |k| < r_high."""
        radius = np.hypot(self.kx, self.ky)
        return np.flatnonzero((radius >= r_low) & (radius < r_high))

    def take(
        self, transform: NDArray[np.complexfloating], *, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Samples of (n, box, box//2+1) half-plane transforms: (n, 2, n_pixel) float32, real, then imaginary parts.

        They are written to `out` if it is given.

        Raises
        ------
        InputError
            If the transforms are none of this box, or `out` has another shape.
        """
        n, width = len(transform), self.box // 2 + 1
        if transform.shape != (n, self.box, width):
            raise InputError(f"transform: expected shape (n, {self.box}, {width}), got {transform.shape}")
        places = np.asarray(self.ky % self.box * width + self.kx, np.int64)
        parts = np.ascontiguousarray(transform, np.complex64).view(np.float32)
        out = result("out", out, (n, 2, len(self)), np.float32)
        pick(parts.reshape(n, self.box * width, 2), places, out, get_threads())
        return out

    def columns(self, rows: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
        """(..., n_place) of rows (..., n_pixel): some of the samples, as `index` finds them.

        Raises
        ------
        InputError
            If the rows are of other samples, or a place is beyond them.
        """
        rows, places = numbers("rows", rows, np.float32), numbers("places", places, np.int64, (None,))
        if rows.shape[-1:] != (len(self),):
            raise InputError(f"rows: expected shape (..., {len(self)}), got {rows.shape}")
        if len(places) and not 0 <= places.min() <= places.max() < len(self):
            span = f"{places.min()} to {places.max()}"
            raise InputError(f"places: expected numbers from 0 to {len(self) - 1}, got {span}")
        flat = rows.reshape(-1, len(self))
        return columns(flat, places, get_threads()).reshape(*rows.shape[:-1], len(places))

    def put(self, samples: NDArray[np.floating]) -> NDArray[np.complex64]:
        """Inverse of `take`: (n, box, box//2+1) complex64 half-plane transforms, zero where no sample is."""
        return half_planes(np.asarray(samples, np.float32), self.kx, self.ky, self.box)

    def from_images(self, images: ArrayLike, *, threads: int | None = None) -> NDArray[np.float32]:
        """Samples (n, 2, n_pixel) of images (n, N, N) whose origin is the centre pixel N//2.

        Raises
        ------
        InputError
            If the images are none of this box.
        """
        given = numbers("images", images, np.float32, (None, self.box, self.box))
        moved = np.fft.ifftshift(given, axes=(1, 2))
        return self.take(rfft2(moved, workers=threads_or_default(threads)))

    def to_images(self, samples: ArrayLike, *, threads: int | None = None) -> NDArray[np.float32]:
        """Images (n, N, N) of samples (n, 2, n_pixel), or complex (n, n_pixel): back from `from_images`.

        Raises
        ------
        InputError
            If there are not as many samples.
        """
        given = split("samples", samples)
        if given.ndim != 3 or given.shape[2] != len(self):
            raise InputError(f"samples: expected shape (n, 2, {len(self)}), got {given.shape}")
        return images(given, self.kx, self.ky, self.box, threads=threads)


def half_plane(box: int, r_high: float, r_low: float = 0.0) -> Pixels:
    """Samples with ``r_low ≤ |k| < r_high`` and |kx|, |ky| < box/2 (Nyquist has no independent phase).

    Parameters
    ----------
    box : int
        px.
    r_high, r_low : float
        Fourier px.

    Returns
    -------
    Pixels

    Examples
    --------
    >>> pixels = pycryo.kernels.half_plane(8, 2)
    >>> [*zip(pixels.kx.tolist(), pixels.ky.tolist(), pixels.shell.tolist())]
    [(1, -1, 1), (0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)]
    """
    box, r_high, r_low = whole_number("box", box, 1), number("r_high", r_high, least=0), number("r_low", r_low)
    reach = min(int(np.ceil(r_high)), (box - 1) // 2)
    ky, kx = np.meshgrid(np.arange(-reach, reach + 1), np.arange(reach + 1), indexing="ij")
    radius = np.hypot(kx, ky)
    keep = (radius >= r_low) & (radius < r_high) & ((kx > 0) | (ky >= 0))
    kx, ky, radius = kx[keep], ky[keep], radius[keep]
    return Pixels(box, kx.astype(np.int32), ky.astype(np.int32), np.rint(radius).astype(np.int32))


def shell_samples(box: int, n_shell: int) -> NDArray[np.float64]:
    """(n_shell,) independent samples of each shell of a box px image, at least 1."""
    return np.maximum(np.bincount(half_plane(box, box / 2).shell, minlength=n_shell)[:n_shell], 1).astype(np.float64)
