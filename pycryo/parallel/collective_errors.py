"""What the ranks must settle together: whether the work of one or of all went well, and whether all are at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar, cast

from pycryo.errors import InputError, RunError
from pycryo.parallel.comm import Comm
from pycryo.parallel.kept import forget_all
from pycryo.parallel.mpi import MpiComm
from pycryo.parallel.shared_memory import has_windows

T = TypeVar("T")


def on_root(comm: Comm, work: Callable[[], T], root: int = 0) -> T:
    """Do `work` on one rank; every rank gets its result or raises its error. Collective.

    Raises
    ------
    InputError, RunError
        As raised by `work`; another error of `work` is a `RunError` on the other ranks.
    """
    value, failure = _attempt(work) if comm.rank == root else (None, None)
    kind, message = _told(failure)
    value, kind, message = comm.broadcast((value, kind, message), root)
    _raise_one(failure, [(kind, message)])
    return cast(T, value)


def on_all(comm: Comm, work: Callable[[], T]) -> T:
    """Do `work` on every rank, each with its own result; if one fails, all raise. Collective.

    Raises
    ------
    InputError, RunError
        As raised by `work`, on a rank where it went well that of the first one where it did not; there, another error
        is a `RunError`.
    """
    value, failure = _attempt(work)
    _raise_one(failure, comm.all_gather(_told(failure)))
    return cast(T, value)


def _attempt(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error


def _told(failure: Exception | None) -> tuple[str | None, str]:
    """An error as the other ranks hear of it: its kind (None: there is none) and its words."""
    return (None if failure is None else type(failure).__name__), str(failure)


def _raise_one(failure: Exception | None, told: list[tuple[str | None, str]]) -> None:
    """Raise this rank's own error, else the first of those told, if there is any."""
    if failure is not None:
        raise failure
    for kind, message in told:
        if kind is not None:
            known = {error.__name__: error for error in (InputError, RunError)}
            raise known.get(kind, RunError)(message)


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


def must_abort(comm: Comm) -> bool:
    """Whether ranks that failed cannot end by themselves: Open MPI waits in its end for all to free their windows.

    What communicators keep is given up: the ranks are out of step.
    """
    forget_all()
    return isinstance(comm, MpiComm) and has_windows() and comm._mpi.get_vendor()[0] == "Open MPI"
