"""How a run in a folder stands, by its lock, its marks and its files; nothing of it is touched."""

import json
import os
import platform
import subprocess
import sys
import time

import pytest

from pycryo.errors import InputError
from pycryo.refinement.files import run_state
from pycryo.refinement.files.job import ABORTED, FAILURE, LOG_NAME, SUCCESS
from pycryo.refinement.files.lock import LOCK_NAME, FolderLock
from pycryo.refinement.files.run_state import DEAD, FAILED, FINISHED, RUNNING, STALLED, STOPPED, read_state


def iteration(number, **others):
    figures = {"number": number, "stage": "global", "r_high": 8.0, "resolution": 20.0 - number, "spread_rotation": 2.0}
    figures |= {"spread_shift": 1.0, "pose_change": None, "seconds": {"total": 30.0}, "decision": f"go on {number}"}
    return figures | others


def write_run(folder, n=2, status="running", age=0.0):
    told = {"status": status, "box": 32, "pixel_size": 4.0, "iterations": [iteration(k) for k in range(1, n + 1)]}
    (folder / "run.json").write_text(json.dumps(told), "utf-8")
    stamp(folder / "run.json", age)


def write_log(folder, *lines, age=0.0):
    (folder / LOG_NAME).write_text("".join(f"2026-11-30 10:00:0{k} {line}\n" for k, line in enumerate(lines)), "utf-8")
    stamp(folder / LOG_NAME, age)


def stamp(path, age):
    then = time.time() - age
    os.utime(path, (then, then))


def write_lock(folder, *, node=None, process=None, started=60.0, age=0.0):
    """The lock of this process, or of another one."""
    told = {"node": node or platform.node(), "process": os.getpid() if process is None else process}
    told["started"] = time.strftime("%F %T", time.localtime(time.time() - started))
    (folder / LOCK_NAME).write_text(json.dumps(told), "utf-8")
    stamp(folder / LOCK_NAME, age)


def gone():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_figures_of_a_run_at_work(tmp_path):
    write_run(tmp_path, age=10)
    write_log(tmp_path, "INFO    one", "WARNING two")
    write_lock(tmp_path)
    state = read_state(tmp_path)
    assert (state.state, state.is_over, state.is_old) == (RUNNING, False, False)
    assert f"process {os.getpid()} on {platform.node()}" in state.detail
    first, last = state.iterations
    assert (first.number, last.number, last.stage, last.resolution) == (1, 2, "global", 18.0)
    assert last.compared_to == pytest.approx(32 * 4 / 8)
    assert (last.pose_change, last.seconds, last.decision) == (None, 30.0, "go on 2")
    assert state.since == pytest.approx(10, abs=5)
    assert state.expected == 30.0
    assert [(each.level, each.text) for each in state.messages] == [("INFO", "one"), ("WARNING", "two")]


@pytest.mark.parametrize("mark, expected", [(SUCCESS, FINISHED), (FAILURE, FAILED), (ABORTED, STOPPED)])
def test_marks_tell_how_it_ended(tmp_path, mark, expected):
    write_run(tmp_path)
    (tmp_path / mark).touch()
    state = read_state(tmp_path)
    assert (state.state, state.is_over, state.since) == (expected, True, None)
    # A new run in the folder takes the mark away after it has locked it.
    write_lock(tmp_path)
    assert read_state(tmp_path).state == RUNNING


def test_an_end_without_mark(tmp_path):
    write_run(tmp_path)
    assert read_state(tmp_path).state == DEAD
    write_run(tmp_path, status="done")
    assert read_state(tmp_path).state == FINISHED


def test_a_dead_holder_of_the_lock(tmp_path):
    write_run(tmp_path)
    write_lock(tmp_path, process=gone())
    state = read_state(tmp_path)
    assert state.state == DEAD
    assert "is gone" in state.detail
    assert "--continue" in state.detail
    # Of another node nothing is known but that it touches its lock.
    write_lock(tmp_path, node="elsewhere", process=1, age=30)
    assert read_state(tmp_path).state == RUNNING
    write_lock(tmp_path, node="elsewhere", process=1, age=500)
    state = read_state(tmp_path)
    assert state.state == DEAD
    assert "no sign of life for 8 minutes" in state.detail


