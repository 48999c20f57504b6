"""What commands that run under mpiexec share: threads, log levels, one message and one end for all ranks."""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pycryo.errors import InputError, RunError
from pycryo.io.atomic import check_writable_folder, write_error
from pycryo.parallel.comm import Comm
from pycryo.threads import available_cores, set_threads

# Seconds that other ranks leave rank 0 to tell an error that all of them have.
_PATIENCE = 2.0


def set_up_rank(comm: Comm, threads: int | None) -> None:
    """Set the number of threads and let only rank 0 log what is no warning. Collective.

    Without `threads` and the environment's PYCRYO_THREADS or OMP_NUM_THREADS, the ranks of a node share its cores.

    Raises
    ------
    InputError
        If `threads` is less than 1.
    """
    if threads is not None and threads < 1:
        raise InputError(f"--threads must be at least 1, not {threads}")
    on_node = comm.local_size()
    if threads is None and on_node > 1 and not {"PYCRYO_THREADS", "OMP_NUM_THREADS"} & os.environ.keys():
        threads = max(1, available_cores() // on_node)
    if threads is not None:
        set_threads(threads)
    if comm.rank:
        logging.getLogger().setLevel(logging.WARNING)


@contextmanager
def one_end(comm: Comm, command: str) -> Iterator[None]:
    """End all ranks when one fails: a rank that waits for a dead one would wait for ever.

    An error that all ranks have, such as a missing file, is told once.
    """
    try:
        yield
    except Exception as error:
        if comm.size == 1:
            raise
        if comm.rank:
            time.sleep(_PATIENCE)
        if not isinstance(error, (InputError, RunError)):
            traceback.print_exc()
        word = "error" if isinstance(error, InputError) else "failed"
        where = f" (rank {comm.rank})" if comm.rank else ""
        print(f"pycryo {command}: {word}: {error}{where}", file=sys.stderr)
        comm.abort(2 if isinstance(error, InputError) else 1)


def check_output(path: Path) -> None:
    """Prove, before any work, that a file can be written there.

    Raises
    ------
    InputError, RunError
        Naming the path and what to do.
    """
    if path.is_dir():
        raise write_error(path, IsADirectoryError(errno.EISDIR, ""))
    if not path.parent.is_dir():
        raise write_error(path, FileNotFoundError(errno.ENOENT, ""))
    check_writable_folder(path.parent)
