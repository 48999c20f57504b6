"""From accumulators F and T to a map: weighting and gridding (docs/method.md, Insertion and reconstruction)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.fourier import next_fast_length
from pycryo.kernels import gridding
from pycryo.kernels.backprojector import Accumulators
from pycryo.model.measured_ssnr import measured_ssnr
from pycryo.model.owners import MODELS, Model
from pycryo.model.padded_grid import PaddedGrid, SlabGrid, WholeGrid, for_layers
from pycryo.parallel.comm import Comm, SerialComm
from pycryo.parallel.rows import even_bounds

# W of all voxels of a rank. None stands for the start, W = 1 / target and W·target = 1: it is not stored.
Weight = NDArray[np.float64]

# Signal-to-noise ratio taken for all shells where none is known: T + mean(T)/60 instead of T. Voxels with less than a
# few percent of their shell's T hold amplified noise; against the truth (sim64, sim128) every shell gains from 300 down
# to 60, the low ones begin to lose at 30.
_SSNR = 60.0
# Least and greatest ratio that is measured from F and T: below it the weights are nearly equal within a shell, above it
# voxels with little T would hold amplified errors of the interpolation.
_MEASURED = 1.0, 300.0
# Parts of the volume whose difference tells how sure it is.
_BLOCKS = 8


@dataclass(frozen=True, slots=True)
class Solution:
    """A map and how it was found.

    Attributes
    ----------
    planes : (n_plane, M, M) float32
        This rank's planes z of the map, `even_bounds(M, comm.size)`: density on the grid of the field of view.
    points : int
        M ≤ box points per axis.
    mean_weight : (n_shell,) float64
        Radial mean of T.
    iterations : int
        Gridding iterations done.
    deviation : float
        Last max|C - 1|.
    """

    planes: NDArray[np.float32]
    points: int
    mean_weight: NDArray[np.float64]
    iterations: int
    deviation: float


def grid_box(box: int, r_high: float) -> int:
    """Smallest even, FFT-friendly number of points per axis (≤ box) that holds the frequencies below `r_high`."""
    wanted = 2 * (int(np.ceil(r_high)) + 2)
    return min(box, 2 * next_fast_length(wanted // 2))


def solve(
    comm: Comm,
    accumulators: Accumulators,
    *,
    model: Model = "slab",
    ssnr: NDArray[np.float64] | None = None,
    max_iterations: int = 10,
    tolerance: float = 1e-2,
    double: bool = True,
) -> Solution:
    """Reconstruct one map; parameters as for `Solver` and `Solver.solve`. Collective."""
    solver = Solver(comm, accumulators, model=model, double=double)
    return solver.solve(ssnr=ssnr, max_iterations=max_iterations, tolerance=tolerance)


class Solver:
    """Reconstructs maps of one F and T: V = F·W with W from the gridding iteration. Collective over `comm`.

    Planes, accumulators and weights are the same to the last bit for any model, number of ranks and threads. The
    memory of the padded grid C is kept from one map to the next.

    Parameters
    ----------
    comm : Comm
    accumulators : Accumulators
        F and T, folded: each voxel of the plane x = 0 is the conjugate of its mate. Of all layers in the model
        "replicated", else of those of ``sphere.bounds(comm.size)``. Not changed.
    model : {"replicated", "sharded", "slab"}
    double : bool
        Transform in double precision.
    grid : PaddedGrid, optional
        That of another solver with the same ranks, limits and precision, to use its memory.

    Attributes
    ----------
    points : int
        M of the maps.
    mean_weight : (n_shell,) float64
        Radial mean of T over the voxels that the padded grid holds.
    grid : PaddedGrid
        C.
    map_extent : (int, int)
        Planes of the map that are made of `grid` together, from the centre.

    Raises
    ------
    ValueError
        If the model is unknown or the layers are not those of this rank.
    """

    def __init__(
        self,
        comm: Comm,
        accumulators: Accumulators,
        *,
        model: Model = "slab",
        double: bool = True,
        grid: PaddedGrid | None = None,
    ) -> None:
        if model not in MODELS:
            raise ValueError(f"model: expected one of {', '.join(MODELS)}, got {model!r}")
        self._accumulators = accumulators
        self.points = grid_box(accumulators.box, accumulators.r_high)
        self._n = accumulators.padding * self.points
        self._ball = gridding.ball(accumulators.sphere, accumulators.padding, self._n, accumulators.r_high)
        self._holders: Comm = SerialComm() if model == "replicated" else comm
        bounds = _check_layers(self._holders, accumulators)
        bounds = np.clip(bounds, self._ball.layers.start, self._ball.layers.stop)
        self._layers = range(*bounds[self._holders.rank : self._holders.rank + 2].tolist())
        make_grid = WholeGrid if model == "sharded" and comm.size > 1 else SlabGrid
        self.grid: PaddedGrid = grid or make_grid(self._holders, self._ball, self._n, bounds, double=double)
        # A slab transform deals the map's planes itself; a rank that transforms alone makes its own only.
        ends = even_bounds(self.points, comm.size)[[0, -1] if model == "slab" else [comm.rank, comm.rank + 1]]
        self.map_extent = int(ends[0]) - self.points // 2, int(ends[1]) - self.points // 2
        self.mean_weight = self._radial_mean()

    def measured_ssnr(self) -> NDArray[np.float64]:
        """(n_shell,) signal-to-noise ratio of each shell, as `solve` takes it, from F and T alone. Collective."""

        def moments(layer: int, weight: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
            re, im = (self._of(part, layer) for part in (self._accumulators.re, self._accumulators.im))
            power, square = re * re + im * im, weight * weight
            return weight, square, square * weight, power, power * weight

        # What is between padded Fourier px is known from them.
        sums = self._shell_sums(5, moments, every=self._accumulators.padding)
        blocks = np.add.reduceat(sums, np.unique(np.linspace(0, sums.shape[1], _BLOCKS, endpoint=False).astype(int)), 1)
        return measured_ssnr(np.concatenate([blocks[:1, ..., 1], blocks[..., 0]]), _SSNR, _MEASURED)

    def solve(
        self,
        *,
        ssnr: NDArray[np.float64] | None = None,
        keeps_scale: bool = False,
        max_iterations: int = 10,
        tolerance: float = 1e-2,
    ) -> Solution:
        """Reconstruct a map. Collective.

        Parameters
        ----------
        ssnr : (n_shell,) float64, optional
            Signal-to-noise ratio of the reconstruction per shell; adds mean(T)/ssnr to T (Wiener). None: only as much
            as keeps voxels with little T from blowing up, and the grey values unchanged.
        keeps_scale : bool
            Multiply shells so that their grey values are those without a filter.
        max_iterations, tolerance : int, float
            Stop at max|C - 1| < tolerance, when it no longer falls, or after this many iterations. The start, the
            quotient 1/T, meets the condition away from the rim already, because the insertion spreads T by the same
            kernel: 0 keeps it without the two transforms of the test.
        """
        add = self._addend(ssnr)
        w, iterations, deviation = self._iterate(add, max_iterations, tolerance)
        scale = 1 + 1 / _SSNR if ssnr is None else 1.0
        planes = self._to_map(w, add, scale, self._unfiltered(add) if keeps_scale else None)
        return Solution(planes, self.points, self.mean_weight, iterations, deviation)

    def _of(self, values: NDArray[np.float64], layer: int) -> NDArray[np.float64]:
        """Part of an array like the accumulators' that is a layer."""
        sphere, offset = self._accumulators.sphere, self._accumulators.first
        begin, _ = sphere.voxels(offset, offset)
        first, last = sphere.voxels(layer, layer + 1)
        return values[first - begin : last - begin]

    def _shell_sums(
        self, n: int, values: Callable[[int, NDArray[np.float64]], tuple[NDArray[np.float64], ...]], every: int = 1
    ) -> NDArray[np.float64]:
        """(n, n_layer, n_shell, 2) sums of `n` values over each layer's voxels of each shell; their number. Collective.

        `values` returns them for a layer, given its number and T. Of `every` layers one is taken, the others have 0.
        """
        sums = np.zeros((n, len(self._ball.layers), self._ball.n_shell, 2))

        def add_up(layer: int) -> None:
            weight = self._of(self._accumulators.weight, layer)
            for of_value, each in zip(sums, values(layer, weight), strict=True):
                of_value[layer - self._ball.layers.start] = gridding.shell_sums(self._ball, layer, each)

        first = self._layers.start + -self._layers.start % every
        for_layers(range(first, self._layers.stop, every), add_up)
        self._holders.sum_array(sums)
        return sums

    def _shell_mean(self, value: Callable[[int, NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
        """(n_shell,) mean of one such value."""
        total, count = self._shell_sums(1, lambda layer, weight: (value(layer, weight),))[0].sum(axis=0).T
        return np.asarray(total / np.maximum(count, 1))

    def _radial_mean(self) -> NDArray[np.float64]:
        """(n_shell,) mean of T over the voxels of each shell. Collective."""
        return self._shell_mean(lambda _, weight: weight)

    def _unfiltered(self, add: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n_shell,) factors that give F / (T + add) the grey values of F / T, in a mean weighted by T. Collective."""

        def filtered(layer: int, weight: NDArray[np.float64]) -> NDArray[np.float64]:
            w = np.empty_like(weight)
            gridding.first_weight(self._ball, layer, weight, add, w)
            return w * weight * weight

        mean = self._shell_mean(filtered)
        return np.divide(self.mean_weight, mean, out=np.ones_like(mean), where=mean > 0)

    def _addend(self, ssnr: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """(n_shell,) what is added to T."""
        mean = self.mean_weight
        ratio = np.full(len(mean), 1e-3 if ssnr is not None else _SSNR)
        if ssnr is not None:
            ratio[: len(ssnr)] = np.maximum(ssnr[: len(mean)], 1e-3)
        return np.asarray(np.maximum(mean / ratio, max(mean.max() * 1e-9, 1e-300)))

    def _iterate(
        self, add: NDArray[np.float64], max_iterations: int, tolerance: float
    ) -> tuple[Weight | None, int, float]:
        """W, the number of iterations and max|C - 1|. Collective."""
        deviation, iterations = np.inf, 0
        before: Weight | None = None
        w: Weight | None = None
        while iterations < max_iterations:
            latest = self._convolve(w, add)
            if latest > 0.98 * deviation:
                return before, iterations, deviation
            deviation = latest
            iterations += 1
            if deviation < tolerance:
                break
            before, w = w, self._divided(w, add)
        return w, iterations, deviation

    def _write_weight(self, w: Weight | None, add: NDArray[np.float64], layer: int, out: NDArray[np.float64]) -> None:
        """Write W of a layer's voxels."""
        if w is None:
            gridding.first_weight(self._ball, layer, self._of(self._accumulators.weight, layer), add, out)
        else:
            out[:] = self._of(w, layer)

    def _convolve(self, w: Weight | None, add: NDArray[np.float64]) -> float:
        """Make the grid's planes those of C, W·target convolved with the interpolation kernel; max|C - 1|."""
        fft = self.grid.fft
        line = np.sinc(np.fft.fftfreq(self._n)) ** 2
        along_x = line.astype(fft.real)

        def values(layer: int, arrays: list[NDArray[np.float64]]) -> None:
            if w is None:
                arrays[0].fill(1)
            else:
                weight = self._of(self._accumulators.weight, layer)
                gridding.product(self._ball, layer, weight, add, self._of(w, layer), arrays[0])

        def multiply(number: int, points: NDArray[Any]) -> None:
            gridding.scale(points, (line * (line[number] / self._n**3)).astype(fft.real), along_x)

        fft.deal((0, self._n))
        self.grid.load(values, 1)
        fft.on_planes(multiply, back=True)
        return self._deviation()

    def _deviation(self) -> float:
        worst = np.zeros(self._ball.sphere.layers)

        def measure(layer: int, samples: NDArray[Any]) -> None:
            worst[layer] = gridding.deviation(self._ball, layer, samples)

        self.grid.store(measure)
        self._holders.max_array(worst)
        return float(worst.max())

    def _divided(self, w: Weight | None, add: NDArray[np.float64]) -> Weight:
        """W / C, of which the grid's planes hold C. Collective."""
        result = np.zeros_like(self._accumulators.weight)

        def divide(layer: int, samples: NDArray[Any]) -> None:
            of_layer = self._of(result, layer)
            self._write_weight(w, add, layer, of_layer)
            gridding.divide(self._ball, layer, samples, of_layer)

        self.grid.store(divide)
        return result

    def _to_map(
        self, w: Weight | None, add: NDArray[np.float64], scale: float, factors: NDArray[np.float64] | None
    ) -> NDArray[np.float32]:
        """This rank's planes of the inverse transform of F·W, corrected for the interpolation kernel. Collective.

        W is multiplied by `scale` and by the `factors` (n_shell,) of shells.
        """
        fft, points, half = self.grid.fft, self.points, self.points // 2
        accumulators = self._accumulators
        line = 1 / np.sinc((np.arange(points) - half) / self._n) ** 2
        along_x = line.astype(fft.real)
        scale *= (points / accumulators.box) ** 3 / self._n**3

        def values(layer: int, arrays: list[NDArray[np.float64]]) -> None:
            re, im = arrays
            self._write_weight(w, add, layer, im)
            if factors is not None:
                re.fill(0)
                gridding.product(self._ball, layer, re, factors, im.copy(), im)
            np.multiply(self._of(accumulators.re, layer), im, out=re)
            im *= self._of(accumulators.im, layer)

        fft.deal(self.map_extent)
        planes = np.empty((len(fft.plane_numbers), points, points), np.float32)

        def correct(number: int, plane: NDArray[Any]) -> None:
            gridding.scale(plane, (line * (line[number + half] * scale)).astype(fft.real), along_x)
            planes[number - fft.plane_numbers.start] = plane

        self.grid.load(values, 2)
        fft.crop_planes(correct, (-half, points - half))
        return planes


def _check_layers(holders: Comm, accumulators: Accumulators) -> NDArray[np.int64]:
    """Layers of each of the ranks that hold the accumulators together."""
    bounds = accumulators.sphere.bounds(holders.size)
    first, last = bounds[holders.rank : holders.rank + 2].tolist()
    if (accumulators.first, accumulators.last) != (first, last):
        raise ValueError(
            f"accumulators: expected layers {first} to {last}, got {accumulators.first} to {accumulators.last}"
        )
    return bounds
