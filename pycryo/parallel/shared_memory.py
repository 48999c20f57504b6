"""Memory that the ranks of a node share: MPI windows."""

from __future__ import annotations

import logging
import os
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.parallel.comm import Comm, SharedArray

log = logging.getLogger(__name__)

# Where MPI libraries keep memory that the ranks of a node share, and the share of what is free that may be used.
_SHARED_FOLDER = "/dev/shm"
_SHARED_LIMIT = 0.9
# Windows that were made and not closed.
_open: set[SharedArray] = set()


class _Window(SharedArray):
    """An array in memory that the ranks of a node share."""

    def __init__(self, comm: Comm, window: Any, array: NDArray[Any]) -> None:
        super().__init__(array)
        self._comm, self._window = comm, window
        _open.add(self)

    def sync(self) -> None:
        self._window.Sync()

    def publish(self) -> None:
        self.sync()
        self._comm.barrier()
        self.sync()

    def close(self) -> None:
        self._comm.barrier()
        self._window.Unlock_all()
        self._window.Free()
        _open.discard(self)


class _Copies(SharedArray):
    """A copy per rank, where the system has too little memory to share."""

    is_shared = False

    def __init__(self, comm: Comm, array: NDArray[Any]) -> None:
        super().__init__(array)
        self._comm = comm

    def publish(self) -> None:
        self._comm.broadcast_array(self.array)


def has_windows() -> bool:
    """Whether this process has windows that are not closed."""
    return bool(_open)


def open_window(comm: Comm, mpi: Any, mpi_comm: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> SharedArray:
    """An array that the ranks of a node share, or a copy for each where there is too little such memory. Collective."""
    n_bytes = prod(shape) * dtype.itemsize
    if comm.size == 1 or n_bytes == 0:
        return SharedArray(np.empty(shape, dtype))
    # A page beyond what the folder holds would end the process with a bus error.
    free = None
    if comm.rank == 0 and os.path.isdir(_SHARED_FOLDER):
        figures = os.statvfs(_SHARED_FOLDER)
        free = figures.f_bavail * figures.f_frsize
    free = comm.broadcast(free)
    if free is not None and n_bytes > _SHARED_LIMIT * free:
        if comm.rank == 0:
            log.warning(
                "%s has %.2f GiB free, too little for the %.2f GiB that the ranks of a node would share: "
                "they keep copies, or send messages",
                _SHARED_FOLDER,
                free / 2**30,
                n_bytes / 2**30,
            )
        return _Copies(comm, np.empty(shape, dtype))
    window = mpi.Win.Allocate_shared(n_bytes if comm.rank == 0 else 0, dtype.itemsize, comm=mpi_comm)
    window.Lock_all(mpi.MODE_NOCHECK)
    memory, _ = window.Shared_query(0)
    return _Window(comm, window, np.frombuffer(memory, dtype).reshape(shape))
