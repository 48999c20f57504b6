"""Central slices of a volume's Fourier transform (kernel `projector`) and real-space projections."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo import _core, arguments
from pycryo.errors import InputError
from pycryo.fourier import fft, rfft
from pycryo.kernels.entries import curvatures
from pycryo.kernels.pixels import Pixels, half_plane
from pycryo.kernels.shift import shift
from pycryo.threads import threads_or_default

_BATCH_BYTES = 64 * 2**20  # of the temporaries of `project`
_CACHE_BYTES = 2**20  # of a core, for lines that are transformed together


@dataclass(frozen=True, slots=True)
class FourierVolume:
    """Padded half volume in Fourier space, ready for trilinear interpolation.

    Attributes
    ----------
    data : (D, D, H, 2) float32
        Real and imaginary part at index [z + r, y + r, x], x, y, z in padded Fourier px, D = 2r + 1, H = r + 1.
        Interleaved: one load of 16 bytes brings both neighbours in x; split arrays take 1.5 × the time
        (bench/kernels/volume_layout.cpp).
    box : int
        Box of the map, px.
    padding : int
        Padded Fourier px per Fourier px.
    r_high : float
        Samples with |k| < r_high (Fourier px of the map) can be read.

    Examples
    --------
    >>> volume = pycryo.kernels.fourier_volume(np.random.default_rng(1).normal(size=(8, 8, 8)))
    >>> volume.radius, volume.dense.shape
    (9, (19, 19, 10))
    >>> double = pycryo.kernels.FourierVolume.from_dense(2 * volume.dense, 8)
    >>> np.array_equal(double.data, 2 * volume.data)
    True
    """

    data: NDArray[np.float32]
    box: int
    padding: int
    r_high: float

    @classmethod
    def from_dense(cls, dense: ArrayLike, box: int, *, padding: int = 2, r_high: float | None = None) -> FourierVolume:
        """A volume of complex samples (D, D, H) at [z + r, y + r, x]; `r_high` is box/2 by default.

        Raises
        ------
        InputError
            If there are not as many samples as `r_high` needs.
        """
        limit = box / 2 if r_high is None else float(r_high)
        radius = volume_radius(padding, limit)
        samples = arguments.complex_numbers("dense", dense)
        if samples.shape != (shape := (2 * radius + 1, 2 * radius + 1, radius + 1)):
            raise InputError(f"dense: expected shape {shape}, got {samples.shape}")
        samples = np.ascontiguousarray(samples, np.complex64)
        return cls(samples.view(np.float32).reshape(*samples.shape, 2), box, padding, limit)

    @property
    def dense(self) -> NDArray[np.complex64]:
        """(D, D, H) the samples as complex numbers at [z + r, y + r, x]; the same memory as `data`."""
        return self.data.view(np.complex64)[..., 0]

    @property
    def radius(self) -> int:
        """r of `data`, padded Fourier px."""
        return int(self.data.shape[2]) - 1


def volume_radius(padding: int, r_high: float) -> int:
    """Radius in padded Fourier px that holds all eight neighbours of every sample with |k| < r_high."""
    return math.ceil(padding * r_high) + 1


def fourier_volume(
    map: ArrayLike, *, padding: int = 2, r_high: float | None = None, threads: int | None = None
) -> FourierVolume:
    """Transform a map for interpolation: divide by sinc², zero-pad, transform, crop.

    The division by ``sinc²(x/(padding·N))`` along each axis undoes the attenuation by trilinear interpolation
    (Penczek et al. 1992, Ultramicroscopy 40, 33). Only lines that reach the result are transformed.

    Parameters
    ----------
    map : (N, N, N) float32 or float64
        Density, centre N//2.
    padding : int
        The box is padded to ``padding·N``.
    r_high : float, optional
        Frequency limit in Fourier px, at most N/2 (the default).
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    FourierVolume

    Raises
    ------
    InputError
        If `map` is not a cube, `padding` < 1 or `r_high` not in (0, N/2].

    Examples
    --------
    >>> volume = pycryo.kernels.fourier_volume(np.ones((8, 8, 8)), padding=2, r_high=3)
    >>> volume.box, volume.padding, volume.r_high, volume.radius
    (8, 2, 3.0, 7)
    """
    map = arguments.cube("map", map)
    box = len(map)
    padding = arguments.whole_number("padding", padding, 1)
    limit = box / 2 if r_high is None else arguments.number("r_high", r_high)
    if not 0 < limit <= box / 2:
        raise InputError(f"r_high: expected more than 0 and at most box/2 = {box / 2:g} Fourier px, got {limit:g}")
    workers = threads_or_default(threads)
    dtype = np.float64 if map.dtype == np.float64 else np.float32
    padded, radius = padding * box, volume_radius(padding, limit)
    half = np.arange(radius + 1)
    full = np.arange(-radius, radius + 1)
    correction: NDArray[np.float64] = 1 / np.sinc((np.arange(box) - box // 2) / padded) ** 2
    work: NDArray[np.floating] = map.astype(dtype)
    work *= correction
    work *= correction[:, None]
    work *= correction[:, None, None]

    # Planes, then rows, some at a time: what is not the result stays in the cache.
    beyond = half > padded // 2  # periodic: F(x) = conj F(padded - x) for each line
    lines = np.where(beyond, padded - half, half)
    kind = np.complex128 if dtype == np.float64 else np.complex64
    along_x, along_y = (_centre_phase(each, box, padded, np.dtype(kind)) for each in (half, full))
    data = np.empty((len(full), len(full), len(half)), np.complex64)
    # Memory that is not touched need not be cleared by the system: planes are kept where the result will be.
    fits = kind is np.complex64 and box <= len(full)
    planes = data[:box] if fits else np.empty((box, len(full), len(half)), kind)
    for block in _blocks(box, padded * len(half) * planes.itemsize, workers):
        some = rfft(work[block], padded, axis=2, workers=workers)[:, :, lines]
        some[:, :, beyond] = some[:, :, beyond].conj()
        some *= along_x
        np.multiply(fft(some, padded, axis=1, workers=workers)[:, full % padded], along_y[:, None], out=planes[block])
    for block in _blocks(len(full), padded * len(half) * planes.itemsize, workers):
        some = fft(planes[:, block], padded, axis=0, workers=workers)[full % padded]
        some *= along_y[:, None, None]
        data[:, block] = some
    return FourierVolume(data.view(np.float32).reshape(*data.shape, 2), box, padding, limit)


def _blocks(n: int, size: int, workers: int) -> Iterator[slice]:
    """Parts of `n` layers of `size` bytes each that fit into the caches of the threads."""
    step = max(1, workers * _CACHE_BYTES // size)
    return (slice(first, min(n, first + step)) for first in range(0, n, step))


def _centre_phase(
    index: NDArray[np.integer], box: int, padded: int, dtype: np.dtype[np.complexfloating]
) -> NDArray[np.complexfloating]:
    """exp(+2πi·index·(box//2)/padded): moves the origin from the first voxel to the centre one."""
    turn = index * (box // 2) % padded / padded
    phase: NDArray[np.complexfloating] = np.exp(2j * np.pi * turn).astype(dtype)
    return phase


def project_slices(
    volume: FourierVolume,
    rotations: Any,
    kx: ArrayLike,
    ky: ArrayLike,
    *,
    scale: float = 1.0,
    curvature: NDArray[np.float64] | None = None,
    out: NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Read slices: ``volume(padding·scale·Aᵀ(kx, ky, z))``, trilinear; z = 0 or ``curvature·|k|²``.

    Parameters
    ----------
    volume : FourierVolume
        See `fourier_volume`.
    rotations : (n, 3, 3) float64, or scipy.spatial.transform.Rotation
        A, see docs/conventions.md; any matrices, A·M where images are distorted.
    kx, ky : (n_pixel,) int32
        Fourier indices of the image.
    scale : float
        Fourier px of the map per Fourier px of the image: map box·pixel size / (image box·pixel size).
    curvature : (n,) float64, optional
        Of each slice, see `pycryo.kernels.entries.Entries`. Default: central slices.
    out : (n, 2, n_pixel) float32, optional
        Result.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (n, 2, n_pixel) float32
        Real parts, then imaginary parts; 0 where ``padding·scale·|k| ≥ radius - 1/2``.

    Raises
    ------
    InputError
        If shapes disagree or a matrix is not finite.

    Examples
    --------
    >>> kernels = pycryo.kernels
    >>> volume = kernels.fourier_volume(np.random.default_rng(1).normal(size=(8, 8, 8)))
    >>> pixels = kernels.half_plane(8, 4)
    >>> kernels.project_slices(volume, pycryo.euler_to_matrix([0, 90], 0, 0), pixels.kx, pixels.ky).shape
    (2, 2, 23)
    """
    arguments.instance("volume", volume, FourierVolume, "from fourier_volume")
    rotations = arguments.matrices("rotations", rotations, (None,))
    kx, ky = (arguments.numbers(name, k, np.int32) for name, k in (("kx", kx), ("ky", ky)))
    out = arguments.result("out", out, (len(rotations), 2, len(kx)), np.float32)
    _core.project_slices(
        volume.data,
        rotations,
        curvatures(curvature),
        kx,
        ky,
        volume.padding * float(scale),
        out,
        threads_or_default(threads),
    )
    return out


def project(
    map: ArrayLike,
    rotations: Any,
    *,
    shifts: ArrayLike | None = None,
    padding: int = 2,
    r_high: float | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Project a map along z of each rotated frame.

    Parameters
    ----------
    map : (N, N, N) array_like, or Map
        Density, centre N//2.
    rotations : (n, 3, 3) array_like, or scipy.spatial.transform.Rotation
        A, see docs/conventions.md; `euler_to_matrix` makes them from RELION's angles.
    shifts : (n, 2) array_like, optional
        rlnOrigin (x, y) in px: the projected particle sits at minus this from the centre N//2.
    padding : int
        Zero-padding factor of the map before its transform.
    r_high : float, optional
        Frequencies |k| < r_high (Fourier px) are kept; default N/2.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (n, N, N) float32
        Line sums of the density.

    Raises
    ------
    InputError
        If shapes disagree, an option is out of range, a matrix is no rotation or a number not finite.

    Examples
    --------
    >>> density = np.zeros((16, 16, 16))
    >>> density[8, 8, 10] = 1.0  # z, y, x
    >>> images = pycryo.project(density, pycryo.euler_to_matrix([0, 90], 0, 0))
    >>> [np.unravel_index(image.argmax(), image.shape) == np.array(at) for image, at in zip(images, [(8, 10), (6, 8)])]
    [array([ True,  True]), array([ True,  True])]
    """
    rotations = arguments.rotations("rotations", rotations)
    if shifts is not None:
        shifts = arguments.numbers("shifts", shifts, np.float64, (len(rotations), 2), finite=True)
    volume = fourier_volume(arguments.cube("map", map), padding=padding, r_high=r_high, threads=threads)
    out = np.empty((len(rotations), volume.box, volume.box), np.float32)
    batch = max(1, _BATCH_BYTES // (24 * volume.box**2))  # slices, moved slices, transforms, images
    for first in range(0, len(rotations), batch):
        some = slice(first, first + batch)
        origin = None if shifts is None else shifts[some]
        out[some] = project_images(
            volume, rotations[some], half_plane(volume.box, volume.r_high), shifts=origin, threads=threads
        )
    return out


def project_images(
    volume: FourierVolume,
    rotations: Any,
    pixels: Pixels,
    *,
    shifts: ArrayLike | None = None,
    change: Callable[[NDArray[np.float32]], None] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Real-space projections of a volume that is transformed already; all in memory at once.

    Parameters
    ----------
    volume : FourierVolume
    rotations : (n, 3, 3) float64
        A, see docs/conventions.md.
    pixels : Pixels
        Samples to keep, of the map's box.
    shifts : (n, 2) float64, optional
        rlnOrigin (x, y) in px.
    change : callable, optional
        Changes the transforms (n, 2, n_pixel) in place before the shift, such as by the CTF.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (n, N, N) float32

    Examples
    --------
    >>> kernels = pycryo.kernels
    >>> density = np.random.default_rng(1).normal(size=(8, 8, 8))
    >>> turns = pycryo.euler_to_matrix([0, 90], 0, 0)
    >>> images = kernels.project_images(kernels.fourier_volume(density), turns, kernels.half_plane(8, 4))
    >>> np.array_equal(images, pycryo.project(density, turns))
    True
    """
    arguments.instance("volume", volume, FourierVolume, "from fourier_volume")
    arguments.instance("pixels", pixels, Pixels, "from half_plane")
    box = volume.box
    slices = project_slices(volume, rotations, pixels.kx, pixels.ky, threads=threads)
    if change is not None:
        change(slices)
    if shifts is not None:
        shifts = arguments.numbers("shifts", shifts, np.float64, (len(slices), 2), finite=True)
        slices = shift(slices, pixels.kx, pixels.ky, shifts[:, None], box, threads=threads)[:, 0]
    return pixels.to_images(slices, threads=threads)
