"""The communicator of MPI ranks (mpi4py) and its transfers in the background."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import pairwise
from typing import Any, TextIO, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pycryo.parallel.comm import Comm, K, SharedArray, Transfer
from pycryo.parallel.kept import close_at_exit
from pycryo.parallel.shared_memory import open_window

T = TypeVar("T")

# Largest message in bytes: MPI counts are 32-bit.
_CHUNK_BYTES = 1 << 30
# Tests of a request before a waiting rank sleeps, and for how many seconds it does between two tests.
_SPINS = 100
_NAP = 2e-4
# A rank that waits for others to come, not for data, naps for this share of the time that it has waited, and at most.
_NAP_SHARE, _LONGEST_NAP = 0.01, 5e-3
# Seconds between two tests of a message that moves on in them, so that others may have this core: with the system's
# 50 µs added no more than needed. time.sleep(0) gives way in some versions of Python (3.11), returns at once in others.
_GIVE_WAY = 1e-6
# Tags of `begin_shift`: the array, "I have begun to send", "I have room to receive".
_DATA, _SENDING, _RECEIVING = 1, 2, 3


@cache
def _kept_key() -> int:
    """Under which MPI communicators keep what was made of them."""
    from mpi4py import MPI

    return int(MPI.Comm.Create_keyval())


def _wait_until_read(stream: TextIO) -> None:
    """Until the launcher has read what was written to its pipe (2 s at most): mpiexec reads no more after an abort."""
    end = time.monotonic() + 2.0
    with suppress(OSError, ValueError):  # a stream of a notebook or a test has no number
        number = stream.fileno()
        while stat.S_ISFIFO(os.fstat(number).st_mode) and time.monotonic() < end:
            if int.from_bytes(fcntl.ioctl(number, termios.FIONREAD, bytes(4)), sys.byteorder) == 0:
                return
            time.sleep(0.01)


class MpiComm:
    """An mpi4py communicator; messages above 1 GiB are cut.

    Ranks that wait for others sleep: MPI libraries spin, which takes a core from the threads that are waited for.
    """

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        self._comm = comm

    @property
    def rank(self) -> int:
        return int(self._comm.Get_rank())

    @property
    def size(self) -> int:
        return int(self._comm.Get_size())

    @property
    def is_thread_safe(self) -> bool:
        return bool(self._mpi.Query_thread() >= self._mpi.THREAD_MULTIPLE)

    @staticmethod
    def _wait(request: Any) -> None:
        for _ in range(_SPINS):
            if request.Test():
                return
        while not request.Test():
            time.sleep(_NAP)

    def _gathered(self) -> None:
        """Wait until all ranks are here, so that the blocking call that follows does not spin. Collective."""
        request, spins, began = self._comm.Ibarrier(), 0, time.perf_counter()
        while not request.Test():
            spins += 1
            if spins > _SPINS:
                time.sleep(min(_LONGEST_NAP, max(_NAP, _NAP_SHARE * (time.perf_counter() - began))))

    @staticmethod
    def _chunks(array: NDArray[Any]) -> list[NDArray[Any]]:
        if not array.flags.c_contiguous:
            raise ValueError("array: expected a C-contiguous array")
        flat = array.reshape(-1)
        step = max(1, _CHUNK_BYTES // array.itemsize)
        return [flat[start : start + step] for start in range(0, flat.size, step)]

    def broadcast(self, value: T, root: int = 0) -> T:
        self._gathered()
        result: T = self._comm.bcast(value, root=root)
        return result

    def broadcast_array(self, array: NDArray[Any], root: int = 0) -> None:
        self._gathered()
        for chunk in self._chunks(array):
            self._comm.Bcast(chunk, root=root)

    def sum_array(self, array: NDArray[Any]) -> None:
        self._gathered()
        for chunk in self._chunks(array):
            self._comm.Allreduce(self._mpi.IN_PLACE, chunk, op=self._mpi.SUM)

    def max_array(self, array: NDArray[Any]) -> None:
        self._gathered()
        for chunk in self._chunks(array):
            self._comm.Allreduce(self._mpi.IN_PLACE, chunk, op=self._mpi.MAX)

    def gather(self, value: T, root: int = 0) -> list[T] | None:
        self._gathered()
        result: list[T] | None = self._comm.gather(value, root=root)
        return result

    def all_gather(self, value: T) -> list[T]:
        self._gathered()
        result: list[T] = self._comm.allgather(value)
        return result

    def send_array(self, array: NDArray[Any], destination: int) -> None:
        for chunk in self._chunks(array):
            self._wait(self._comm.Isend(chunk, dest=destination))

    def receive_array(self, array: NDArray[Any], source: int) -> None:
        for chunk in self._chunks(array):
            self._wait(self._comm.Irecv(chunk, source=source))

    def gather_parts(self, array: NDArray[Any], bounds: Sequence[int]) -> None:
        if not array.flags.c_contiguous:
            raise ValueError("array: expected a C-contiguous array")
        self._gathered()
        # Counted in items, the numbers stay below 2³¹.
        item = self._mpi.BYTE.Create_contiguous(array[:1].nbytes).Commit()
        counts = [last - first for first, last in pairwise(bounds)]
        request = self._comm.Iallgatherv(self._mpi.IN_PLACE, [array, counts, list(bounds[:-1]), item])
        while not request.Test():
            time.sleep(_GIVE_WAY)
        item.Free()

    def begin_shift(
        self, send: NDArray[Any] | None, destination: int, receive: NDArray[Any] | None, source: int
    ) -> Transfer:
        return _MpiTransfer(self._mpi, self._comm, send, destination, receive, source)

    def begin_exchange(
        self,
        send: NDArray[Any],
        send_bounds: NDArray[np.int64],
        receive: NDArray[Any],
        receive_bounds: NDArray[np.int64],
    ) -> Transfer:
        return _MpiExchange(self._mpi, self._comm, send, send_bounds, receive, receive_bounds)

    def swap(self, outgoing: Mapping[int, NDArray[Any]], incoming: Mapping[int, NDArray[Any]]) -> None:
        requests = [self._comm.Irecv(part, source) for source, a in incoming.items() for part in self._chunks(a)]
        requests += [self._comm.Isend(part, rank) for rank, a in outgoing.items() for part in self._chunks(a)]
        for request in requests:
            self._wait(request)

    def split(self, color: int | None) -> Comm | None:
        self._gathered()
        comm = self._comm.Split(self._mpi.UNDEFINED if color is None else color, self.rank)
        return None if color is None else MpiComm(comm)

    def node(self) -> Comm:
        return MpiComm(self._comm.Split_type(self._mpi.COMM_TYPE_SHARED, self.rank))

    def shared_array(self, shape: tuple[int, ...], dtype: DTypeLike) -> SharedArray:
        return open_window(self, self._mpi, self._comm, shape, np.dtype(dtype))

    def kept(self, make: Callable[[Comm], K]) -> K:
        # Kept with the MPI communicator, of which there may be other wrappers.
        everything: dict[Callable[[Comm], Any], Any] | None = self._comm.Get_attr(_kept_key())
        if everything is None:
            everything = {}
            self._comm.Set_attr(_kept_key(), everything)
        if make not in everything:
            everything[make] = make(self)
            close_at_exit(everything, make)
        found: K = everything[make]
        return found

    def barrier(self) -> None:
        self._gathered()

    def free(self) -> None:
        everything = self._comm.Get_attr(_kept_key()) or {}
        while everything:
            everything.pop(next(iter(everything))).close()
        self._comm.Free()

    def abort(self, code: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            _wait_until_read(stream)
        self._comm.Abort(code)


class _MpiTransfer(Transfer):
    """A shift in the background; neighbours tell each other with an empty message that they have begun theirs."""

    def __init__(
        self,
        mpi: Any,
        comm: Any,
        send: NDArray[Any] | None,
        destination: int,
        receive: NDArray[Any] | None,
        source: int,
    ) -> None:
        self._mpi = mpi
        self._nothing = bytearray(0)
        self._data: list[Any] = []
        self._signs: list[Any] = []
        self._lock = threading.Lock()
        if receive is not None:
            self._data += [comm.Irecv(receive, source, _DATA), comm.Isend(self._nothing, source, _RECEIVING)]
            self._signs.append(comm.Irecv(self._nothing, source, _SENDING))
        if send is not None:
            self._data += [comm.Isend(send, destination, _DATA), comm.Isend(self._nothing, destination, _SENDING)]
            self._signs.append(comm.Irecv(self._nothing, destination, _RECEIVING))

    def progress(self) -> bool:
        with self._lock:
            return bool(self._mpi.Request.Testall(self._data))

    def wait(self) -> tuple[float, float]:
        begin = time.perf_counter()
        spins = 0
        while not self._mpi.Request.Testall(self._signs):
            spins += 1
            if spins > _SPINS:
                time.sleep(_NAP)
        both_there = time.perf_counter()
        while not self.progress():
            time.sleep(_GIVE_WAY)
        return both_there - begin, time.perf_counter() - both_there


class _MpiExchange(Transfer):
    """Messages from every rank to every other in the background (MPI_Ialltoallv), below 2³¹ bytes each."""

    def __init__(
        self,
        mpi: Any,
        comm: Any,
        send: NDArray[Any],
        send_bounds: NDArray[np.int64],
        receive: NDArray[Any],
        receive_bounds: NDArray[np.int64],
    ) -> None:
        # Counted in items, the numbers stay below 2³¹.
        item = mpi.BYTE.Create_contiguous(send.itemsize).Commit()
        out = [send, np.diff(send_bounds).tolist(), send_bounds[:-1].tolist(), item]
        come = [receive, np.diff(receive_bounds).tolist(), receive_bounds[:-1].tolist(), item]
        self._lock = threading.Lock()
        self._buffers = (send, receive)
        self._request = comm.Ialltoallv(out, come)
        item.Free()

    def progress(self) -> bool:
        with self._lock:
            return bool(self._request.Test())

    def wait(self) -> tuple[float, float]:
        begin = time.perf_counter()
        while not self.progress():
            time.sleep(_GIVE_WAY)
        return 0.0, time.perf_counter() - begin
