"""Fourier transforms of a real grid whose planes z are dealt to ranks; rows y of the transform are.

The three-dimensional transform is made of scipy.fft's of two axes on each plane, an exchange that brings each rank all
z of its rows, and one along z. Every thread works at a time on so many rows or planes as stay in its cache: this takes
half the time of one call for all of them. How much is sent: docs/parallel.md, Formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.fourier import fft, ifft
from pycryo.parallel.comm import Comm
from pycryo.parallel.rows import Bounds, even_bounds
from pycryo.parallel.slabs.plane_transform import read_planes, write_planes
from pycryo.parallel.slabs.row_batches import RowMemory, batches, in_cache
from pycryo.parallel.slabs.slab_exchange import Exchange
from pycryo.parallel.slabs.slab_rounds import Rounds
from pycryo.parallel.slabs.thread_team import Team, team_of
from pycryo.threads import threads_or_default

# Grids below so many points per axis are transformed by one thread: two take 1.4 (128 points) to 4 times (48) as long.
_LEAST_THREADED = 160

# Called with the number of a row and its samples (n, width), axes (z, x), both in the order of `numpy.fft`; the array
# is used for other rows afterwards.
RowWork = Callable[[int, NDArray[Any]], None]
# The same for several rows (n_row, n, width).
RowsWork = Callable[[Sequence[int], NDArray[Any]], None]
# Called with the number z of a plane and its grid points, axes (y, x), to be changed in place; the array is used for
# other planes afterwards.
PlaneWork = Callable[[int, NDArray[Any]], None]


class SlabFft:
    """Transform of an n × n × n real grid over the ranks of a communicator. All methods are collective.

    Parameters
    ----------
    comm : Comm
    n : int
        Grid points per axis.
    place : (n_row,) int64, optional
        Index 0 ≤ y < n, in the order of `numpy.fft`, of each row; the others are zero. Default: all rows, in order.
    widths : (n_row,) int64, optional
        Samples x = 0, 1, ... of each row that are not zero. Default: all, n // 2 + 1.
    bounds : (size + 1,) int64, optional
        Rows bounds[rank] ... bounds[rank + 1] - 1 are a rank's. Default: equal pieces.
    extent : (int, int), optional
        Planes that are dealt to the ranks, see `deal`. Default: all, 0 ... n - 1.
    double : bool
        Double precision.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Attributes
    ----------
    rows, plane_numbers : range
        Rows and planes of this rank; planes are numbered as in `extent`.
    plane_bounds : (size + 1,) int64
        Planes plane_bounds[rank] ... are a rank's.
    planes : (n_plane, n, n // 2 + 1) complex
        This rank's planes, transformed along y and x, between `load` and `store`.
    """

    def __init__(
        self,
        comm: Comm,
        n: int,
        *,
        place: NDArray[np.int64] | None = None,
        widths: NDArray[np.int64] | None = None,
        bounds: Bounds | None = None,
        extent: tuple[int, int] | None = None,
        double: bool = True,
        threads: int | None = None,
    ) -> None:
        self.comm, self.n = comm, n
        self.half = n // 2 + 1
        self.place = np.arange(n) if place is None else place
        self.widths = np.full(len(self.place), self.half) if widths is None else np.minimum(widths, self.half)
        self.bounds = even_bounds(len(self.place), comm.size) if bounds is None else bounds
        self.real: Any = np.float64 if double else np.float32
        self.complex: Any = np.complex128 if double else np.complex64
        self.threads = threads_or_default(threads)
        self.rows = range(*self.bounds[comm.rank : comm.rank + 2].tolist())
        self._buffer = np.zeros((0, n, self.half), self.complex)
        self._rounds = Rounds(comm, n, self.bounds, self.widths, self.complex)
        # Whether rows that nobody has may be other than zero in the buffer.
        self._is_stale = False
        self.deal((0, n) if extent is None else extent)

    @property
    def n_byte(self) -> int:
        """Sent to other ranks so far."""
        return self._rounds.n_byte

    def deal(self, extent: tuple[int, int]) -> None:
        """Deal the planes z = extent[0] ... extent[1] - 1, cyclic, to the ranks; the others are zero, or not wanted.

        What `planes` held is lost. Its memory is used again, unless there are more planes than before.
        """
        self.plane_bounds = extent[0] + even_bounds(extent[1] - extent[0], self.comm.size)
        self.plane_numbers = range(*self.plane_bounds[self.comm.rank : self.comm.rank + 2].tolist())
        n_plane = len(self.plane_numbers)
        if n_plane > len(self._buffer):
            self._buffer = np.zeros((n_plane, self.n, self.half), self.complex)
            self._is_stale = False
        self.planes = self._buffer[:n_plane]

    def load(self, fill: RowWork, rows: Sequence[int] | None = None) -> None:
        """Make `planes` from this rank's rows: `fill` writes each into an array of zeros; inverse transform along z.

        Parameters
        ----------
        fill : callable
            Called in any order, by several threads.
        rows : sequence of int, optional
            Only these; further calls bring the others. For a rank alone.

        Raises
        ------
        ValueError
            If there are `rows` and several ranks.
        """
        memory = RowMemory(self.n, int(self.widths.max(initial=1)), self.complex)

        def work(rows: Sequence[int]) -> NDArray[Any]:
            samples = memory.samples(len(rows), int(self.widths[rows[0]]))
            for row, each in zip(rows, samples, strict=True):
                fill(row, each)
            return ifft(samples, axis=1, overwrite=True, scaled=False)

        chosen = self._batches(rows)
        self._clear_rows()
        with self._team() as team:
            if self.comm.size == 1:
                list(team.map(lambda rows: self._put(rows, work(rows)[:, self._z(0)]), chosen))
            else:
                self._exchange_rows(team, work)

    def store(self, take: RowWork, rows: Sequence[int] | None = None) -> None:
        """Give `take` each of this rank's rows, made of `planes`, transformed along z; `planes` stay as they are.

        Parameters
        ----------
        take : callable
            Called in any order, by several threads.
        rows : sequence of int, optional
            Only these. For a rank alone.

        Raises
        ------
        ValueError
            If there are `rows` and several ranks.
        """
        chosen = self._batches(rows)
        memory = RowMemory(self.n, int(self.widths.max(initial=1)), self.complex)

        def work(rows: Sequence[int], samples: NDArray[Any]) -> None:
            for row, each in zip(rows, fft(samples, axis=1, overwrite=True), strict=True):
                take(row, each)

        with self._team() as team:
            if self.comm.size == 1:
                list(team.map(lambda rows: work(rows, self._samples(rows, memory)), chosen))
            else:
                self._exchange_planes(team, work, memory)

    def fill_planes(self, fill: PlaneWork) -> None:
        """Make `planes` from the grid: `fill` writes each of this rank's planes into an array of zeros."""

        def some(block: slice, points: NDArray[Any]) -> None:
            points[:] = 0
            for number, each in zip(self.plane_numbers[block], points, strict=True):
                fill(number, each)
            write_planes(points, self.planes[block])

        self._for_planes(some)

    def on_planes(self, work: PlaneWork, *, back: bool) -> None:
        """Bring each plane to the grid, call `work` by several threads, and bring it back if `back`. Not scaled.

        Without `back` the planes are lost.
        """

        def some(block: slice, points: NDArray[Any]) -> None:
            read_planes(self.planes[block], slice(None), points)
            for number, each in zip(self.plane_numbers[block], points, strict=True):
                work(number, each)
            if back:
                write_planes(points, self.planes[block])

        self._for_planes(some)

    def crop_planes(self, work: PlaneWork, extent: tuple[int, int]) -> None:
        """Bring the points y, x = extent[0] ... extent[1] - 1, cyclic, of each plane to the grid and call `work`.

        As `on_planes` without `back`, but does less where points are left out.
        """
        chosen = self._cyclic(*extent)
        n_row = extent[1] - extent[0]

        def some(block: slice, points: NDArray[Any]) -> None:
            read_planes(self.planes[block], chosen, points[:, :n_row])
            for number, each in zip(self.plane_numbers[block], points, strict=True):
                work(number, np.ascontiguousarray(each[:n_row, chosen]))

        self._for_planes(some)

    def forward(self, points: NDArray[Any]) -> NDArray[Any]:
        """Rows of the transform of a grid of which this rank has the planes `plane_numbers`.

        Parameters
        ----------
        points : (n_plane, n, n) real

        Returns
        -------
        (n_row, n, n // 2 + 1) complex
            As `scipy.fft.rfftn` has it, axes (y, z, x).
        """
        result = np.zeros((len(self.rows), self.n, self.half), self.complex)

        def take(row: int, samples: NDArray[Any]) -> None:
            result[row - self.rows.start, :, : samples.shape[1]] = samples

        self.fill_planes(lambda number, plane: np.copyto(plane, points[number - self.plane_numbers.start]))
        self.store(take)
        return result

    def inverse(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Planes of the grid whose transform's rows `forward` returns."""
        points = np.empty((len(self.plane_numbers), self.n, self.n), self.real)

        def fill(row: int, samples: NDArray[Any]) -> None:
            samples[:] = rows[row - self.rows.start, :, : samples.shape[1]]

        def take(number: int, plane: NDArray[Any]) -> None:
            np.multiply(plane, 1 / float(self.n) ** 3, out=points[number - self.plane_numbers.start])

        self.load(fill)
        self.on_planes(take, back=False)
        return points

    def _team(self) -> AbstractContextManager[Team]:
        return team_of(1 if self.n < _LEAST_THREADED else self.threads)

    def _batches(self, rows: Sequence[int] | None) -> list[Sequence[int]]:
        if rows is not None and self.comm.size > 1:
            raise ValueError("rows: expected None, for the ranks exchange all of theirs together")
        return batches(self.rows if rows is None else rows, self.widths, self.n, self.complex)

    def _for_planes(self, work: Callable[[slice, NDArray[Any]], None]) -> None:
        """Call `work` with some planes at a time and a thread's array of their grid points, which is reused."""
        most = in_cache(self.n, self.half, self.complex)
        firsts = iter(range(0, len(self.planes), most))

        def on_thread(_: int) -> None:
            points = np.empty((most, self.n, self.n), self.real)
            for first in firsts:
                n_plane = min(most, len(self.planes) - first)
                work(slice(first, first + n_plane), points[:n_plane])

        self._is_stale = True
        with self._team() as team:
            list(team.map(on_thread, range(self.threads)))

    def _z(self, rank: int) -> slice | NDArray[np.int64]:
        """Index of a rank's planes among all z."""
        return self._cyclic(*self.plane_bounds[rank : rank + 2].tolist())

    def _cyclic(self, first: int, end: int) -> slice | NDArray[np.int64]:
        """Index of first ... end - 1, cyclic."""
        low = first % self.n
        return slice(low, low + end - first) if low + end - first <= self.n else np.arange(first, end) % self.n

    def _put(self, rows: Sequence[int], samples: NDArray[Any]) -> None:
        """Write the samples (n_row, n_plane, width) of rows to this rank's planes."""
        width = samples.shape[2]
        for row, each in zip(rows, samples, strict=True):
            target = self.planes[:, self.place[row]]
            target[:, :width] = each
            target[:, width:] = 0

    def _samples(self, rows: Sequence[int], memory: RowMemory) -> NDArray[Any]:
        """(n_row, n, width) the samples of rows at this rank's planes, 0 elsewhere."""
        samples, z = memory.samples(len(rows), int(self.widths[rows[0]])), self._z(self.comm.rank)
        for row, each in zip(rows, samples, strict=True):
            each[z] = self.planes[:, self.place[row], : each.shape[1]]
        return samples

    def _clear_rows(self) -> None:
        """Set the rows that nobody has to zero."""
        if self._is_stale:
            self._buffer[:, np.setdiff1d(np.arange(self.n), self.place)] = 0
        self._is_stale = False

    def _exchange_rows(self, team: Team, work: Callable[[Sequence[int]], NDArray[Any]]) -> None:
        """Compute rows and send them as planes; those of a round travel during the work of the next."""
        planes = [self._z(rank) for rank in range(self.comm.size)]

        def write(exchange: Exchange) -> None:
            def some(rows: Sequence[int]) -> None:
                samples = work(rows)
                self._put(rows, samples[:, planes[self.comm.rank]])
                for rank in exchange.others:
                    for row, each in zip(rows, samples, strict=True):
                        exchange.outgoing_row(rank, row)[:] = each[planes[rank]]

            list(team.map(some, batches(exchange.rows_of[self.comm.rank], self.widths, self.n, self.complex)))

        def read(exchange: Exchange) -> None:
            def one(item: tuple[int, int]) -> None:
                rank, row = item
                self._put([row], exchange.incoming_row(rank, row)[None])

            list(team.map(one, [(rank, row) for rank in exchange.others for row in exchange.rows_of[rank]]))

        self._rounds.run(write, read, np.diff(self.plane_bounds), to_planes=True)

    def _exchange_planes(self, team: Team, work: RowsWork, memory: RowMemory) -> None:
        """Send planes' parts of rows to their owners, who work on them while the next ones travel."""
        planes = [self._z(rank) for rank in range(self.comm.size)]

        def write(exchange: Exchange) -> None:
            def one(item: tuple[int, int]) -> None:
                rank, row = item
                exchange.outgoing_row(rank, row)[:] = self.planes[:, self.place[row], : self.widths[row]]

            list(team.map(one, [(rank, row) for rank in exchange.others for row in exchange.rows_of[rank]]))

        def read(exchange: Exchange) -> None:
            def some(rows: Sequence[int]) -> None:
                samples = self._samples(rows, memory)
                for rank in exchange.others:
                    for row, each in zip(rows, samples, strict=True):
                        each[planes[rank]] = exchange.incoming_row(rank, row)
                work(rows, samples)

            list(team.map(some, batches(exchange.rows_of[self.comm.rank], self.widths, self.n, self.complex)))

        self._rounds.run(write, read, np.diff(self.plane_bounds), to_planes=False)
