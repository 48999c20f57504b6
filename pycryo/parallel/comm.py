"""Communicators: one interface over MPI (mpi4py) and over a single process.

Every method is collective unless it says otherwise. The rest of the package takes a communicator as an argument and
never imports mpi4py.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from pycryo.errors import RunError

T = TypeVar("T")

# Largest message in bytes: MPI counts are 32-bit.
_CHUNK_BYTES = 1 << 30
# Tests of a request before a waiting rank sleeps, and for how many seconds it does between two tests.
_SPINS = 100
_NAP = 2e-4


class Comm(Protocol):
    """What the package needs of a communicator."""

    @property
    def rank(self) -> int:
        """Number of this process, 0 ≤ rank < size. Not collective."""

    @property
    def size(self) -> int:
        """Number of processes. Not collective."""

    def broadcast(self, value: T, root: int = 0) -> T:
        """The object `value` of rank `root`, on every rank (small things: pickled)."""

    def broadcast_array(self, array: NDArray[Any], root: int = 0) -> None:
        """Fill `array` (same shape and type on every rank) with that of `root`."""

    def sum_array(self, array: NDArray[Any]) -> None:
        """Replace `array` by its sum over the ranks."""

    def max_array(self, array: NDArray[Any]) -> None:
        """Replace `array` by its element-wise maximum over the ranks."""

    def gather(self, value: T, root: int = 0) -> list[T] | None:
        """The objects of all ranks, in order, on rank `root`; None elsewhere."""

    def all_gather(self, value: T) -> list[T]:
        """The objects of all ranks, in order, on every rank."""

    def send_array(self, array: NDArray[Any], destination: int) -> None:
        """Send to one rank (matched by its `receive_array`). Not collective."""

    def receive_array(self, array: NDArray[Any], source: int) -> None:
        """Receive into `array`. Not collective."""

    def subset(self, member: bool) -> Comm | None:
        """Communicator of the ranks with `member` true, in order; None on the others."""

    def local_size(self) -> int:
        """Number of ranks on this node."""

    def abort(self, code: int) -> None:
        """End all ranks at once. Not collective."""


class SerialComm:
    """The communicator of a single process."""

    rank = 0
    size = 1

    def broadcast(self, value: T, root: int = 0) -> T:
        return value

    def broadcast_array(self, array: NDArray[Any], root: int = 0) -> None:
        pass

    def sum_array(self, array: NDArray[Any]) -> None:
        pass

    def max_array(self, array: NDArray[Any]) -> None:
        pass

    def gather(self, value: T, root: int = 0) -> list[T] | None:
        return [value]

    def all_gather(self, value: T) -> list[T]:
        return [value]

    def send_array(self, array: NDArray[Any], destination: int) -> None:
        raise ValueError("a single process has nobody to send to")

    def receive_array(self, array: NDArray[Any], source: int) -> None:
        raise ValueError("a single process has nobody to receive from")

    def subset(self, member: bool) -> Comm | None:
        return self if member else None

    def local_size(self) -> int:
        return 1

    def abort(self, code: int) -> None:
        sys.exit(code)


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

    @staticmethod
    def _wait(request: Any) -> None:
        for _ in range(_SPINS):
            if request.Test():
                return
        while not request.Test():
            time.sleep(_NAP)

    def _gathered(self) -> None:
        """Wait until all ranks are here, so that the blocking call that follows does not spin. Collective."""
        self._wait(self._comm.Ibarrier())

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

    def subset(self, member: bool) -> Comm | None:
        comm = self._comm.Split(0 if member else self._mpi.UNDEFINED, self.rank)
        return MpiComm(comm) if member else None

    def local_size(self) -> int:
        node = self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        size = int(node.Get_size())
        node.Free()
        return size

    def abort(self, code: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._comm.Abort(code)


# Variables that launchers set for their processes, with the number of processes or just a sign of life.
_SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PALS_SIZE")
_RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")


def launched_size() -> int | None:
    """Number of processes the launcher says it started; 0 if it does not tell; None without a launcher."""
    for name in _SIZE_VARIABLES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0 if any(name in os.environ for name in _RANK_VARIABLES) else None


def launched_rank() -> int:
    """Number of this process among those of the launcher; 0 without a launcher."""
    return next((int(os.environ[name]) for name in _RANK_VARIABLES if os.environ.get(name, "").isdigit()), 0)


def world() -> Comm:
    """All processes of this run: MPI's world under mpiexec, else a `SerialComm`.

    Raises
    ------
    RunError
        If a launcher started several processes that cannot talk to each other.
    """
    launched = launched_size()
    if launched is None:
        return SerialComm()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        if launched <= 1:
            return SerialComm()
        raise RunError(
            f"mpiexec started {launched} processes, but mpi4py cannot be used ({error}); "
            "install it with: pip install 'pycryo[mpich]'"
        ) from error
    if MPI.COMM_WORLD.Get_size() == 1:
        if launched > 1:
            library = MPI.Get_library_version().splitlines()[0].strip()
            raise RunError(
                f"mpiexec started {launched} processes, but each is alone: mpi4py uses another MPI library "
                f"({library}) than this mpiexec; start with the mpiexec of the same installation "
                "(with pip's mpich: the one in the virtual environment's bin folder)"
            )
        return SerialComm()
    return MpiComm(MPI.COMM_WORLD)


def as_comm(comm: Any) -> Comm:
    """Accept None (serial), an mpi4py communicator or a `Comm`."""
    if comm is None:
        return SerialComm()
    if hasattr(comm, "Get_rank"):
        return MpiComm(comm) if comm.Get_size() > 1 else SerialComm()
    wrapped: Comm = comm
    return wrapped
