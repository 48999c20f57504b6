"""What the ranks must settle together: work that one rank does for all, and whether all have come to an end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pycryo.errors import InputError, RunError
from pycryo.parallel.comm import Comm
from pycryo.parallel.mpi import MpiComm

T = TypeVar("T")


def on_root(comm: Comm, work: Callable[[], T], root: int = 0) -> T:
    """Do `work` on one rank; every rank gets its result or raises its error. Collective.

    Raises
    ------
    InputError, RunError
        As raised by `work`; another error of `work` is a `RunError` on the other ranks.
    """
    value: T | None = None
    failure: Exception | None = None
    if comm.rank == root:
        try:
            value = work()
        except Exception as error:
            failure = error
    kind = type(failure).__name__ if failure is not None else None
    value, kind, message = comm.broadcast((value, kind, str(failure)), root)
    if failure is not None:
        raise failure
    if kind is not None:
        known = {error.__name__: error for error in (InputError, RunError)}
        raise known.get(kind, RunError)(message)
    return value  # type: ignore[return-value]


class Meeting:
    """Finds out whether all ranks have ended in the same way. Made on all ranks: collective."""

    def __init__(self, comm: Comm) -> None:
        self._comm = comm._comm.Dup() if isinstance(comm, MpiComm) else None

    def all_arrive(self, seconds: float) -> bool:
        """Wait until every rank is here, at most `seconds`; false if some rank is not."""
        if self._comm is None:
            return True
        request = self._comm.Ibarrier()
        end = time.monotonic() + seconds
        while not request.Test():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True
