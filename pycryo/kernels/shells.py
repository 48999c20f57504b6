"""Sums over Fourier shells, for FSC curves and noise spectra (kernel `shells`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo import _core
from pycryo.arguments import numbers, split, transform
from pycryo.errors import InputError
from pycryo.threads import threads_or_default


def image_shells(
    a: ArrayLike,
    b: ArrayLike,
    shell: ArrayLike,
    n_shell: int,
    threads: int | None = None,
) -> NDArray[np.float64]:
    """Σ Re(a·b*), Σ|a|² and Σ|b|² of each image over the samples of each shell.

    Parameters
    ----------
    a, b : (n, 2, n_pixel) float32
        Real parts, then imaginary parts, of Fourier samples; or (n, n_pixel) complex.
    shell : (n_pixel,) int32
        Shell of each sample (`pycryo.kernels.pixels.Pixels.shell`), below `n_shell`.
    n_shell : int
        Number of shells; those without samples are 0.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (n, n_shell, 3) float64

    Raises
    ------
    InputError
        If shapes disagree or a shell is out of range.

    Examples
    --------
    >>> pixels = pycryo.kernels.half_plane(8, 4)
    >>> samples = pixels.from_images(np.random.default_rng(1).normal(size=(2, 8, 8)))
    >>> sums = pycryo.kernels.image_shells(samples, samples, pixels.shell, 5)
    >>> sums.shape, np.allclose(sums[..., 0], sums[..., 1])
    ((2, 5, 3), True)
    """
    a, b, shell = split("a", a), split("b", b), numbers("shell", shell, np.int32)
    out = np.empty((len(a), n_shell, 3))
    _core.image_shells(a, b, shell, out, threads_or_default(threads))
    return out


def shell_sums(values: NDArray[np.float64], shell: NDArray[np.int32], n_shell: int) -> NDArray[np.float64]:
    """(n, n_shell) sums over shells of (n, n_pixel) values; `shell` (n_pixel,) is that of each sample."""
    order = np.argsort(shell, kind="stable")
    found, first = np.unique(shell[order], return_index=True)
    sums = np.zeros((len(values), n_shell))
    if len(found):
        sums[:, found] = np.add.reduceat(values[:, order], first, axis=1)
    return sums


def volume_shells(
    a: ArrayLike,
    b: ArrayLike,
    n_shell: int | None = None,
    threads: int | None = None,
) -> NDArray[np.float64]:
    """Σ Re(a·b*), Σ|a|² and Σ|b|² over the shells round(|k|) of the full transforms of real (N, N, N) volumes.

    Parameters
    ----------
    a, b : (N, N, N//2 + 1) complex64 or complex128
        As `scipy.fft.rfftn` returns them; the samples that it leaves out are counted through their Hermitian mates.
    n_shell : int, optional
        Shells 0 ... n_shell - 1; default: to Nyquist, N//2 + 1.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (n_shell, 3) float64

    Raises
    ------
    InputError
        If shapes disagree or are not those of a cube's transform.

    Examples
    --------
    >>> transform = np.fft.rfftn(np.random.default_rng(1).normal(size=(8, 8, 8)))
    >>> cross, power, _ = pycryo.kernels.volume_shells(transform, transform).T
    >>> (cross / power).round(6).tolist()  # the FSC of a map with itself
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    a, b = transform("a", a), transform("b", b)
    if a.shape != b.shape:
        raise InputError(f"b: expected shape {a.shape}, that of a, got {b.shape}")
    return np.asarray(layer_shells(a, b, np.arange(a.shape[1]), n_shell, threads).sum(axis=0))


def layer_shells(
    a: NDArray[np.complexfloating],
    b: NDArray[np.complexfloating],
    number: NDArray[np.int64],
    n_shell: int | None = None,
    threads: int | None = None,
) -> NDArray[np.float64]:
    """The sums of `volume_shells` for each of some layers of the transforms; those of all layers add up to it.

    The mates that `rfftn` leaves out count in the layer of their partner, not in their own.

    Parameters
    ----------
    a, b : (n_layer, N, N//2 + 1) complex64 or complex128
        Layers of what `scipy.fft.rfftn` returns, cut along its first axis, or its second, which comes first then.
    number : (n_layer,) int64
        Index 0 ... N - 1 of each layer along that axis.
    n_shell : int, optional
        Shells 0 ... n_shell - 1; default: to Nyquist, N//2 + 1.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (n_layer, n_shell, 3) float64

    Raises
    ------
    InputError
        If shapes disagree or a number is out of range.
    """
    real = np.float32 if a.dtype == b.dtype == np.complex64 else np.float64
    if n_shell is None:
        n_shell = a.shape[1] // 2 + 1
    out = np.empty((len(a), n_shell, 3))
    _core.layer_shells(_parts(a, real), _parts(b, real), np.asarray(number, np.int64), out, threads_or_default(threads))
    return out


def _parts(transform: NDArray[np.complexfloating], real: type[np.floating]) -> NDArray[np.floating]:
    """Contiguous view (or copy) (..., 2) of real and imaginary parts."""
    contiguous = np.ascontiguousarray(transform, np.result_type(real, np.complex64))
    return contiguous.view(real).reshape(*transform.shape, 2)


def shell_counts(box: int, n_shell: int | None = None) -> NDArray[np.int64]:
    """Number of samples of the full (box, box, box) transform in each shell round(|k|), default to Nyquist."""
    if n_shell is None:
        n_shell = box // 2 + 1
    squared = np.rint(np.fft.fftfreq(box, 1 / box)).astype(np.int64) ** 2
    in_plane = np.bincount((squared[:, None] + squared).ravel())  # samples (y, x) per squared distance
    distance2 = np.flatnonzero(in_plane)
    counts = np.zeros(n_shell + box, np.int64)
    for z in squared:
        shell = np.rint(np.sqrt(z + distance2)).astype(np.int64)
        counts += np.bincount(shell, in_plane[distance2], len(counts)).astype(np.int64)[: len(counts)]
    return counts[:n_shell]
