"""How a command on several ranks ends: one message, one exit code, no rank left waiting."""

from __future__ import annotations

import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pycryo.errors import InputError, RunError
from pycryo.parallel.collective_errors import Meeting, must_abort
from pycryo.parallel.comm import Comm

INPUT_ERROR, RUN_ERROR = 2, 1
# Exit codes of runs that a signal ended are larger.
_SIGNALS = 128
# Seconds that rank 0, if it failed, waits for the others to fail in the same way before it ends them all. Each rank
# after it waits a bit longer, up to a limit: the first one that failed tells it and ends the others before they do.
_PATIENCE, _MORE, _MOST = 3.0, 0.2, 2.0


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.code = 128 + signal_number


def guarded(
    comm: Comm,
    command: str,
    work: Callable[[], None],
    *,
    before_end: Callable[[int, str], None] | None = None,
    keep_traceback: Callable[[str], None] | None = None,
) -> int:
    """Run `work` on every rank and turn its end into an exit code. Collective.

    An error of all ranks is told by rank 0 alone and all return. An error of some ranks is told by the first of them,
    which then ends all: the others wait for it in a collective call.

    Parameters
    ----------
    comm : Comm
    command : str
        Name of the sub-command, for the message.
    work : callable
    before_end : callable, optional
        Called with the exit code and the message, by one rank, before the run ends (also after success).
    keep_traceback : callable, optional
        Called with the text of an unexpected error's traceback; default: it goes to stderr.

    Returns
    -------
    int
        0 done, 1 failed, 2 wrong input, 130 or 143 interrupted.
    """
    meeting = Meeting(comm)
    try:
        with _signals():
            work()
        if comm.rank == 0 and before_end is not None:
            before_end(0, "")
        return 0
    except Interrupted as error:
        code, message = error.code, f"pycryo {command}: interrupted"
    except InputError as error:
        code, message = INPUT_ERROR, f"pycryo {command}: error: {error}"
    except RunError as error:
        code, message = RUN_ERROR, f"pycryo {command}: failed: {error}"
    except MemoryError:
        code = RUN_ERROR
        message = (
            f"pycryo {command}: failed: rank {comm.rank} ran out of memory; use fewer ranks on each machine, "
            "--padding 1, no --preread, or images of a smaller box"
        )
    except Exception as error:
        (keep_traceback or sys.stderr.write)(f"rank {comm.rank}:\n{traceback.format_exc()}")
        code = RUN_ERROR
        message = (
            f"pycryo {command}: failed on rank {comm.rank} by an error that should not happen "
            f"({type(error).__name__}: {error}); please report it with its traceback"
            + (", which run.log in the output folder holds" if keep_traceback else "")
        )
    together = meeting.all_arrive(_PATIENCE + min(_MORE * comm.rank, _MOST))
    if comm.rank == 0 or not together:
        print(message, file=sys.stderr, flush=True)
        if before_end is not None:
            before_end(code, message)
    # Where signals came there may be messages on their way, with which MPICH does not end.
    if must_abort(comm) or not together or (code > _SIGNALS and comm.size > 1):
        if comm.rank == 0 or not together:
            comm.abort(code)
        time.sleep(_PATIENCE)  # rank 0 ends this one
    return code


@contextmanager
def _signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise `Interrupted`; a second one kills."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
