"""The adjoint of the transform that `fourier_volume` makes of a map: for least squares with `project_slices`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.arguments import complex_numbers
from pycryo.errors import InputError
from pycryo.fourier import ifft
from pycryo.threads import threads_or_default


def adjoint_volume(dense: ArrayLike, box: int, *, padding: int = 2, threads: int | None = None) -> NDArray[np.float64]:
    """F*: the adjoint of F, the linear function that takes a map to ``fourier_volume(map).dense``.

    ``Σ m·F*(w) = Re Σ conj(F m)·w`` for every map m and every w, each voxel of the half volume counted once. With the
    sums of `insert`, whose F is the adjoint of `project_slices`, it brings samples back to a map.

    Parameters
    ----------
    dense : (D, D, H) complex array_like
        At [z + r, y + r, x] as in `FourierVolume.data`, D = 2r + 1, H = r + 1; such as `Accumulators.to_dense` makes.
    box : int
        N of the map, px.
    padding : int
        Padded Fourier px per Fourier px.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (N, N, N) float64

    Raises
    ------
    InputError
        If `dense` has another shape, or a radius that `fourier_volume` does not make of such a map.

    Examples
    --------
    >>> kernels = pycryo.kernels
    >>> rng = np.random.default_rng(1)
    >>> density = rng.normal(size=(8, 8, 8))
    >>> transform = kernels.fourier_volume(density).dense
    >>> other = rng.normal(size=transform.shape) + 1j * rng.normal(size=transform.shape)
    >>> left = np.sum((transform.conj() * other).real)
    >>> bool(np.isclose(left, np.sum(density * kernels.adjoint_volume(other, 8)), rtol=1e-4))
    True
    """
    samples = complex_numbers("dense", dense)
    radius = samples.shape[-1] - 1 if samples.ndim else 0
    if samples.shape != (2 * radius + 1, 2 * radius + 1, radius + 1) or radius < 1:
        raise InputError(f"dense: expected shape (2r + 1, 2r + 1, r + 1), got {samples.shape}")
    if box < 1 or padding < 1 or radius > -(-padding * box // 2) + 1:
        raise InputError(f"box, padding: expected a padded box of at least {2 * radius - 2} px, got {box} × {padding}")
    padded, workers = padding * box, threads_or_default(threads)
    around = (np.arange(box) - box // 2) % padded
    full, half = np.arange(-radius, radius + 1) % padded, np.arange(radius + 1) % padded
    work = np.asarray(samples, np.complex128)
    for axis, index in ((0, full), (1, full), (2, half)):
        lines = np.zeros((*work.shape[:axis], padded, *work.shape[axis + 1 :]), np.complex128)
        # Twice where the radius reaches around: indices that differ by the padded box are one frequency.
        np.add.at(np.moveaxis(lines, axis, 0), index, np.moveaxis(work, axis, 0))
        work = np.take(ifft(lines, axis=axis, scaled=False, overwrite=True, workers=workers), around, axis=axis)
    correction = 1 / np.sinc((np.arange(box) - box // 2) / padded) ** 2
    return np.asarray(work.real * correction * correction[:, None] * correction[:, None, None], np.float64)
