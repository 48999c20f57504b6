"""Transforms of maps in planes: sums over shells, masks, random phases, filters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.shells import layer_shells
from pycryo.parallel.comm import Comm
from pycryo.parallel.slabs.slab_fft import SlabFft

Planes = NDArray[np.float32]
Rows = NDArray[np.complex64]

# Turns by random angles; kinds of arrays of angles.
_TURNS = np.exp(2j * np.pi * np.arange(4096) / 4096).astype(np.complex64)
_HALF_TURN = np.uint16(2048)
_ROWS, _EDGES = 0, 1
# Voxels that are turned at a time: their angles take as many bytes as the caches.
_AT_ONCE = 1 << 16


class SlabTransform:
    """Transforms of maps of one box whose planes z are dealt to ranks (`even_bounds`); so are their rows y.

    All methods are collective. Results do not depend, to the last bit, on the number of ranks.

    Parameters
    ----------
    comm : Comm
    box : int
        px.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.
    """

    def __init__(self, comm: Comm, box: int, threads: int | None = None) -> None:
        self.box = box
        self._comm = comm
        self._fft = SlabFft(comm, box, double=False, threads=threads)

    def rows(self, planes: Planes, mask: Planes | None = None) -> Rows:
        """(n_row, N, N // 2 + 1) this rank's rows of the transform of a map, or of map · mask; axes (y, z, x)."""
        first = self._fft.plane_numbers.start

        def fill(number: int, points: Planes) -> None:
            np.multiply(planes[number - first], 1 if mask is None else mask[number - first], out=points)

        self._fft.fill_planes(fill)
        rows = np.empty((len(self._fft.rows), self.box, self.box // 2 + 1), np.complex64)
        self._fft.store(lambda row, samples: np.copyto(rows[row - self._fft.rows.start], samples))
        return rows

    def mask(self, rows: Rows, mask: Planes) -> None:
        """Multiply the map of a transform by a mask, in place."""
        first, first_row = self._fft.plane_numbers.start, self._fft.rows.start
        scale = np.float32(1 / self.box**3)

        def multiply(number: int, points: Planes) -> None:
            points *= mask[number - first] * scale

        self._fft.load(lambda row, samples: np.copyto(samples, rows[row - first_row]))
        self._fft.on_planes(multiply, back=True)
        self._fft.store(lambda row, samples: np.copyto(rows[row - first_row], samples))

    def filtered(self, rows: Rows, factor: NDArray[np.floating]) -> Planes:
        """This rank's planes of the map of a transform, shell s = round(\\|k\\|) times factor[s], 0 beyond."""
        square = np.square(np.fft.fftfreq(self.box, 1 / self.box))
        padded = np.append(factor, 0).astype(np.float32) / np.float32(self.box**3)
        first, first_row = self._fft.plane_numbers.start, self._fft.rows.start
        planes = np.empty((len(self._fft.plane_numbers), self.box, self.box), np.float32)

        def fill(row: int, samples: Rows) -> None:
            shell = np.sqrt(square[row] + square[:, None] + square[: samples.shape[1]])
            gain = padded[np.minimum(np.rint(shell), len(factor)).astype(np.int64)]
            np.multiply(rows[row - first_row], gain, out=samples)

        def take(number: int, points: Planes) -> None:
            planes[number - first] = points

        self._fft.load(fill)
        self._fft.on_planes(take, back=False)
        return planes

    def sums(self, first: Rows, second: Rows) -> NDArray[np.float64]:
        """(n_shell, 3) what `pycryo.kernels.shells.volume_shells` has of two transforms, on every rank."""
        rows = self._fft.rows
        of_layer = np.zeros((self.box, self.box // 2 + 1, 3))
        of_layer[rows.start : rows.stop] = layer_shells(first, second, np.asarray(rows), threads=self._fft.threads)
        self._comm.gather_parts(of_layer, self._fft.bounds.tolist())
        return np.asarray(of_layer.sum(axis=0))

    def beyond(self, start: int) -> NDArray[np.bool_]:
        """(n_row, N, N // 2 + 1) which voxels of this rank's rows have round(|k|) ≥ `start`."""
        return self._beyond(self._fft.rows, start)

    def _beyond(self, rows: range, start: int) -> NDArray[np.bool_]:
        square = np.square(np.fft.fftfreq(self.box, 1 / self.box))
        half = square[: self.box // 2 + 1]
        return np.asarray(square[rows.start : rows.stop, None, None] + square[:, None] + half >= (start - 0.5) ** 2)

    def randomise(self, rows: Rows, start: int, seed: int, half: int) -> None:
        """Turn the phases of the voxels with round(|k|) ≥ `start` by random angles, in place; Hermitian as before.

        The angles of a row depend on its number, not on who draws them.
        """
        n, first = self.box, self._fft.rows.start
        key = [seed, half]
        # What has its Friedel mate among the samples: x = 0 and, for an even box, Nyquist.
        edges = [0, n // 2] if n % 2 == 0 else [0]
        of_edges = _mated(_angles(key, _EDGES, 0, len(edges), (n, n)))
        step = max(1, _AT_ONCE // (n * (n // 2 + 1)))
        for begin in range(0, len(rows), step):
            numbers = range(first + begin, first + min(begin + step, len(rows)))
            angles = _angles(key, _ROWS, numbers.start, len(numbers), (n, n // 2 + 1))
            angles[:, :, edges] = of_edges[:, numbers.start : numbers.stop].transpose(1, 2, 0)
            some = rows[begin : begin + step]
            np.multiply(some, _TURNS.take(angles), out=some, where=self._beyond(numbers, start))


def _angles(key: list[int], which: int, first: int, count: int, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """(count, *shape) random angles in units of 2π / 4096, of the arrays number `first`, ... of a kind."""
    size = shape[0] * shape[1]
    # A step of the counter makes 256 bits, of which an angle takes 16.
    steps = -(-size // 16)
    source = np.random.Philox(key=key, counter=[first * steps, 0, 0, which])
    bits = source.random_raw(count * steps * 4).view(np.uint16).reshape(count, steps * 16)
    return np.asarray(bits[:, :size].reshape(count, *shape) % len(_TURNS))


def _mated(angles: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Angles (n_plane, n, n), those of the voxel -k the opposite of those of k: 0 or half a turn where it is itself."""
    n = angles.shape[1]
    across = -np.arange(n) % n
    number = np.arange(n * n).reshape(n, n)
    mate = number[across][:, across]
    opposite = -angles[:, across][:, :, across] % len(_TURNS)
    whole = np.where(number < mate, angles, opposite)
    return np.where(number == mate, angles // _HALF_TURN * _HALF_TURN, whole).astype(np.uint16)
