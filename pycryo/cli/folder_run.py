"""A run with an output folder: what its commands do about lock, log and marks, from begin to end."""

from __future__ import annotations

import argparse
import logging
import platform
import sys
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pycryo import _core
from pycryo.cli.logs import Logs, run_logs
from pycryo.cli.session import INPUT_ERROR, guarded
from pycryo.errors import InputError, RunError
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm
from pycryo.refinement.files.job import ABORTED, FAILURE, LOG_NAME, SUCCESS, JobFolder, keep_traceback
from pycryo.refinement.files.lock import FolderLock
from pycryo.threads import get_threads, set_threads
from pycryo.version import __version__

log = logging.getLogger(__name__)


@dataclass(slots=True)
class FolderRun:
    """One run of a command in the folder `args.out`.

    Attributes
    ----------
    comm : Comm
    args : Namespace
    logs : Logs
    folder : JobFolder or None
        On every rank, from `take_folder` on.
    lock : FolderLock or None
        Rank 0's.
    """

    comm: Comm
    args: argparse.Namespace
    logs: Logs
    folder: JobFolder | None = field(default=None, init=False)
    lock: FolderLock | None = field(default=None, init=False)

    def take_folder(self, *, overwrite: bool, checkpoint: Path | None = None) -> JobFolder:
        """Prepare and lock the folder, see `JobFolder.prepare`. Collective."""

        def take() -> JobFolder:
            folder, self.lock = JobFolder.prepare(self.args.out, overwrite=overwrite, checkpoint=checkpoint)
            return folder

        self.folder = on_root(self.comm, take)
        return self.folder

    def open_log(self) -> None:
        """Write the log into the folder, too, with the command at its head."""
        assert self.folder is not None
        self.logs.open_file(self.folder.path / LOG_NAME)
        log.info("pycryo %s: %s", __version__, " ".join(sys.argv[1:]))

    def tell(self, *, goes_on: bool = False) -> None:
        """Log what becomes of an earlier run in the folder, unless this one goes on from it, and who works."""
        assert self.folder is not None
        if self.comm.rank == 0 and self.folder.had_run and not goes_on:
            log.warning("%s holds an earlier run: its files are overwritten", self.folder.path)
        log.info("%d rank(s) × %d thread(s), %s, on %s", self.comm.size, get_threads(), _core.isa(), platform.node())

    def leave(self, code: int, message: str, *, as_found: bool) -> None:
        """Leave the folder as it was found, or marked with how the run ended. Not collective: one rank."""
        if message:
            self.logs.note(message)
        if self.folder is None:
            return
        self.release()  # its file would keep a folder that was made
        with suppress(InputError, RunError, OSError):  # the folder may be what failed
            if as_found:
                self.folder.withdraw()
            else:
                self.folder.end({0: SUCCESS, 1: FAILURE, 2: FAILURE}.get(code, ABORTED))

    def release(self) -> None:
        """Let others write into the folder."""
        if self.lock is not None:
            self.lock.release()

    def keep_traceback(self, text: str) -> None:
        """In run.log, if there is one."""
        keep_traceback(self.folder, text)


class Job(FolderRun, ABC):
    """What a command does in its folder; commands derive theirs from it."""

    @classmethod
    def carry_out(cls, comm: Comm, args: argparse.Namespace, command: str) -> int:
        """Work with log, messages and exit code, and let the folder go at the end. Collective.

        Parameters
        ----------
        comm : Comm
        args : Namespace
            `verbose` and `quiet` count, if the command has them.
        command : str
            Name of the sub-command, for messages.

        Returns
        -------
        int
            Exit code.
        """
        talk = {name: getattr(args, name, False) for name in ("verbose", "quiet")}
        with run_logs(comm.rank, **talk) as logs:
            job = cls(comm, args, logs)
            try:
                return guarded(comm, command, job.work, before_end=job.end, keep_traceback=job.keep_traceback)
            finally:
                set_threads(None)
                job.release()

    @abstractmethod
    def work(self) -> None:
        """All that the command does. Collective."""

    def end(self, code: int, message: str) -> None:
        """Leave the output folder in order, after wrong input as it was found. Not collective: one rank."""
        self.leave(code, message, as_found=code == INPUT_ERROR)
