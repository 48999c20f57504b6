"""Memory that a rank of a node writes and another one reads, so that nothing between them is a message."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pycryo.parallel.comm import Comm, SharedArray

# Buffers of each pair of ranks: one is filled while others are read.
_N_BUFFER = 3
# Columns of the signs: the last turn that a rank has written, and read; a cache line per rank.
_WRITTEN, _READ, _LINE = 0, 1, 8
# Buffers begin at pages.
_PAGE = 4096
# Looks at the signs before a waiting rank sleeps; seconds it sleeps first, twice as long each time, and at the most.
_SPINS, _NAP, _LONGEST_NAP = 50, 2e-5, 1e-3


def shared_buffers(comm: Comm) -> SharedBuffers:
    """The buffers of these ranks, made by the first call and kept with the communicator. Collective."""
    return comm.kept(SharedBuffers)


class SharedBuffers:
    """The buffers of a communicator's ranks, used in turn. Making, `reserve` and `close` are collective over it.

    A rank writes into its buffers of a turn, one for each peer, shows them, and the peers read; each says when it has
    read all, for buffers are used again. Where a node has no memory to share, every rank is its own only peer.

    Parameters
    ----------
    comm : Comm

    Attributes
    ----------
    peers : list of int
        Ranks of `comm` with which this one has buffers, in order, with itself.
    """

    def __init__(self, comm: Comm) -> None:
        self._node = comm.node()
        self._signs = self._node.shared_array((self._node.size, _LINE), np.int64)
        self._everyone = self._node.all_gather(comm.rank)
        self._memory: SharedArray | None = None
        self._n_byte = self._turn = 0
        self.peers = [comm.rank]
        if self._node.rank == 0:
            self._signs.array[:] = 0
        self._signs.publish()

    def reserve(self, n_byte: int) -> None:
        """Have buffers of so many bytes each, the same number on all ranks; nobody may be about to read one."""
        if n_byte <= self._n_byte:
            return
        self._close_memory()
        self._n_byte = -(-n_byte // _PAGE) * _PAGE
        # A pair always uses the same pages, so that a rank's memory is no more than what it writes and reads.
        memory = self._node.shared_array((self._node.size, self._node.size, _N_BUFFER, self._n_byte), np.uint8)
        if memory.is_shared and self._signs.is_shared:
            self.peers, self._memory = self._everyone, memory
        else:
            memory.close()
            self.peers = self._everyone[self._node.rank : self._node.rank + 1]

    def next_turn(self) -> int:
        """Number of the next turn, once the peers have read what this rank's buffers of it hold. Not collective."""
        self._turn += 1
        self._wait(_READ, self._turn - _N_BUFFER)
        return self._turn

    def buffer(self, writer: int, reader: int, turn: int, dtype: DTypeLike) -> NDArray[Any]:
        """What one peer writes for another."""
        if self._memory is None:
            raise ValueError("rank: expected a peer; this rank has none")
        buffer: NDArray[Any] = self._memory.array[self.peers.index(writer), self.peers.index(reader), turn % _N_BUFFER]
        return buffer.view(dtype)

    def show(self, turn: int) -> None:
        """Let the peers read this rank's buffers."""
        self._sign(_WRITTEN, turn)

    def wait(self, turn: int) -> None:
        """Wait until all peers have shown their buffers."""
        self._wait(_WRITTEN, turn)

    def leave(self, turn: int) -> None:
        """All buffers of this turn have been read here."""
        self._sign(_READ, turn)

    def close(self) -> None:
        """Give the memory back."""
        self._close_memory()
        self._signs.close()
        self._node.free()

    def _close_memory(self) -> None:
        if self._memory is not None:
            self._memory.close()
        self._memory = None

    def _sign(self, which: int, turn: int) -> None:
        if self._memory is not None:
            self._memory.sync()
            self._signs.array[self._node.rank, which] = turn
            self._signs.sync()

    def _wait(self, which: int, turn: int) -> None:
        if self._memory is None:
            return
        looks, nap = 0, _NAP
        while self._signs.array[:, which].min() < turn:
            looks += 1
            if looks <= _SPINS:
                time.sleep(0)  # way for the other ranks of this core
            else:
                time.sleep(nap)
                nap = min(2 * nap, _LONGEST_NAP)
        self._memory.sync()
