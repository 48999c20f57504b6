"""The file by which RELION's GUI asks a job to end."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

ABORT_NAME = "RELION_JOB_ABORT_NOW"
# Seconds between two looks: all ranks look when the clock shows a multiple of it, so that they end together.
_PERIOD = 4.0


@contextmanager
def obeys_abort_file(folder: Path, period: float = _PERIOD) -> Iterator[None]:
    """While the block runs, the file in `folder` has the effect of SIGTERM on this process. Not collective.

    Parameters
    ----------
    folder : Path
        Of the run; each rank looks for itself.
    period : float
        Seconds between two looks.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watcher = _Watcher(folder / ABORT_NAME, period)
    watcher.thread.start()
    try:
        yield
    finally:
        watcher.end()


class _Watcher:
    """A thread that looks for a file and sends the signal once."""

    def __init__(self, path: Path, period: float) -> None:
        self._path, self._period = path, period
        self._ended, self._lock = threading.Event(), threading.Lock()
        self.thread = threading.Thread(target=self._look, name="pycryo-abort", daemon=True)

    def _look(self) -> None:
        while not self._is_there():
            if self._ended.wait(self._period - time.time() % self._period):
                return
        with self._lock:
            # A signal that came after the block would end the process.
            if not self._ended.is_set():
                log.info("%s is there: the run ends", self._path)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _is_there(self) -> bool:
        with suppress(OSError):
            return self._path.exists()
        return False

    def end(self) -> None:
        """No signal comes any more, not even one that was on its way: the thread has ended."""
        with self._lock:
            self._ended.set()
        self.thread.join()


def remove_abort_file(folder: Path) -> None:
    """Take the request away when it was met, or the run has ended."""
    with suppress(OSError):
        (folder / ABORT_NAME).unlink(missing_ok=True)
