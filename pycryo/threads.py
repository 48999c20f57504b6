"""How many threads the kernels use: one number per process, set once."""

from __future__ import annotations

import operator
import os

from pycryo.errors import InputError

# More are a mistake.
_MOST_THREADS = 4096
_threads: int | None = None


def available_cores() -> int:
    """Cores that this process may run on (affinity mask and cgroup quota), at least 1."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return max(1, cores)


def get_threads() -> int:
    """Threads that kernels use: `set_threads`, else PYCRYO_THREADS, else OMP_NUM_THREADS, else the available cores."""
    if _threads is not None:
        return _threads
    for name in ("PYCRYO_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            return int(value)
    return available_cores()


def threads_or_default(threads: int | None) -> int:
    """The argument `threads` of a function; for None `get_threads`.

    Raises
    ------
    InputError
        If it is no whole number of at least 1.
    """
    return get_threads() if threads is None else _checked(threads)


def set_threads(threads: int | None) -> None:
    """Set the number of threads of all kernels of this process; None returns to the default.

    Raises
    ------
    InputError
        If `threads` is no whole number of at least 1.
    """
    global _threads
    _threads = None if threads is None else _checked(threads)


def _checked(threads: int) -> int:
    try:
        found = 0 if isinstance(threads, bool) else operator.index(threads)
    except Exception as error:  # of whatever type the object raises
        raise InputError(f"threads: expected a whole number of at least 1, got {type(threads).__name__}") from error
    if not 1 <= found <= _MOST_THREADS:
        raise InputError(f"threads: expected a whole number from 1 to {_MOST_THREADS}, got {threads}")
    return found
