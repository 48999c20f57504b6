"""One run at a time in a folder."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pycryo.errors import InputError
from pycryo.io.atomic import write_error

LOCK_NAME = ".pycryo-lock"
# Seconds: the holder touches its lock so often; one that was not touched for so long, of another node, is left behind.
_BEAT, SILENCE = 20.0, 120.0


@dataclass(slots=True)
class FolderLock:
    """The right to write into a folder, until `release` or the end of the process. For one rank.

    The file is locked, which ends with the process on whatever node sees the lock. File systems that do not show locks
    to other nodes (NFS without its lock service, Lustre without flock) show that the file is touched again and again.
    """

    path: Path
    _file: IO[str]
    _ended: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def take(cls, folder: Path) -> FolderLock:
        """Lock a folder.

        Raises
        ------
        InputError
            If another run works in it, naming its node, process and start.
        InputError, RunError
            If the folder cannot be written.
        """
        path = folder / LOCK_NAME
        file, locked = _open(path)
        try:
            holder = _read(file)
            if locked is False or _is_alive(path, file, holder, locked):
                raise InputError(
                    f"another run works in {folder} ({_described(holder)}); wait for its end, or choose another "
                    f"--out; if it was killed on another node, the folder is free after {SILENCE / 60:.0f} minutes"
                )
            file.seek(0)
            file.truncate()
            json.dump({"node": platform.node(), "process": os.getpid(), "started": time.strftime("%F %T")}, file)
            file.flush()
        except BaseException as error:
            with suppress(OSError):  # what could not be written is tried again
                file.close()
            if isinstance(error, OSError):
                raise write_error(path, error) from error
            raise
        found = cls(path, file)
        threading.Thread(target=found._beat, name="pycryo-lock", daemon=True).start()
        return found

    def release(self) -> None:
        """Let others write into the folder; a second call does nothing: the file may be another run's by then."""
        if self._ended.is_set():
            return
        self._ended.set()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            with suppress(OSError):
                os.utime(self.path)


def _open(path: Path) -> tuple[IO[str], bool | None]:
    """The file, and what `_lock` says of it."""
    while True:
        try:
            file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise write_error(path, error) from error
        locked = _lock(file)
        with suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file, locked
        file.close()  # its last holder removed it meanwhile


def _lock(file: IO[str]) -> bool | None:
    """Whether the file could be locked; None if its file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _read(file: IO[str]) -> dict[str, Any]:
    """Who holds, or held, the lock; empty if nobody or if it cannot be told."""
    file.seek(0)
    try:
        found = json.loads(file.read(4096))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_alive(path: Path, file: IO[str], holder: dict[str, Any], locked: bool | None) -> bool:
    """Whether the holder still works although this process could lock the file, or cannot lock at all."""
    if not holder or (locked and holder.get("node") == platform.node()):
        return False
    clock = path.with_name(f"{path.name}-{os.getpid()}")  # that of the file system
    clock.write_bytes(b"")
    silence = clock.stat().st_mtime - os.fstat(file.fileno()).st_mtime  # by its name it may be gone
    clock.unlink()
    return silence < SILENCE


def _described(holder: dict[str, Any]) -> str:
    if not holder:
        return "it does not tell which"
    return f"process {holder.get('process')} on {holder.get('node')}, since {holder.get('started')}"
