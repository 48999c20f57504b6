"""A thread that lets messages move on while the rank computes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

# Seconds between two looks at a message.
_PERIOD = 5e-4


class ProgressThread:
    """Calls `progress` now and then in a thread, from `start` until it returns true, as long as the context lasts.

    MPI libraries move great messages only while somebody is in one of their functions. Kernels release Python's lock,
    so that the thread runs beside them; while there is nothing to do it sleeps.
    """

    def __init__(self, progress: Callable[[], bool]) -> None:
        self._progress = progress
        self._wanted = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="pycryo-messages", daemon=True)

    def start(self) -> None:
        """There is a new message."""
        self._wanted.set()

    def __enter__(self) -> ProgressThread:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            if self._is_over:
                return
            self._wanted.clear()
            while not self._is_over and not self._progress():
                time.sleep(_PERIOD)
