"""From accumulators F and T to a map: weighting and gridding (method.md §6; paper, Algorithm 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.backprojector import Accumulators
from pycryo.threads import get_threads

# Signal-to-noise ratio taken for all shells where none is known: T + mean(T)/60 instead of T. Voxels with less than a
# few percent of their shell's T hold amplified noise; against the truth (sim64, sim128) every shell gains from 300 down
# to 60, the low ones begin to lose at 30.
_SSNR = 60.0


@dataclass(frozen=True, slots=True)
class Solution:
    """A map and how it was found.

    Attributes
    ----------
    map : (M, M, M) float32
        Density on the grid of the field of view with M ≤ box points per axis.
    mean_weight : (n_shell,) float64
        Radial mean of T.
    iterations : int
        Gridding iterations done.
    deviation : float
        Last max|C - 1|.
    """

    map: NDArray[np.float32]
    mean_weight: NDArray[np.float64]
    iterations: int
    deviation: float


def grid_box(box: int, r_high: float) -> int:
    """Smallest even, FFT-friendly number of points per axis (≤ box) that holds the frequencies below `r_high`."""
    import scipy.fft

    wanted = 2 * (int(np.ceil(r_high)) + 2)
    return min(box, 2 * int(scipy.fft.next_fast_len(wanted // 2)))


def _shells(radius: int, padding: int) -> NDArray[np.int32]:
    """Shell (unpadded) of each voxel of a centred half volume."""
    line = np.arange(-radius, radius + 1, dtype=np.float32)
    square = line[:, None, None] ** 2 + line[None, :, None] ** 2 + line[None, None, radius:] ** 2
    return np.asarray(np.rint(np.sqrt(square) / padding), np.int32)


def _radial_mean(values: NDArray[np.float64], shell: NDArray[np.int32]) -> NDArray[np.float64]:
    """(n_shell,) mean over the voxels of each shell."""
    total = np.bincount(shell.ravel(), values.ravel())
    return np.asarray(total / np.maximum(np.bincount(shell.ravel()), 1))


def solve(
    accumulators: Accumulators,
    *,
    ssnr: NDArray[np.float64] | None = None,
    max_iterations: int = 10,
    tolerance: float = 1e-2,
    single: bool = False,
) -> Solution:
    """Reconstruct a map: V = F·W with W from the gridding iteration (paper, Algorithm 2).

    Parameters
    ----------
    accumulators : Accumulators
        F and T, folded (`fold_hermitian`); not changed.
    ssnr : (n_shell,) float64, optional
        Signal-to-noise ratio of the reconstruction per shell; adds mean(T)/ssnr to T (Wiener). None: only as much as
        keeps voxels with little T from blowing up, and the grey values unchanged.
    max_iterations, tolerance : int, float
        Stop at max|C - 1| < tolerance, when it no longer falls, or after this many iterations. The start, the quotient
        1/T, meets the condition away from the rim already, because the insertion spreads T by the same kernel: 0 keeps
        it without the two transforms of the test.
    single : bool
        Transform F·W in single precision: good for references, half the time.

    Returns
    -------
    Solution
        The map has `grid_box(box, r_high)` points per axis over the same field of view.
    """
    padding, box = accumulators.padding, accumulators.box
    points = grid_box(box, accumulators.r_high)
    accumulators = _cropped(accumulators, (padding * points - 1) // 2)
    radius = accumulators.weight.shape[2] - 1
    shell = _shells(radius, padding)
    mean = _radial_mean(accumulators.weight, shell)
    ratio = np.full(len(mean), 1e-3 if ssnr is not None else _SSNR)
    if ssnr is not None:
        ratio[: len(ssnr)] = np.maximum(ssnr[: len(mean)], 1e-3)
    target = accumulators.weight + np.maximum(mean / ratio, max(mean.max() * 1e-9, 1e-300))[shell]
    if ssnr is None:
        target /= 1 + 1 / _SSNR
    grid = _PaddedGrid(points, padding, box, radius)
    inside = shell < accumulators.r_high
    weight = np.where(inside, 1.0 / target, 0.0)
    # At the rim the kernel reaches out of the sphere, where nothing can make C = 1.
    interior = _interior(inside) if max_iterations else inside
    deviation, iterations = np.inf, 0
    before = weight
    while iterations < max_iterations:
        convolved = grid.convolve(weight * target)
        latest = float(np.abs(convolved[interior] - 1).max()) if interior.any() else 0.0
        if latest > 0.98 * deviation:
            weight = before
            break
        deviation = latest
        iterations += 1
        if deviation < tolerance:
            break
        before = weight
        weight = weight / np.clip(convolved, 1e-6, None)
    density = grid.to_map(accumulators, weight, np.complex64 if single else np.complex128)
    return Solution(density, mean, iterations, deviation)


def _interior(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of the half volume at least two voxels away from the rim of `inside` along every axis."""
    interior = inside.copy()
    for axis in range(3):
        for _ in range(2):
            lines = np.moveaxis(interior, axis, 0)
            eroded = lines.copy()
            eroded[:-1] &= lines[1:]
            eroded[1:] &= lines[:-1]
            eroded[-1] = False
            if axis != 2:  # x = 0 is no border: its other side is the conjugate
                eroded[0] = False
            lines[:] = eroded
    return interior


