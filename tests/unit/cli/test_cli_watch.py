"""Command `watch`: one frame, a run followed to its end, and how the watching ends."""

import io
import json
import os
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from pycryo.cli.commands import watch
from pycryo.cli.main import main
from pycryo.refinement.files.job import FAILURE, LOG_NAME, SUCCESS
from pycryo.refinement.files.lock import LOCK_NAME, FolderLock
from pycryo.refinement.files.run_state import IterationState, Message, RunState, read_state


def write_run(folder, n, status="running"):
    each = {"stage": "local", "r_high": 8.0, "spread_rotation": 2.0, "spread_shift": 1.0, "pose_change": 0.5}
    iterations = [
        each | {"number": k, "resolution": 9.0 + (k - 2) ** 2, "seconds": {"total": 70.0}, "decision": f"go on {k}"}
        for k in range(1, n + 1)
    ]
    told = {"status": status, "box": 32, "pixel_size": 4.0, "iterations": iterations}
    temporary = folder / ".run.tmp.json"
    temporary.write_text(json.dumps(told), "utf-8")
    temporary.replace(folder / "run.json")


def say(folder, level, text):
    with open(folder / LOG_NAME, "a", encoding="utf-8") as file:
        file.write(f"2026-11-30 10:00:00 {level:<7} {text}\n")


def test_once(tmp_path, capsys):
    write_run(tmp_path, 3, "done")
    say(tmp_path, "WARNING", "odd images")
    (tmp_path / SUCCESS).touch()
    assert main(["watch", str(tmp_path), "--once"]) == 0
    text = capsys.readouterr().out
    for words in (
        "state       finished: the results are there",
        "iteration   3 is done, local stage",
        "resolution  10.00 Å, best 9.00 Å in iteration 2",
        "time        3:30 min in all iterations",
        "decision    go on 3",
        "iteration 3 (local): resolution 10.00 Å, compared to 16.00 Å, spread 2.00° 1.00 Å, poses moved 0.50°",
        "2026-11-30 10:00:00 WARNING: odd images",
    ):
        assert words in text
    assert "now  " not in text


def test_once_at_work_and_after_a_failure(tmp_path, capsys):
    lock = FolderLock.take(tmp_path)
    write_run(tmp_path, 3)
    assert main(["watch", str(tmp_path), "--once"]) == 0
    text = capsys.readouterr().out
    assert f"state       running: process {os.getpid()}" in text
    assert "now         iteration 4 for 0." in text
    assert "[" + "." * 30 + "] 0 % about 1:" in text
    lock.release()
    (tmp_path / FAILURE).touch()
    assert main(["watch", str(tmp_path), "--once"]) == 1
    assert "state       failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, text",
    [(["none"], "there is no folder"), (["."], "no run has been"), ([".", "--interval", "0"], "--interval must be")],
)
def test_wrong_use(tmp_path, monkeypatch, capsys, words, text):
    monkeypatch.chdir(tmp_path)
    assert main(["watch", *words]) == 2
    assert text in capsys.readouterr().err


def test_a_run_is_followed_to_its_end_in_lines(tmp_path, capsys):
    lock = FolderLock.take(tmp_path)
    write_run(tmp_path, 1)

    def go_on():
        time.sleep(0.3)
        write_run(tmp_path, 2)
        say(tmp_path, "INFO", "of no interest")
        say(tmp_path, "WARNING", "odd images")
        time.sleep(0.3)
        write_run(tmp_path, 3, "done")
        lock.release()
        time.sleep(0.1)  # between its end and its mark
        (tmp_path / SUCCESS).touch()

    run = threading.Thread(target=go_on)
    run.start()
    code = main(["watch", str(tmp_path), "--interval", "0.1"])
    run.join()
    first, *lines = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert code == 0
    assert first.startswith("iteration 1 ")
    assert [line.split(":")[0] for line in lines if "odd" not in line] == [
        "iteration 2 (local)",
        "iteration 3 (local)",
        "finished",
    ]
    assert sum("WARNING: odd images" in line for line in lines) == 1
    assert not any("of no interest" in line for line in lines)


