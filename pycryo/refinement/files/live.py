"""Pictures and the page of a run that goes on, made beside the run's own work."""

from __future__ import annotations

import logging
import threading
from functools import partial
from pathlib import Path

from pycryo.errors import InputError, RunError
from pycryo.refinement.files.outputs import Writer
from pycryo.refinement.optics.found import Found
from pycryo.refinement.optics.pictures import write_phases
from pycryo.refinement.outcome import Outcome, Record
from pycryo.refinement.setup import Setup

log = logging.getLogger(__name__)


class LiveReport:
    """Writes the files of each iteration, and rebuilds report.html every few: an `Observer` of `run`.

    The page is built in a thread of rank 0 when the files of its iteration are there. The run never waits for it but
    at its end: an iteration whose turn comes while an earlier page is being built is left out, the next one shows it.

    Parameters
    ----------
    writer : Writer
        Writes the files.
    every : int
        Iterations; 0: never.
    """

    def __init__(self, writer: Writer, every: int) -> None:
        self.writer = writer
        self.every = every
        self._thread: threading.Thread | None = None

    def __call__(self, setup: Setup, outcome: Outcome, history: list[Record]) -> None:
        """Write what an iteration found, as `Writer` does. Collective."""
        self.writer(setup, outcome, history)
        if setup.partition.comm.rank:
            return
        if outcome.optics is not None:
            setup.background.add(partial(_draw_optics, self.writer.folder, outcome.optics))
        if self.every and outcome.record.number % self.every == 0 and not outcome.is_final:
            setup.background.add(self._begin)

    def close(self) -> None:
        """Wait until nothing is being built: the page has one writer at a time. Not collective."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _begin(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=_build, args=[self.writer.folder], name="pycryo-report", daemon=True)
            self._thread.start()


def _build(folder: Path) -> None:
    try:
        from pycryo.report.page import build_report

        build_report(folder)
    except Exception as error:  # the run itself is well, and the next page may be
        log.warning("the report of an iteration could not be made (%s: %s)", type(error).__name__, error)


def _draw_optics(folder: Path, found: Found) -> None:
    try:
        write_phases(folder, found)
    except (InputError, RunError):
        raise
    except Exception as error:  # the refinement does not need them
        log.warning("the phase errors could not be drawn (%s: %s)", type(error).__name__, error)
