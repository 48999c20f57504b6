"""What commands that run under mpiexec share: threads of a rank, log levels, the check of an output path."""

from __future__ import annotations

import errno
import logging
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from pycryo.errors import InputError
from pycryo.io.atomic import check_writable_folder, write_error
from pycryo.parallel.comm import Comm
from pycryo.threads import available_cores, get_threads, set_threads

log = logging.getLogger(__name__)


def set_up_rank(comm: Comm, threads: int | None) -> None:
    """Set the number of threads and let only rank 0 log what is no warning. Collective.

    Raises
    ------
    InputError
        If `threads` is less than 1.
    """
    if threads is not None and threads < 1:
        raise InputError(f"--threads must be at least 1, not {threads}")
    set_threads(threads_per_rank(comm, threads))
    if comm.rank:
        logging.getLogger().setLevel(logging.WARNING)


def threads_per_rank(comm: Comm, asked: int | None) -> int:
    """Threads of this rank: as asked, as the environment says, or its part of the node's cores. Collective.

    The first rank of a node warns if its ranks have more threads than cores.
    """
    mine = _cores()
    everyone = comm.all_gather((platform.node(), mine, available_cores()))
    local = [cores for node, cores, _ in everyone if node == platform.node()]
    usable = len(set().union(*local))
    share = sum(1 / sum(core in cores for cores in local) for core in mine)
    if available_cores() < len(mine):  # a quota, which the ranks share
        usable, share = min(usable, available_cores()), available_cores() / len(local)
    from_environment = any(os.environ.get(name, "").isdigit() for name in ("PYCRYO_THREADS", "OMP_NUM_THREADS"))
    threads = asked or (get_threads() if from_environment else max(1, int(share + 1e-6)))
    if comm.rank != [node for node, _, _ in everyone].index(platform.node()):
        return threads
    if threads * len(local) > max(usable, len(local)):
        log.warning(
            "%d rank(s) × %d threads share the %d cores of %s: use --threads %d",
            len(local), threads, usable, platform.node(), max(1, usable // len(local)),
        )  # fmt: skip
    elif len(local) > usable:
        log.warning("%d ranks share the %d cores of %s: start fewer", len(local), usable, platform.node())
    return threads


def _cores() -> frozenset[int]:
    """Numbers of the cores that this process may run on."""
    try:
        return frozenset(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return frozenset(range(available_cores()))


def check_output(*paths: Path, inputs: Sequence[Path] = ()) -> None:
    """Prove, before any work, that files can be written there, and that none of `inputs` would be lost. One rank.

    Raises
    ------
    InputError, RunError
        Naming the path and what to do.
    """
    for path in paths:
        if path.is_dir():
            raise write_error(path, IsADirectoryError(errno.EISDIR, ""))
        if not path.parent.is_dir():
            raise write_error(path, FileNotFoundError(errno.ENOENT, ""))
        if path.exists() and any(each.exists() and path.samefile(each) for each in inputs):
            raise InputError(f"{path} is read, and would be overwritten by the result: choose another name")
        check_writable_folder(path.parent)
