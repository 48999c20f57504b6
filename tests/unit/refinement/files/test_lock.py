"""One run at a time in a folder, and no results lost."""

import errno
import fcntl
import json
import os
import platform
import subprocess
import sys
import time

import pytest

from pycryo.errors import InputError, RunError
from pycryo.refinement.files import lock as module
from pycryo.refinement.files.job import SUCCESS, JobFolder
from pycryo.refinement.files.lock import LOCK_NAME, FolderLock

HOLDER = """
import sys, pathlib
from pycryo.refinement.files.lock import FolderLock
lock = FolderLock.take(pathlib.Path(sys.argv[1]))
print("taken", flush=True)
sys.stdin.read()
"""


def holder(folder):
    """Another process that holds the lock, until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "taken\n"
    return process


def test_another_process_is_named_and_its_end_noticed(tmp_path):
    with holder(tmp_path) as process:
        with pytest.raises(InputError, match=f"another run works in .*process {process.pid} on {platform.node()}"):
            FolderLock.take(tmp_path)
        process.kill()
    lock = FolderLock.take(tmp_path)  # what a killed process leaves behind keeps nobody out
    with pytest.raises(InputError, match="another run works"):
        FolderLock.take(tmp_path)
    lock.release()
    assert not list(tmp_path.iterdir())
    FolderLock.take(tmp_path).release()


def written(folder, node, age):
    path = folder / LOCK_NAME
    path.write_text(json.dumps({"node": node, "process": 7, "started": "then"}))
    os.utime(path, (time.time() - age,) * 2)


@pytest.mark.parametrize("has_locks", [True, False])
def test_other_nodes_are_known_by_their_touch(tmp_path, monkeypatch, has_locks):
    """Where locks do not travel: a file touched of late belongs to somebody, an old one to nobody."""
    if not has_locks:

        def refuse(*_):
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(fcntl, "flock", refuse)
    written(tmp_path, "other-node", 30)
    with pytest.raises(InputError, match=r"process 7 on other-node, since then.* 2 minutes"):
        FolderLock.take(tmp_path)
    written(tmp_path, "other-node", 1000)
    FolderLock.take(tmp_path).release()
    assert not list(tmp_path.iterdir())


def test_the_holder_touches_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BEAT", 0.01)
    lock = FolderLock.take(tmp_path)
    os.utime(lock.path, (0, 0))
    end = time.monotonic() + 10
    while lock.path.stat().st_mtime == 0 and time.monotonic() < end:
        time.sleep(0.01)
    assert lock.path.stat().st_mtime > 0
    lock.release()


@pytest.mark.parametrize("text", ["", "{", "[1]", "x" * 10_000])
def test_any_content_of_a_file_that_nobody_holds(tmp_path, text):
    (tmp_path / LOCK_NAME).write_text(text)
    FolderLock.take(tmp_path).release()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / LOCK_NAME).mkdir()
    with pytest.raises((InputError, RunError), match="cannot write"):
        FolderLock.take(tmp_path)


def test_a_full_disc_is_told(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(json, "dump", fail)
    with pytest.raises(RunError, match=f"{LOCK_NAME}: the disc is full"):
        FolderLock.take(tmp_path)
    monkeypatch.undo()
    FolderLock.take(tmp_path).release()


def test_results_are_not_overwritten(tmp_path):
    (tmp_path / SUCCESS).write_text("")
    with pytest.raises(InputError, match="finished run: choose another folder"):
        JobFolder.prepare(tmp_path, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == [SUCCESS]
    _, lock = JobFolder.prepare(tmp_path, overwrite=True)
    lock.release()
    state = tmp_path / "state"
    state.write_text("")
    with pytest.raises(InputError, match="add --continue to go on with it, or --overwrite"):
        JobFolder.prepare(tmp_path, overwrite=False, checkpoint=state)
    _, lock = JobFolder.prepare(tmp_path, overwrite=False, checkpoint=tmp_path / "none")
    lock.release()


def test_a_lock_is_released_once(tmp_path):
    """A command releases it when it leaves the folder, and again at its end, when the next run may be there."""
    first = FolderLock.take(tmp_path)
    first.release()
    second = FolderLock.take(tmp_path)
    first.release()
    assert (tmp_path / LOCK_NAME).exists()
    second.release()
    assert not (tmp_path / LOCK_NAME).exists()
