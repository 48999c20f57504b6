"""Fourier transforms of a real grid whose planes z are dealt to ranks; rows y of the transform are (parallel.md §2).

The three-dimensional transform is made of scipy.fft's of two axes on each plane, an exchange that brings each rank all
z of its rows, and one along z. Every thread works on one row or plane at a time, which stays in its cache: this takes
half the time of one call for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.parallel.comm import Comm, Transfer
from pycryo.parallel.rows import Bounds, even_bounds
from pycryo.threads import get_threads

# Bytes of the rows that a rank sends in one exchange, at most (but one row always).
_EXCHANGE_BYTES = 32 << 20

# Called with the number of a row and its samples (n, width), axes (z, x), both in the order of `numpy.fft`.
RowWork = Callable[[int, NDArray[Any]], None]
# Called with the number z of a plane and its grid points (n, n), axes (y, x), to be changed in place.
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
        Planes z = extent[0] ... extent[1] - 1, cyclic, are dealt to the ranks; the others are zero, or not wanted.
        Default: all, 0 ... n - 1.
    double : bool
        Double precision.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Attributes
    ----------
    plane_bounds : (size + 1,) int64
        Planes plane_bounds[rank] ... are a rank's; numbered as in `extent`.
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
        first, end = (0, n) if extent is None else extent
        self.plane_bounds = first + even_bounds(end - first, comm.size)
        self.real: Any = np.float64 if double else np.float32
        self.complex: Any = np.complex128 if double else np.complex64
        self.threads = threads or get_threads()
        rank = comm.rank
        self.rows = range(int(self.bounds[rank]), int(self.bounds[rank + 1]))
        self.plane_numbers = range(int(self.plane_bounds[rank]), int(self.plane_bounds[rank + 1]))
        self.planes = np.zeros((len(self.plane_numbers), n, self.half), self.complex)

    def load(self, fill: RowWork, keep: tuple[int, int] | None = None) -> None:
        """Make `planes` from this rank's rows: `fill` writes each into an array of zeros; inverse transform along z.

        Parameters
        ----------
        fill : callable
            Called in any order, by several threads.
        keep : (int, int), optional
            Only planes in this range of z, cyclic, are wanted; the others are left undefined.
        """
        import scipy.fft

        wanted = self._wanted(keep)

        def work(row: int) -> NDArray[Any]:
            samples = np.zeros((self.n, int(self.widths[row])), self.complex)
            fill(row, samples)
            return np.asarray(scipy.fft.ifft(samples, axis=0, overwrite_x=True, norm="forward"))

        with self._pool() as pool:
            if self.comm.size == 1:
                list(pool.map(lambda row: self._put(row, work(row), wanted), self.rows))
            else:
                self._exchange_rows(pool, work, wanted)
        self._clear_rows(wanted)

    def store(self, take: RowWork) -> None:
        """Give `take` each of this rank's rows, made of `planes`, transformed along z; any order, several threads."""
        import scipy.fft

        def work(row: int, samples: NDArray[Any]) -> None:
            take(row, scipy.fft.fft(samples, axis=0, overwrite_x=True))

        with self._pool() as pool:
            if self.comm.size == 1:
                list(pool.map(lambda row: work(row, self._row(row)), self.rows))
            else:
                self._exchange_planes(pool, work)

    def fill_planes(self, fill: PlaneWork) -> None:
        """Make `planes` from the grid: `fill` writes each of this rank's planes into an array of zeros."""
        import scipy.fft

        def one(index: int) -> None:
            points = np.zeros((self.n, self.n), self.real)
            fill(self.plane_numbers[index], points)
            self.planes[index] = scipy.fft.rfft2(points, overwrite_x=True)

        with self._pool() as pool:
            list(pool.map(one, range(len(self.plane_numbers))))

    def on_planes(self, work: PlaneWork, *, back: bool, keep: tuple[int, int] | None = None) -> None:
        """Bring each plane to the grid, call `work` by several threads, and bring it back if `back`. Not scaled."""
        import scipy.fft

        wanted = self._wanted(keep)

        def one(index: int) -> None:
            plane = self.planes[index]
            points = scipy.fft.irfft2(plane, s=(self.n, self.n), norm="forward", overwrite_x=True)
            work(self.plane_numbers[index], points)
            if back:
                plane[:] = scipy.fft.rfft2(points, overwrite_x=True)

        with self._pool() as pool:
            list(pool.map(one, np.flatnonzero(wanted[self._z(self.comm.rank)])))

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

        def fill(number: int, plane: NDArray[Any]) -> None:
            plane[:] = points[number - self.plane_numbers.start]

        result = np.zeros((len(self.rows), self.n, self.half), self.complex)

        def take(row: int, samples: NDArray[Any]) -> None:
            result[row - self.rows.start, :, : samples.shape[1]] = samples

        self.fill_planes(fill)
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

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(self.threads) as pool:
            yield pool

    def _wanted(self, keep: tuple[int, int] | None) -> NDArray[np.bool_]:
        """(n,) which planes are wanted."""
        wanted = np.full(self.n, keep is None)
        if keep is not None:
            wanted[np.arange(*keep) % self.n] = True
        return wanted

    def _z(self, rank: int) -> NDArray[np.int64]:
        """(n_plane,) 0 ≤ z < n of a rank's planes."""
        return np.arange(self.plane_bounds[rank], self.plane_bounds[rank + 1]) % self.n

    def _put(self, row: int, samples: NDArray[Any], wanted: NDArray[np.bool_]) -> None:
        """Write the samples of a row where they are wanted; all planes are this rank's."""
        width = samples.shape[1]
        target = self.planes[:, self.place[row]]
        z = self._z(0)
        mine = wanted[z]
        target[mine, :width] = samples[z[mine]]
        target[mine, width:] = 0

    def _row(self, row: int) -> NDArray[Any]:
        """The samples of a row; all planes are this rank's."""
        samples = np.zeros((self.n, int(self.widths[row])), self.complex)
        samples[self._z(0)] = self.planes[:, self.place[row], : samples.shape[1]]
        return samples

    def _clear_rows(self, wanted: NDArray[np.bool_]) -> None:
        """Set the rows that nobody has to zero: the planes before left something there."""
        absent = np.ones(self.n, bool)
        absent[self.place] = False
        if absent.any():
            self.planes[:, absent] = 0

    def _rounds(self) -> list[list[range]]:
        """The rows of each rank in each exchange."""
        per_rank = max(1, _EXCHANGE_BYTES // (self.n * self.half * np.dtype(self.complex).itemsize))
        pieces = [range(int(a), int(b)) for a, b in zip(self.bounds[:-1], self.bounds[1:], strict=True)]
        n_round = max(-(-len(piece) // per_rank) for piece in pieces)
        return [[piece[per_rank * j : per_rank * (j + 1)] for piece in pieces] for j in range(n_round)]

    def _exchange_rows(
        self, pool: ThreadPoolExecutor, work: Callable[[int], NDArray[Any]], wanted: NDArray[np.bool_]
    ) -> None:
        """Compute rows and send them as planes; the messages of a round travel during the work of the next."""
        pending: tuple[Transfer, _Mail, list[range]] | None = None
        for rows_of in self._rounds():
            mail = self._mail(rows_of, wanted, to_planes=True)

            def send(row: int, mail: _Mail = mail) -> None:
                samples = work(row)
                for rank in range(self.comm.size):
                    mail.outgoing_row(rank, row)[:] = samples[mail.planes[rank] % self.n]

            list(pool.map(send, rows_of[self.comm.rank]))
            if pending is not None:
                self._receive_rows(pool, *pending)
            pending = (mail.begin(self.comm), mail, rows_of)
        if pending is not None:
            self._receive_rows(pool, *pending)

    def _receive_rows(self, pool: ThreadPoolExecutor, transfer: Transfer, mail: _Mail, rows_of: list[range]) -> None:
        transfer.wait()
        mine = mail.planes[self.comm.rank] - self.plane_numbers.start

        def put(item: tuple[int, int]) -> None:
            rank, row = item
            samples = mail.incoming_row(rank, row)
            target = self.planes[:, self.place[row]]
            target[mine, : samples.shape[1]] = samples
            target[mine, samples.shape[1] :] = 0

        list(pool.map(put, [(rank, row) for rank, rows in enumerate(rows_of) for row in rows]))

    def _exchange_planes(self, pool: ThreadPoolExecutor, work: RowWork) -> None:
        """Send planes' parts of rows to their owners, who work on them while the next ones travel."""
        everything = np.ones(self.n, bool)
        pending: tuple[Transfer, _Mail, list[range]] | None = None
        for rows_of in self._rounds():
            mail = self._mail(rows_of, everything, to_planes=False)

            def send(item: tuple[int, int], mail: _Mail = mail) -> None:
                rank, row = item
                mail.outgoing_row(rank, row)[:] = self.planes[:, self.place[row], : self.widths[row]]

            list(pool.map(send, [(rank, row) for rank, rows in enumerate(rows_of) for row in rows]))
            transfer = mail.begin(self.comm)
            if pending is not None:
                self._receive_planes(pool, work, *pending)
            pending = (transfer, mail, rows_of)
        if pending is not None:
            self._receive_planes(pool, work, *pending)

    def _receive_planes(
        self, pool: ThreadPoolExecutor, work: RowWork, transfer: Transfer, mail: _Mail, rows_of: list[range]
    ) -> None:
        transfer.wait()

        def one(row: int) -> None:
            samples = np.zeros((self.n, int(self.widths[row])), self.complex)
            for rank in range(self.comm.size):
                samples[mail.planes[rank] % self.n] = mail.incoming_row(rank, row)
            work(row, samples)

        list(pool.map(one, rows_of[self.comm.rank]))

    def _mail(self, rows_of: list[range], wanted: NDArray[np.bool_], *, to_planes: bool) -> _Mail:
        planes = [
            np.arange(a, b)[wanted[self._z(rank)]] for rank, (a, b) in enumerate(pairwise(self.plane_bounds.tolist()))
        ]
        return _Mail(self.comm.rank, rows_of, self.widths, planes, self.complex, to_planes=to_planes)


class _Mail:
    """What the ranks send each other in one exchange: for each pair, rows of one side at the planes of the other.

    Parameters
    ----------
    me : int
    rows_of : list of range
        Rows of each rank in this exchange.
    widths : (n_row,) int64
    planes : list of (n,) int64
        Planes of each rank.
    dtype : type
    to_planes : bool
        From the owners of rows to those of planes, else back.
    """

    def __init__(
        self,
        me: int,
        rows_of: list[range],
        widths: NDArray[np.int64],
        planes: list[NDArray[np.int64]],
        dtype: type,
        *,
        to_planes: bool,
    ) -> None:
        self.planes = planes
        ranks = range(len(rows_of))
        mine, here = rows_of[me], len(planes[me])
        # Rows and number of planes of what goes to each rank and comes from it.
        gone = [(mine, len(planes[rank])) if to_planes else (rows_of[rank], here) for rank in ranks]
        come = [(rows_of[rank], here) if to_planes else (mine, len(planes[rank])) for rank in ranks]
        self._out, self._out_bounds, self._out_start = _layout(gone, widths, dtype)
        self._in, self._in_bounds, self._in_start = _layout(come, widths, dtype)
        self._gone, self._come, self._widths = gone, come, widths

    def outgoing_row(self, rank: int, row: int) -> NDArray[Any]:
        """(n_plane, width) of a row, on its way to `rank`."""
        return self._view(self._out, self._out_start[rank], self._gone[rank], row)

    def incoming_row(self, rank: int, row: int) -> NDArray[Any]:
        """(n_plane, width) of a row, come from `rank`."""
        return self._view(self._in, self._in_start[rank], self._come[rank], row)

    def begin(self, comm: Comm) -> Transfer:
        """Begin the exchange."""
        return comm.begin_exchange(self._out, self._out_bounds, self._in, self._in_bounds)

    def _view(self, flat: NDArray[Any], start: NDArray[np.int64], kind: tuple[range, int], row: int) -> NDArray[Any]:
        rows, n_plane = kind
        begin = int(start[row - rows.start])
        width = int(self._widths[row])
        return flat[begin : begin + n_plane * width].reshape(n_plane, width)


def _layout(
    kinds: list[tuple[range, int]], widths: NDArray[np.int64], dtype: type
) -> tuple[NDArray[Any], Bounds, list[NDArray[np.int64]]]:
    """Buffer for rows × planes of each rank, where each rank's part begins, and each row in it."""
    starts, bounds = [], [0]
    for rows, n_plane in kinds:
        ends = bounds[-1] + n_plane * np.cumsum(widths[rows.start : rows.stop])
        starts.append(np.concatenate([[bounds[-1]], ends]).astype(np.int64))
        bounds.append(int(ends[-1]) if len(ends) else bounds[-1])
    return np.empty(bounds[-1], dtype), np.array(bounds, np.int64), starts
