"""Transforms of maps in planes: sums over shells, masks, random phases, filters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.shells import layer_shells
from pycryo.parallel.comm import Comm
from pycryo.parallel.slabs.slab_fft import SlabFft

Planes = NDArray[np.float32]
Rows = NDArray[np.complex64]


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

    def randomise(self, rows: Rows, start: int, seed: int, half: int, trial: int) -> None:
        """Give the voxels with round(|k|) ≥ `start` the phases of white noise, in place; Hermitian as the noise is.

        The noise of a plane depends on its number, not on who draws it.
        """
        square = np.square(np.fft.fftfreq(self.box, 1 / self.box))

        def draw(number: int, points: Planes) -> None:
            source = np.random.Philox(key=[seed, half], counter=[0, 0, trial, number])
            np.random.Generator(source).standard_normal(dtype=np.float32, out=points)

        def take(row: int, noise: Rows) -> None:
            samples = rows[row - self._fft.rows.start]
            beyond = square[row] + square[:, None] + square[: noise.shape[1]] >= (start - 0.5) ** 2
            amplitude = np.abs(noise[beyond])
            samples[beyond] = np.abs(samples[beyond]) * noise[beyond] / np.where(amplitude > 0, amplitude, 1)

        self._fft.fill_planes(draw)
        self._fft.store(take)
