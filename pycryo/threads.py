"""How many threads the kernels use: one number per process, set once."""

from __future__ import annotations

import os

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


def set_threads(threads: int | None) -> None:
    """Set the number of threads of all kernels of this process; None returns to the default.

    Raises
    ------
    ValueError
        If `threads` is less than 1.
    """
    global _threads
    if threads is not None and threads < 1:
        raise ValueError(f"threads: expected at least 1, got {threads}")
    _threads = threads
