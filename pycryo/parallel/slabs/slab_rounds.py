"""The rounds in which the ranks of a slab transform exchange rows and planes while they compute the next ones."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import NDArray

from pycryo.parallel.comm import Comm
from pycryo.parallel.progress_thread import ProgressThread
from pycryo.parallel.rows import Bounds
from pycryo.parallel.slabs.slab_exchange import Exchange, ExchangeBuffers

# What a rank sends in one exchange: this share of its planes, but at least and at most so many bytes.
_EXCHANGE_SHARE, _LEAST_EXCHANGE, _MOST_EXCHANGE = 1 / 48, 2 << 20, 24 << 20


def exchange_rounds(n: int, bounds: Bounds, widths: NDArray[np.int64], itemsize: int) -> list[list[range]]:
    """The rows of each rank in each exchange: as many samples each time, for a rank waits for the slowest.

    Parameters
    ----------
    n : int
        Grid points per axis.
    bounds : (size + 1,) int64
        Rows bounds[rank] ... bounds[rank + 1] - 1 are a rank's.
    widths : (n_row,) int64
        Samples along x of each row, at most n // 2 + 1.
    itemsize : int
        Bytes of a sample.
    """
    before = np.concatenate([[0], np.cumsum(widths)])
    grid = n * n * (n // 2 + 1) * itemsize
    n_byte = np.clip(_EXCHANGE_SHARE * grid / (len(bounds) - 1), _LEAST_EXCHANGE, _MOST_EXCHANGE)
    ends = before[bounds]
    n_round = max(1, ceil(np.diff(ends).max() * n * itemsize / n_byte))
    cuts = [np.searchsorted(before, np.linspace(first, last, n_round + 1)) for first, last in pairwise(ends.tolist())]
    for cut, (first, last) in zip(cuts, pairwise(bounds.tolist()), strict=True):
        cut[0], cut[-1] = first, last
    return [[range(int(cut[j]), int(cut[j + 1])) for cut in cuts] for j in range(n_round)]


class Rounds:
    """All exchanges of a slab transform. `run` is collective.

    Parameters
    ----------
    comm : Comm
    n, bounds, widths
        As for `exchange_rounds`.
    dtype : type
        Of the samples.

    Attributes
    ----------
    n_byte : int
        Sent to other ranks so far.
    """

    def __init__(self, comm: Comm, n: int, bounds: Bounds, widths: NDArray[np.int64], dtype: type) -> None:
        self._comm, self._n, self._bounds, self._widths, self._dtype = comm, n, bounds, widths, dtype
        self._buffers: ExchangeBuffers | None = None
        self.n_byte = 0

    def run(
        self,
        write: Callable[[Exchange], None],
        read: Callable[[Exchange], None],
        counts: NDArray[np.int64],
        *,
        to_planes: bool,
    ) -> None:
        """Write each exchange and read the last one, which travels meanwhile.

        Parameters
        ----------
        write, read : callable
            Fill the outgoing rows, and use the incoming ones.
        counts : (size,) int64
            Planes of each rank.
        to_planes : bool
            From the owners of rows to those of planes, else back.
        """
        if self._buffers is None:
            self._buffers = ExchangeBuffers(self._comm, self._dtype)
        rounds = exchange_rounds(self._n, self._bounds, self._widths, np.dtype(self._dtype).itemsize)
        before = np.concatenate([[0], np.cumsum(self._widths)])
        last: Exchange | None = None
        with ProgressThread(lambda: last is None or last.progress()) as thread:
            for exchange in self._buffers.exchanges(rounds, before, counts, to_planes=to_planes):
                write(exchange)
                self.n_byte += exchange.n_byte
                done, last = last, exchange
                if exchange.begin() and self._comm.is_thread_safe:
                    thread.start()
                if done is not None:
                    done.read(read)
            if last is not None:
                last.read(read)