def _cropped(accumulators: Accumulators, most: int) -> Accumulators:
    """The accumulators within `most` padded Fourier px per axis, what the real-space grid can hold."""
    cut = accumulators.weight.shape[2] - 1 - most
    if cut <= 0:
        return accumulators
    keep = (slice(cut, -cut), slice(cut, -cut), slice(None, -cut))
    return replace(accumulators, re=accumulators.re[keep], im=accumulators.im[keep], weight=accumulators.weight[keep])


class _PaddedGrid:
    """The padded real-space grid that belongs to a centred half volume, with the interpolation kernel's transform."""

    def __init__(self, points: int, padding: int, box: int, radius: int) -> None:
        self.points, self.box, self.radius = points, box, radius
        self.size = padding * points
        centre = np.sinc((np.arange(points) - points // 2) / self.size) ** 2
        self.correction = centre[:, None, None] * centre[None, :, None] * centre[None, None, :]

    def _blocks(self) -> Iterator[tuple[tuple[slice, slice, slice], tuple[slice, slice, slice]]]:
        """Pairs of (place in the centred half volume, place in the layout of scipy.fft.rfftn)."""
        r = self.radius
        sides = ((slice(r, None), slice(0, r + 1)), (slice(0, r), slice(self.size - r, None)))
        for here_z, there_z in sides:
            for here_y, there_y in sides:
                yield (here_z, here_y, slice(None)), (there_z, there_y, slice(0, r + 1))

    def _zeros(self, dtype: type) -> NDArray[Any]:
        """Empty transform in the layout of scipy.fft.rfftn."""
        return np.zeros((self.size, self.size, self.size // 2 + 1), dtype)

    def convolve(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convolution of a real half volume with the interpolation kernel."""
        import scipy.fft

        workers = get_threads()
        full = self._zeros(np.complex64)
        for here, there in self._blocks():
            full[there].real = values[here]
        real = scipy.fft.irfftn(full, s=(self.size,) * 3, workers=workers, overwrite_x=True)
        line = np.sinc(np.fft.fftfreq(self.size)).astype(np.float32) ** 2
        for axis in range(3):
            real *= np.expand_dims(line, [other for other in range(3) if other != axis])
        back = scipy.fft.rfftn(real, workers=workers, overwrite_x=True)
        result = np.empty(values.shape)
        for here, there in self._blocks():
            result[here] = back[there].real
        return result

    def to_map(self, accumulators: Accumulators, weight: NDArray[np.float64], dtype: type) -> NDArray[np.float32]:
        """Inverse transform of F·W, cropped to the field of view and corrected for the interpolation kernel."""
        import scipy.fft

        full = self._zeros(dtype)
        for here, there in self._blocks():
            np.multiply(accumulators.re[here], weight[here], out=full[there].real, casting="same_kind")
            np.multiply(accumulators.im[here], weight[here], out=full[there].imag, casting="same_kind")
        real = scipy.fft.irfftn(full, s=(self.size,) * 3, workers=get_threads(), overwrite_x=True)
        keep = (np.arange(self.points) - self.points // 2) % self.size
        density = real[np.ix_(keep, keep, keep)]
        return np.asarray(density / self.correction * (self.points / self.box) ** 3, np.float32)
