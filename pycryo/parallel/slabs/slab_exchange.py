"""What travels in one exchange of a slab transform: rows of one side at the planes of the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.parallel.comm import Comm, Transfer
from pycryo.parallel.shared_buffers import shared_buffers


class ExchangeBuffers:
    """Where exchanges are written and read: buffers shared by the ranks of a node, and arrays for messages, kept.

    Parameters
    ----------
    comm : Comm
    dtype : type
        Of the samples.
    """

    def __init__(self, comm: Comm, dtype: type) -> None:
        self.comm, self.shared, self.dtype = comm, shared_buffers(comm), dtype
        self._arrays: dict[tuple[str, int], NDArray[Any]] = {}

    def array(self, which: str, turn: int, size: int) -> NDArray[Any]:
        """An array that is used again two turns later."""
        key = which, turn % 2
        if key not in self._arrays or size > len(self._arrays[key]):
            self._arrays[key] = np.empty(size, self.dtype)
        return self._arrays[key][:size]

    def exchanges(
        self, rounds: list[list[range]], ends: NDArray[np.int64], counts: NDArray[np.int64], *, to_planes: bool
    ) -> Iterator[Exchange]:
        """The exchange of each round; one may be unread while the next is filled. Other parameters as for `Exchange`.

        Parameters
        ----------
        rounds : list of list of range
            `rows_of` of each round.
        """
        most = max(
            int(gives.max() * takes.max()) for gives, takes in (_flow(r, ends, counts, to_planes) for r in rounds)
        )
        self.shared.reserve(most * np.dtype(self.dtype).itemsize)
        for rows_of in rounds:
            yield Exchange(self, rows_of, ends, counts, to_planes=to_planes)


class Exchange:
    """One exchange: with the ranks of this node through shared buffers, with the others by messages. Collective.

    Made, filled, sent with `begin`, read with `read`.

    Parameters
    ----------
    buffers : ExchangeBuffers
    rows_of : list of range
        Rows of each rank in this exchange.
    ends : (n_row + 1,) int64
        Samples of all rows before each.
    counts : (size,) int64
        Planes of each rank.
    to_planes : bool
        From the owners of rows to those of planes, else back.

    Attributes
    ----------
    rows_of : list of range
    others : list of int
        The other ranks.
    n_byte : int
        Sent to them, either way.
    """

    def __init__(
        self,
        buffers: ExchangeBuffers,
        rows_of: list[range],
        ends: NDArray[np.int64],
        counts: NDArray[np.int64],
        *,
        to_planes: bool,
    ) -> None:
        comm, shared = buffers.comm, buffers.shared
        self._comm, self._shared = comm, shared
        self.rows_of, self._ends, self._counts, self._to_planes = rows_of, ends, counts.tolist(), to_planes
        gives, takes = _flow(rows_of, ends, counts, to_planes)
        self._turn = shared.next_turn()
        is_peer = np.isin(range(comm.size), shared.peers)
        leaving, coming = _bounds(gives[comm.rank] * takes * ~is_peer), _bounds(takes[comm.rank] * gives * ~is_peer)
        sent = buffers.array("sent", self._turn, leaving[-1])
        received = buffers.array("received", self._turn, coming[-1])
        self._messages = sent, leaving, received, coming
        self._transfer = Transfer()

        def of_peer(writer: int, reader: int) -> NDArray[Any]:
            return shared.buffer(writer, reader, self._turn, buffers.dtype)[: gives[writer] * takes[reader]]

        def piece(rank: int) -> tuple[NDArray[Any], NDArray[Any]]:
            if is_peer[rank]:
                return of_peer(comm.rank, rank), of_peer(rank, comm.rank)
            return sent[leaving[rank] : leaving[rank + 1]], received[coming[rank] : coming[rank + 1]]

        self.others = [rank for rank in range(comm.size) if rank != comm.rank]
        self._pieces = {rank: piece(rank) for rank in self.others}
        self.n_byte = sum(leave.nbytes for leave, _ in self._pieces.values())

    def outgoing_row(self, rank: int, row: int) -> NDArray[Any]:
        """(n_plane, width) of a row, on its way to `rank`."""
        return self._row(self._pieces[rank][0], self._comm.rank, rank, row)

    def incoming_row(self, rank: int, row: int) -> NDArray[Any]:
        """(n_plane, width) of a row, come from `rank`."""
        return self._row(self._pieces[rank][1], rank, self._comm.rank, row)

    def begin(self) -> bool:
        """Send the outgoing rows, which are all written. Whether there are messages, so that `progress` has a use."""
        self._shared.show(self._turn)
        has_messages = len(self._shared.peers) < self._comm.size
        if has_messages:
            self._transfer = self._comm.begin_exchange(*self._messages)
        return has_messages

    def progress(self) -> bool:
        """Let the messages move on. Whether they have arrived."""
        return self._transfer.progress()

    def read(self, read: Callable[[Exchange], None]) -> None:
        """Wait for the incoming rows and call `read`, for which they are there."""
        self._transfer.wait()
        self._shared.wait(self._turn)
        read(self)
        self._shared.leave(self._turn)

    def _row(self, piece: NDArray[Any], sender: int, taker: int, row: int) -> NDArray[Any]:
        of_rows, of_planes = (sender, taker) if self._to_planes else (taker, sender)
        n_plane = self._counts[of_planes]
        begin, end, base = (int(self._ends[i]) for i in (row, row + 1, self.rows_of[of_rows].start))
        return piece[n_plane * (begin - base) : n_plane * (end - base)].reshape(n_plane, end - begin)


def _flow(
    rows_of: list[range], ends: NDArray[np.int64], counts: NDArray[np.int64], to_planes: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two numbers of each rank: rank i sends rank j first[i]·second[j] samples."""
    widths = np.array([ends[rows.stop] - ends[rows.start] for rows in rows_of])
    return (widths, counts) if to_planes else (counts, widths)


def _bounds(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