def test_a_silent_run_is_stalled(tmp_path):
    write_run(tmp_path, age=3000)
    write_lock(tmp_path, started=4000)
    state = read_state(tmp_path)
    assert (state.state, state.is_over) == (STALLED, False)
    assert "nothing for 50 minutes" in state.detail
    write_log(tmp_path, "INFO    still here", age=30)
    assert read_state(tmp_path).state == RUNNING


def test_iterations_from_before_a_new_start(tmp_path):
    write_run(tmp_path, age=3000)
    write_log(tmp_path, "INFO    begins", age=1)
    write_lock(tmp_path, started=20)
    state = read_state(tmp_path)
    assert state.is_old
    assert state.expected is None
    assert state.since == pytest.approx(20, abs=5)


def test_after_the_last_iteration(tmp_path):
    """Its mark comes when the report is there."""
    write_run(tmp_path, status="done", age=1)
    write_lock(tmp_path)
    state = read_state(tmp_path)
    assert (state.state, state.since, state.expected) == (RUNNING, None, None)
    # With --overwrite a new run begins in the folder of a finished one.
    write_run(tmp_path, status="done", age=300)
    assert read_state(tmp_path).since == pytest.approx(60, abs=5)


def test_before_the_first_iteration(tmp_path):
    write_lock(tmp_path)
    state = read_state(tmp_path)
    assert (state.state, state.iterations, state.messages, state.expected) == (RUNNING, [], [], None)


def test_no_run(tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        read_state(tmp_path / "none")
    with pytest.raises(InputError, match="no run has been in"):
        read_state(tmp_path)


def test_messages(tmp_path):
    text = "2026-11-30 10:00:00 ERROR   it failed\nTraceback\n  \x1b[2Jline\n2026-11-30 10:00:01 INFO    x\xe9\n"
    (tmp_path / LOG_NAME).write_bytes(b"no line of a log\n" + text.encode() + b"2026-11-30 10:00:02 INFO    \xff\n")
    found = read_state(tmp_path).messages
    assert [each.text for each in found] == ["it failed", "Traceback", "   [2Jline", "x\xe9", "\ufffd"]
    assert [each.level for each in found] == ["ERROR"] * 3 + ["INFO"] * 2


def test_of_a_long_log_the_end_is_read(tmp_path):
    lines = "".join(f"2026-11-30 10:00:00 INFO    message {k}\n" for k in range(20_000))
    (tmp_path / LOG_NAME).write_text(lines, "utf-8")
    found = read_state(tmp_path).messages
    assert [each.text for each in found] == [f"message {k}" for k in range(20_000 - len(found), 20_000)]
    assert len(found) == run_state._MOST_MESSAGES


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "{",
            "[]",
            '{"iterations": 7}',
            '{"iterations": [7, {}, {"number": "1"}]}',
            '{"iterations": [{"number": 1}]}',
        ),
        '{"box": "a", "iterations": [{"number": 1, "r_high": 0, "seconds": 3, "resolution": "x", "decision": null}]}',
    ],
)
def test_spoiled_files_do_not_end_the_watching(tmp_path, text):
    (tmp_path / "run.json").write_text(text, "utf-8")
    write_lock(tmp_path)
    assert read_state(tmp_path).state == RUNNING
    for lock in ("", "7", '{"node": 7, "process": "x", "started": 1e99}'):
        (tmp_path / LOCK_NAME).write_text(lock, "utf-8")
        assert read_state(tmp_path).state == RUNNING


def test_the_lock_is_left_alone(tmp_path):
    lock = FolderLock.take(tmp_path)
    before = (tmp_path / LOCK_NAME).read_text("utf-8")
    assert read_state(tmp_path).state == RUNNING
    assert (tmp_path / LOCK_NAME).read_text("utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_NAME]
    with pytest.raises(InputError, match="another run works"):
        FolderLock.take(tmp_path)
    lock.release()
    FolderLock.take(tmp_path).release()