def test_ctrl_c_ends_the_watching_quietly(tmp_path, monkeypatch, capsys):
    lock = FolderLock.take(tmp_path)
    write_run(tmp_path, 1)

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", interrupt)
    assert main(["watch", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""
    lock.release()


def test_a_reader_that_has_seen_enough(tmp_path):
    """As `pycryo watch | head` does."""
    write_run(tmp_path, 2, "done")
    ours, theirs = os.pipe()
    os.close(ours)
    words = [sys.executable, "-m", "pycryo", "watch", str(tmp_path), "--once"]
    found = subprocess.run(words, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no terminals here")
def test_on_a_terminal(tmp_path):
    """In a terminal of its own: a frame, then the end; sequences that move the cursor are rich's."""
    write_run(tmp_path, 2)
    (tmp_path / FAILURE).touch()
    ours, theirs = os.openpty()
    words = [sys.executable, "-m", "pycryo", "watch", str(tmp_path)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(words, stdout=theirs, stdin=subprocess.DEVNULL, env=environment) as process:
        assert process.wait(60) == 1
    os.close(theirs)
    text = os.read(ours, 1 << 20).decode("utf-8", "replace")
    os.close(ours)
    assert "pycryo watch" in text
    assert "failed" in text
    assert "\x1b[" in text


def state(**changes):
    each = IterationState(4, "global", None, None, 2.0, None, None, None, "")
    message = Message("2026-11-30 10:00:00", "ERROR", "[bold]not markup[/bold] \u2028 " + "x" * 300)
    given = {"folder": "run", "state": "running", "detail": "here", "iterations": [each], "is_old": False}
    return RunState(**(given | {"since": 5.0, "messages": [message]} | changes))


def test_pictures_of_all_states():
    """Nothing is taken for markup; what is unknown is a dash; lines fit the terminal."""
    console = Console(width=100, record=True, file=io.StringIO())
    for name in ("running", "stalled", "finished", "failed", "stopped", "dead"):
        console.print(watch.picture(state(state=name)))
    text = console.export_text()
    assert text.count("[bold]not markup[/bold]") == 6
    assert max(len(line) for line in text.splitlines()) <= 100
    assert text.count("Ctrl-C ends the watching") == 2
    assert "resolution - Å" in watch.plain(state())
    assert "none is done yet" in watch.plain(state(iterations=[], messages=[]))


@pytest.mark.parametrize("since, text", [(15.0, "50 % about 15.0 s to go"), (45.0, "100 % longer than the last one")])
def test_bar(since, text):
    each = IterationState(4, "global", 9.0, 8.0, 2.0, 1.0, 0.1, 30.0, "")
    facts = dict(watch.facts(state(iterations=[each], since=since)))
    assert facts["now"].endswith(text)
    assert "before this start" in dict(watch.facts(state(iterations=[each], is_old=True)))["iteration"]


@pytest.mark.parametrize(
    "seconds, text", [(None, "-"), (7.25, "7.2 s"), (187, "3:07 min"), (3599.7, "1:00:00 h"), (7387, "2:03:07 h")]
)
def test_clock(seconds, text):
    assert watch._clock(seconds) == text


def test_a_run_of_this_program_can_be_watched(tiny_set, tmp_path, capsys):
    """The files that refine writes are those that are read."""
    out = tmp_path / "run"
    words = ["refine", str(tiny_set / "particles.star"), "--ref", str(tiny_set / "init40A.mrc"), "--out", str(out)]
    assert main([*words, "--max-iter", "2", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["watch", str(out), "--once"]) == 0
    text = capsys.readouterr().out
    found = read_state(out)
    assert [each.number for each in found.iterations] == [1, 2]
    assert "finished" in text
    assert f"{found.iterations[-1].resolution:.2f} Å" in text
    assert "report" in text
    assert not (out / LOCK_NAME).exists()
