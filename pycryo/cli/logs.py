"""Log of a command: stderr of rank 0, warnings of the other ranks, a file in the output folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = "pycryo"


class Logs:
    """Handlers of the package's log; made by `run_logs`."""

    def __init__(self, rank: int, level: int) -> None:
        self.rank = rank
        prefix = f"[rank {rank}] " if rank else ""
        stream = logging.StreamHandler(sys.stderr)
        stream.setLevel(level if rank == 0 else max(level, logging.WARNING))
        stream.setFormatter(ByLevel(prefix))
        # What is said before the file is open waits here.
        self._waiting = _Waiting()
        self.handlers: list[logging.Handler] = [stream]
        if rank == 0:
            self.handlers.append(self._waiting)

    def open_file(self, path: Path) -> None:
        """Append everything, also what was said so far, to a file (rank 0 only; others do nothing).

        Raises
        ------
        InputError, RunError
            If it cannot be written, naming it; then or when something is said later, once.
        """
        if self.rank:
            return
        from pycryo.io.atomic import writing

        with writing(path, path):
            file = _LogFile(path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S"))
        self.handlers.append(file)
        for record in self._waiting.records:
            file.handle(record)
        logger = logging.getLogger(_ROOT)
        logger.removeHandler(self._waiting)
        logger.addHandler(file)
        self.handlers = [self.handlers[0], file]

    def note(self, text: str) -> None:
        """Write the last words of a run that failed, to the file only; from now on a full disc is no error."""
        for file in self.handlers:
            if isinstance(file, _LogFile):
                file.raises = False
                file.handle(logging.LogRecord(_ROOT, logging.ERROR, "", 0, text, None, None))

    def close(self) -> None:
        """Detach and close all handlers."""
        logger = logging.getLogger(_ROOT)
        for handler in self.handlers:
            logger.removeHandler(handler)
            handler.close()


class _Waiting(logging.Handler):
    """Keeps all records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class _LogFile(logging.FileHandler):
    """A file that raises what the disc says, once, and is silent from then on."""

    has_failed, raises = False, True

    def emit(self, record: logging.LogRecord) -> None:
        if not self.has_failed:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self.has_failed = True
        if self.raises:
            from pycryo.io.atomic import write_error

            raise write_error(Path(self.baseFilename), error) from error

    def close(self) -> None:
        with suppress(OSError):  # what could not be written is tried again
            super().close()


class ByLevel(logging.Formatter):
    """Warnings and errors are marked as such, plain lines are not."""

    def __init__(self, prefix: str = "") -> None:
        super().__init__()
        self._plain = logging.Formatter(prefix + "%(message)s")
        self._marked = logging.Formatter(prefix + "%(levelname)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return (self._marked if record.levelno >= logging.WARNING else self._plain).format(record)


@contextmanager
def run_logs(rank: int, *, verbose: bool = False, quiet: bool = False) -> Iterator[Logs]:
    """Send the package's log to stderr while the block runs.

    Parameters
    ----------
    rank : int
        0 logs from INFO on, the others from WARNING on with their number before each line. The file has all, from
        DEBUG on.
    verbose, quiet : bool
        From DEBUG on; from WARNING on.
    """
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    logger = logging.getLogger(_ROOT)
    before = (logger.level, logger.propagate)
    logs = Logs(rank, level)
    logger.setLevel(logging.DEBUG if verbose or rank == 0 else logging.INFO)
    logger.propagate = False
    for handler in logs.handlers:
        logger.addHandler(handler)
    try:
        yield logs
    finally:
        logs.close()
        logger.setLevel(before[0])
        logger.propagate = before[1]
