"""Files that appear whole or not at all: written beside their final name, synchronised, renamed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from pycryo.errors import InputError, RunError
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm

# Takes what is left of the work on a file, to do it later, and what to do instead if it is given up.
Later = Callable[[Callable[[], None], Callable[[], None]], None]

_INPUT_ADVICE = {
    errno.EACCES: "there is no permission to write here; choose another output folder or change its permissions",
    errno.EPERM: "there is no permission to write here; choose another output folder or change its permissions",
    errno.EROFS: "the file system is read-only; choose another output folder",
    errno.ENOENT: "the folder does not exist; make it or choose another output folder",
    errno.ENOTDIR: "part of the path is a file, not a folder; choose another output folder",
    errno.EISDIR: "a folder has this name; choose another file name",
    errno.EEXIST: "a file has this name; choose another output folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}
_RUN_ADVICE = {
    errno.ENOSPC: "the disc is full; free some space and start again",
    errno.EDQUOT: "the disc quota is used up; free some space and start again",
    errno.EFBIG: "the file is larger than this process may write; raise `ulimit -f` and start again",
}


def write_error(path: Path, error: OSError) -> InputError | RunError:
    """The error to raise when writing `path` failed: what happened and what to do, in one sentence."""
    code = error.errno or 0
    if code in _INPUT_ADVICE:
        return InputError(f"cannot write {path}: {_INPUT_ADVICE[code]}")
    advice = _RUN_ADVICE.get(code, f"{error.strerror or error}; check the disc and start again")
    return RunError(f"cannot write {path}: {advice}")


@contextmanager
def atomic_path(path: str | os.PathLike[str], later: Later | None = None) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`, and rename it to `path` when the block ends well.

    The temporary name keeps the suffix, is hidden and is the same each time, so that what a killed process left
    behind is overwritten by the next one. A path has one writer at a time.

    Parameters
    ----------
    path : path
    later : callable, optional
        Takes the end of the work, which waits for the disc and then renames; by default it is done with the block.

    Raises
    ------
    InputError
        If the folder does not exist or cannot be written, or `path` is a device or a pipe, which would be replaced.
    RunError
        If the disc is full or fails. Nothing is left behind and an older file at `path` is intact.
    """
    path = Path(path)
    if _is_device(path):
        raise InputError(f"cannot write {path}: it is a device or a pipe; give the name of a file")
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        with writing(path, temporary):
            yield temporary
    except BaseException:
        _remove(temporary)
        raise
    if later is None:
        _appear(path, temporary)
    else:
        later(partial(_appear, path, temporary), partial(_remove, temporary))


def _is_device(path: Path) -> bool:
    """Whether it is there and neither a file nor a folder, or stands for what the process has open (/dev/stdout)."""
    with suppress(OSError):
        if path.is_symlink() and os.readlink(path).startswith("/proc/"):
            return True
        return path.exists() and not path.is_file() and not path.is_dir()
    return False


def _appear(path: Path, temporary: Path) -> None:
    """Make the temporary file durable under its final name."""
    try:
        with writing(path, temporary):
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
    except BaseException:
        _remove(temporary)
        raise


@contextmanager
def atomic_path_of_ranks(comm: Comm, path: str | os.PathLike[str], later: Later | None = None) -> Iterator[Path]:
    """`atomic_path` for a file that the ranks write together: the temporary file is there, empty. Collective.

    The block must end in the same way on all ranks (`pycryo.parallel.collective_errors.on_all`); so do errors here.
    `later` is called on rank 0.
    """
    with ExitStack() as stack:

        def create() -> Path:
            temporary = stack.enter_context(atomic_path(path, later))
            with writing(path, temporary):
                temporary.write_bytes(b"")
            return temporary

        yield on_root(comm, create)
        on_root(comm, stack.close)


@contextmanager
def writing(path: str | os.PathLike[str], temporary: Path) -> Iterator[None]:
    """Raise errors of the system about `temporary` as those of `path`, see `write_error`."""
    try:
        yield
    except OSError as error:
        if error.filename in (None, str(temporary), temporary):
            raise write_error(Path(path), error) from error
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file atomically; errors as in `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file atomically; errors as in `atomic_path`."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def check_writable_folder(path: str | os.PathLike[str]) -> Path:
    """Make the folder if needed and prove by a small file that it can be written.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError, RunError
        As `atomic_path`, naming the folder.
    """
    folder = Path(path)
    probe = folder / ".pycryo.tmp"  # the same each time: what a killed process left behind goes with the next
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"pycryo")
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        _remove(probe)
    return folder


def _remove(path: Path) -> None:
    with suppress(OSError):  # the folder itself may be unreachable; the first error is the one to tell
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
