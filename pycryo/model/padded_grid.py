"""The padded real-space grid of a gridding iteration: packed layers of Fourier space to planes and back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.gridding import Ball, place
from pycryo.parallel.comm import Comm, SerialComm
from pycryo.parallel.rows import Bounds
from pycryo.parallel.slabs.slab_fft import SlabFft
from pycryo.threads import get_threads

# Bytes of what all ranks bring together at a time.
_GATHER_BYTES = 16 << 20

# Called with a layer and arrays of its voxels to be filled: real parts and, if there are two, imaginary parts.
LayerValues = Callable[[int, list[NDArray[np.float64]]], None]
# Called with a layer and its samples (n, width), axes (z, x), both in the order of `numpy.fft`.
LayerSamples = Callable[[int, NDArray[Any]], None]


class PaddedGrid(Protocol):
    """A grid between `load` and `store`; both call their argument by several threads. All methods are collective.

    Attributes
    ----------
    fft : SlabFft
        Holds the planes.
    """

    fft: SlabFft

    def load(self, values: LayerValues, parts: int) -> None:
        """Make planes of the values of all layers: each rank's `values` for its layers; 1 or 2 `parts`."""

    def store(self, take: LayerSamples) -> None:
        """Give `take` the samples of this rank's layers."""


def transform_only(grid: PaddedGrid, points: int, extent: tuple[int, int]) -> None:
    """The transforms of a convolution and of planes `extent` of a map of `points`, which a solver's time is held to."""

    def nothing(*_: Any) -> None:
        pass

    fft = grid.fft
    fft.deal((0, fft.n))
    fft.load(nothing)
    fft.on_planes(nothing, back=True)
    grid.store(nothing)
    fft.deal(extent)
    fft.load(nothing)
    fft.crop_planes(nothing, (-(points // 2), points - points // 2))


def for_layers(layers: range, work: Callable[[int], None]) -> None:
    """Call `work` for each layer, by several threads."""
    with ThreadPoolExecutor(get_threads()) as pool:
        list(pool.map(work, layers))


class SlabGrid:
    """The planes are dealt to the ranks, too: no rank ever holds the whole grid.

    Parameters
    ----------
    comm : Comm
    ball : Ball
    n : int
        Points per axis.
    bounds : (size + 1,) int64
        Layers of each rank, among those of the ball's.
    double : bool
    """

    def __init__(self, comm: Comm, ball: Ball, n: int, bounds: Bounds, *, double: bool) -> None:
        self._ball = ball
        self.fft = _transform(comm, ball, n, bounds - ball.layers.start, double)

    def load(self, values: LayerValues, parts: int) -> None:
        """See `PaddedGrid`."""
        first = self._ball.layers.start
        buffer = _Buffer(parts, max(_n_voxel(self._ball, layer) for layer in self._ball.layers))

        def fill(row: int, samples: NDArray[Any]) -> None:
            arrays = [array[: _n_voxel(self._ball, first + row)] for array in buffer.arrays]
            values(first + row, arrays)
            place(self._ball, first + row, arrays[0], arrays[1] if parts == 2 else None, samples)

        self.fft.load(fill)

    def store(self, take: LayerSamples) -> None:
        """See `PaddedGrid`."""
        first = self._ball.layers.start
        self.fft.store(lambda row, samples: take(first + row, samples))


class WholeGrid:
    """Every rank holds and transforms the whole grid; what it lacks is gathered. Parameters as for `SlabGrid`."""

    def __init__(self, comm: Comm, ball: Ball, n: int, bounds: Bounds, *, double: bool) -> None:
        self._comm, self._ball, self._bounds = comm, ball, bounds
        everything = np.array([0, len(ball.layers)], np.int64)
        self.fft = _transform(SerialComm(), ball, n, everything, double)

    def load(self, values: LayerValues, parts: int) -> None:
        """See `PaddedGrid`."""
        for layers_of in self._rounds(parts):
            starts = _starts(self._ball, layers_of)
            arrays = [np.empty(int(starts[-1][-1])) for _ in range(parts)]
            where = {
                layer: slice(a, b)
                for layers, ends in zip(layers_of, starts, strict=True)
                for layer, (a, b) in zip(layers, pairwise(ends.tolist()), strict=True)
            }

            def make(layer: int, arrays: list[Any] = arrays, where: dict[int, slice] = where) -> None:
                values(layer, [array[where[layer]] for array in arrays])

            for_layers(layers_of[self._comm.rank], make)
            bounds = [0, *(int(ends[-1]) for ends in starts)]
            for array in arrays:
                self._comm.gather_parts(array, bounds)
            self._load_gathered(arrays, where)
            del arrays, make  # before there are new ones

    def _load_gathered(self, arrays: list[NDArray[np.float64]], where: dict[int, slice]) -> None:
        first = self._ball.layers.start

        def fill(row: int, samples: NDArray[Any]) -> None:
            re, im = (array[where[first + row]] for array in (arrays[0], arrays[-1]))
            place(self._ball, first + row, re, im if len(arrays) == 2 else None, samples)

        self.fft.load(fill, [layer - first for layer in where])

    def store(self, take: LayerSamples) -> None:
        """See `PaddedGrid`."""
        first = self._ball.layers.start
        own = range(*self._bounds[self._comm.rank : self._comm.rank + 2].tolist())
        self.fft.store(lambda row, samples: take(first + row, samples), [layer - first for layer in own])

    def _rounds(self, parts: int) -> Iterator[list[range]]:
        """The layers that each rank brings to each gathering."""
        n_bytes = 8 * parts * sum(_n_voxel(self._ball, layer) for layer in self._ball.layers)
        n_round = max(1, -(-n_bytes // _GATHER_BYTES))
        for j in range(n_round):
            yield [range(a + (b - a) * j // n_round, a + (b - a) * (j + 1) // n_round) for a, b in self._pieces()]

    def _pieces(self) -> Iterator[tuple[int, int]]:
        return pairwise(self._bounds.tolist())


class _Buffer(threading.local):
    """Arrays that each thread uses again and again: getting them from the system took longer than the work on them."""

    def __init__(self, n_array: int, size: int) -> None:
        self.arrays = np.empty((n_array, size))


def _transform(comm: Comm, ball: Ball, n: int, bounds: Bounds, double: bool) -> SlabFft:
    """The transform whose rows are the ball's layers."""
    place_of = (np.array(ball.layers) - ball.sphere.radius) % n
    widths = np.minimum(ball.sphere.widths[ball.layers.start : ball.layers.stop], ball.reach + 1)
    return SlabFft(comm, n, place=place_of, widths=widths, bounds=bounds, double=double)


def _n_voxel(ball: Ball, layer: int) -> int:
    first, last = ball.sphere.voxels(layer, layer + 1)
    return last - first


def _starts(ball: Ball, layers_of: list[range]) -> list[NDArray[np.int64]]:
    """First voxel of each rank's layers in an array of all of them, and their end."""
    starts, end = [], 0
    for layers in layers_of:
        ends = end + np.cumsum([0] + [_n_voxel(ball, layer) for layer in layers])
        starts.append(ends)
        end = int(ends[-1])
    return starts
