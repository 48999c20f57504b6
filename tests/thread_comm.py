"""Ranks as threads of the test's process: `Comm` without MPI, for any number of ranks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product
from queue import Queue
from threading import Barrier, BrokenBarrierError
from typing import Any

import numpy as np

from pycryo.parallel.comm import SharedArray, Transfer

_SECONDS = 60


class _Room:
    """What the ranks of one communicator share."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = Barrier(size, timeout=_SECONDS) if size else None
        self.slots: list[Any] = [None] * size
        # All at once: threads that ask for a new one at the same time would get two.
        self.mail: dict[tuple[int, int], Queue] = {pair: Queue() for pair in product(range(size), repeat=2)}


class ThreadComm:
    """The communicator of one of the threads started by `run_ranks`."""

    is_thread_safe = True
    ranks_per_node = 1000
    # Whether the ranks of a node read each other's buffers. Dozens of threads that look at signs hold each other up.
    has_peers = False

    def __init__(self, room: _Room, rank: int) -> None:
        self._room, self.rank, self.size = room, rank, room.size
        self._kept = {}

    def all_gather(self, value):
        room = self._room
        room.slots[self.rank] = value
        room.barrier.wait()
        everything = list(room.slots)
        room.barrier.wait()
        return everything

    def gather(self, value, root=0):
        everything = self.all_gather(value)
        return everything if self.rank == root else None

    def broadcast(self, value, root=0):
        return self.all_gather(value)[root]

    def broadcast_array(self, array, root=0):
        array[...] = self.all_gather(array.copy())[root]

    def sum_array(self, array):
        array[...] = np.sum(self.all_gather(array.copy()), axis=0)

    def max_array(self, array):
        array[...] = np.max(self.all_gather(array.copy()), axis=0)

    def send_array(self, array, destination):
        self._room.mail[self.rank, destination].put(array.copy())

    def receive_array(self, array, source):
        got = self._room.mail[source, self.rank].get(timeout=_SECONDS)
        assert got.shape == array.shape
        assert got.dtype == array.dtype
        array[...] = got

    def gather_parts(self, array, bounds):
        for rank, part in enumerate(self.all_gather(array[bounds[self.rank] : bounds[self.rank + 1]].copy())):
            array[bounds[rank] : bounds[rank + 1]] = part

    def begin_shift(self, send, destination, receive, source):
        if send is not None:
            self.send_array(send, destination)
        return _ThreadTransfer(self, receive, source)

    def begin_exchange(self, send, send_bounds, receive, receive_bounds):
        parts = [send[a:b].copy() for a, b in pairwise(send_bounds)]
        for rank, row in enumerate(self.all_gather(parts)):
            receive[receive_bounds[rank] : receive_bounds[rank + 1]] = row[self.rank]
        return Transfer()

    def swap(self, outgoing, incoming):
        for rank, array in outgoing.items():
            self.send_array(array, rank)
        for rank, array in incoming.items():
            self.receive_array(array, rank)

    def split(self, color):
        colors = self.all_gather(color)
        members = [rank for rank, other in enumerate(colors) if other == color]
        rooms = {first: _Room(colors.count(colors[first])) for first in map(colors.index, colors)}
        room = self.broadcast(rooms)[members[0]]
        return None if color is None else ThreadComm(room, members.index(self.rank))

    def node(self):
        return self.split(self.rank // self.ranks_per_node)

    def shared_array(self, shape, dtype):
        return _ThreadShared(self, self.broadcast(np.empty(shape, dtype) if self.rank == 0 else None))

    def kept(self, make):
        if make not in self._kept:
            alone = ThreadComm(self._room, self.rank)
            alone.ranks_per_node = 1
            self._kept[make] = make(self if self.has_peers else alone)
        return self._kept[make]

    def barrier(self):
        self._room.barrier.wait()

    def free(self):
        self._room = None


class _ThreadTransfer(Transfer):
    def __init__(self, comm, receive, source):
        self._comm, self._receive, self._source = comm, receive, source

    def wait(self):
        if self._receive is not None:
            self._comm.receive_array(self._receive, self._source)
        return 0.0, 0.0


class _ThreadShared(SharedArray):
    def __init__(self, comm, array):
        super().__init__(array)
        self._comm = comm

    def publish(self):
        self._comm.barrier()


def run_ranks(size: int, work: Callable[[ThreadComm], Any]) -> list[Any]:
    """The results of `work` on each of `size` ranks, in order; the first rank's error if it fails."""
    room = _Room(size)

    def on_rank(rank: int) -> Any:
        try:
            return work(ThreadComm(room, rank))
        except BaseException:
            room.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(on_rank, rank) for rank in range(size)]
    errors = [each for each in (future.exception() for future in futures) if each is not None]
    real = [each for each in errors if not isinstance(each, BrokenBarrierError)]
    if errors:
        raise (real or errors)[0]
    return [future.result() for future in futures]
