"""The output folder of a run: made, kept from others, marked as finished, or left as it was found."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pycryo.errors import InputError
from pycryo.io.atomic import check_writable_folder, write_bytes
from pycryo.refinement.files.lock import FolderLock

# RELION's pipeline looks for these files to learn how a job ended.
SUCCESS, FAILURE, ABORTED = (f"RELION_JOB_EXIT_{end}" for end in ("SUCCESS", "FAILURE", "ABORTED"))
LOG_NAME = "run.log"
# Files of a refinement.
_RESULTS = (
    "run_it[0-9]*_*",
    "run_class*",
    "run_half*",
    "run_fsc*",
    "run_data.star",
    "run_model.star",
    "run_rejected.star",
    "run_phases_*.png",
    "report.html",
    "localres*/localres*",
    "localres*/RELION_JOB_EXIT_*",
    "RELION_OUTPUT_NODES.star",
    # The report shows them.
    "localres/localres*",
    "localres/RELION_JOB_EXIT_*",
)
_ITERATION = re.compile(r"run_it(\d+)_")


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The folder of a run; its methods are for one rank.

    Attributes
    ----------
    path : Path
    made : tuple of Path
        It and its parents, as far as they are new.
    marks : tuple of str
        Marks of an earlier run's end, taken away.
    had_log : bool
        There was a run.log.
    had_run : bool
        There are files of an earlier run, which this one overwrites.
    """

    path: Path
    made: tuple[Path, ...]
    marks: tuple[str, ...]
    had_log: bool
    had_run: bool

    @classmethod
    def prepare(
        cls, path: str | os.PathLike[str], *, overwrite: bool = True, checkpoint: Path | None = None
    ) -> tuple[JobFolder, FolderLock]:
        """Make the folder, lock it, prove that it can be written, take away the mark of an earlier run.

        Parameters
        ----------
        path : path
        overwrite : bool
            An earlier run may be there.
        checkpoint : Path, optional
            Of that run, if it is not finished.

        Raises
        ------
        InputError, RunError
            If it cannot be written, if another run works in it, or if it holds what must not be overwritten.
        """
        path = Path(path)
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        try:
            check_writable_folder(path)
        except BaseException:
            _remove_empty(missing)
            raise
        lock = FolderLock.take(path)
        try:
            if not overwrite:
                refuse_results(path, checkpoint)
        except BaseException:
            lock.release()
            raise
        marks = tuple(name for name in (SUCCESS, FAILURE, ABORTED) if (path / name).exists())
        for name in marks:
            (path / name).unlink()
        return cls(path, tuple(missing), marks, (path / LOG_NAME).exists(), (path / "run.json").exists()), lock

    def withdraw(self) -> None:
        """Leave the folder as it was found; for a run that ends before its first iteration."""
        if not self.had_log:
            (self.path / LOG_NAME).unlink(missing_ok=True)
        for name in self.marks:
            write_bytes(self.path / name, b"")
        _remove_empty(self.made)

    def end(self, mark: str) -> None:
        """Mark how the run ended: `SUCCESS`, `FAILURE` or `ABORTED`."""
        write_bytes(self.path / mark, b"")


def refuse_results(path: Path, checkpoint: Path | None = None) -> None:
    """Raise InputError if the folder holds a finished run, or one that can be continued from `checkpoint`."""
    if (path / SUCCESS).exists():
        raise InputError(
            f"{path} holds a finished run: choose another folder (--out), or add --overwrite (in Python "
            "overwrite=True) if its results may be lost"
        )
    if checkpoint is not None and checkpoint.exists():
        raise InputError(
            f"{path} holds a run that is not finished: add --continue to go on with it, or --overwrite (in Python "
            "overwrite=True) to begin anew"
        )


def remove_results(folder: Path) -> None:
    """Delete what an earlier run wrote, so that nothing of it is taken for this one's."""
    for pattern in _RESULTS:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def remove_iterations(folder: Path, last: int) -> None:
    """Delete the files of the iterations up to `last`, as far as they are there."""
    for path in folder.glob(_RESULTS[0]):
        found = _ITERATION.match(path.name)
        if found is not None and int(found[1]) <= last:
            path.unlink(missing_ok=True)


def keep_traceback(folder: JobFolder | None, text: str) -> None:
    """Append a traceback to run.log, or print it where there is none."""
    if folder is not None:
        with suppress(OSError), open(folder.path / LOG_NAME, "a", encoding="utf-8") as file:
            file.write(text)
            return
    print(text, file=sys.stderr)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # missing, or not empty: somebody else uses it
            folder.rmdir()
