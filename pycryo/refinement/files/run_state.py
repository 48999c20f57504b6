"""How a run in a folder stands, from the files that it writes anyway: run.json, run.log, its lock and its marks.

Nothing is written or locked, and all of it may be replaced while it is read.
"""

from __future__ import annotations

import math
import os
import platform
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycryo.errors import InputError
from pycryo.io.json_file import read_object
from pycryo.refinement.files.job import ABORTED, FAILURE, LOG_NAME, SUCCESS
from pycryo.refinement.files.lock import LOCK_NAME, SILENCE

RUNNING, FINISHED, FAILED, STOPPED, STALLED, DEAD = "running", "finished", "failed", "stopped", "stalled", "dead"
_MARKS = {SUCCESS: FINISHED, FAILURE: FAILED, ABORTED: STOPPED}
# Bytes of the end of run.log that are read, and messages that are kept.
_LOG_BYTES, _MOST_MESSAGES = 65536, 200
# Seconds, and longest iterations, without a word from which on a run counts as stalled.
_QUIET, _QUIET_ITERATIONS = 600.0, 5.0
_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) ([A-Z]+) +(.*)")


@dataclass(frozen=True, slots=True)
class Message:
    """A line of run.log: when it was written, at what level, and what it says."""

    when: str
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class IterationState:
    """Figures of an iteration from run.json, Å, degrees and seconds; None where there is none."""

    number: int
    stage: str
    resolution: float | None
    compared_to: float | None
    spread_rotation: float | None
    spread_shift: float | None
    pose_change: float | None
    seconds: float | None
    decision: str


@dataclass(frozen=True, slots=True)
class RunState:
    """How a run stands.

    Attributes
    ----------
    folder : Path
    state : str
        `RUNNING`; `STALLED`: alive, but without a word for long; `FINISHED`, `FAILED`, `STOPPED` by its mark; `DEAD`:
        ended without one.
    detail : str
        What the state means here.
    iterations : list of IterationState
    is_old : bool
        These are from before the process that runs now began.
    since : float or None
        Seconds since the last iteration was written, or the process began; None where no iteration is at work.
    messages : list of Message
        The last ones of run.log, oldest first.
    """

    folder: Path
    state: str
    detail: str
    iterations: list[IterationState]
    is_old: bool
    since: float | None
    messages: list[Message]

    @property
    def expected(self) -> float | None:
        """Seconds that the iteration at work takes if it takes as long as the last one; None where that is unknown."""
        if self.since is None or self.is_old or not self.iterations:
            return None
        return self.iterations[-1].seconds

    @property
    def is_over(self) -> bool:
        """Nothing more comes."""
        return self.state not in (RUNNING, STALLED)


def read_state(folder: Path) -> RunState:
    """How the run in a folder stands now.

    Raises
    ------
    InputError
        If there is no such folder, or no run has been in it.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: give the output folder of a refinement")
    now = time.time()
    mark = next((state for name, state in _MARKS.items() if (folder / name).exists()), None)
    lock = _lock(folder)
    changed = {name: _changed(folder / name) for name in ("run.json", LOG_NAME)}
    if mark is None and lock is None and not any(changed.values()):
        raise InputError(f"no run has been in {folder}: give the output folder of a refinement")
    iterations, is_done = _iterations(folder)
    messages = _messages(folder / LOG_NAME)
    written = max((each for each in changed.values() if each), default=now)
    is_old, since = False, None
    if mark is not None and lock is None:
        state, detail = mark, _MARKED[mark]
    elif lock is None:
        state, detail = (FINISHED, _MARKED[FINISHED]) if is_done else (DEAD, f"it ended without a word. {_GO_ON}")
    elif reason := _is_dead(lock, now):
        state, detail = DEAD, f"{reason}. {_GO_ON}"
    else:
        began = _seconds(lock.get("started"))
        is_old = bool(iterations and began and (changed["run.json"] or now) < began)
        # After the last iteration there are other files to write.
        since = None if is_done and not is_old else max(0.0, now - max(began or 0.0, changed["run.json"] or 0.0))
        silence, longest = now - written, max((each.seconds or 0.0 for each in iterations), default=0.0)
        state, detail = RUNNING, f"process {lock.get('process')} on {lock.get('node')}, since {lock.get('started')}"
        if silence > max(_QUIET, _QUIET_ITERATIONS * longest):
            state, detail = STALLED, f"{detail}; it has written nothing for {silence / 60:.0f} minutes"
    return RunState(folder, state, detail, iterations, is_old, since, messages)


_GO_ON = "The same command with --continue goes on from the last checkpoint"
_MARKED = {
    FINISHED: "the results are there",
    FAILED: "the last messages say why",
    STOPPED: f"it was interrupted. {_GO_ON}",
}


def _lock(folder: Path) -> dict[str, Any] | None:
    """What the lock's file says, with the time of its last touch; None if there is none. It is only read."""
    path = folder / LOCK_NAME
    touched = _changed(path)
    if touched is None:
        return None
    found: dict[str, Any] = {}
    with suppress(InputError):
        found = read_object(path, "")
    return found | {"touched": touched}


def _is_dead(lock: dict[str, Any], now: float) -> str:
    """Why the holder of a lock must be gone; empty if it is not."""
    process = lock.get("process")
    if lock.get("node") == platform.node() and isinstance(process, int):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return f"its process, {process}, is gone"
        except (OSError, OverflowError):  # somebody else's
            pass
    silence = now - lock["touched"]
    if silence > SILENCE:
        return f"its process on {lock.get('node')} has given no sign of life for {silence / 60:.0f} minutes"
    return ""


def _iterations(folder: Path) -> tuple[list[IterationState], bool]:
    """Those of run.json, and whether it is that of a finished run; what cannot be read is left out."""
    try:
        told = read_object(folder / "run.json", "")
    except InputError:
        return [], False
    field = _number(told.get("box")), _number(told.get("pixel_size"))
    found, listed = [], told.get("iterations")
    for each in listed if isinstance(listed, list) else []:
        if not isinstance(each, dict) or not isinstance(each.get("number"), int):
            continue
        r_high = _number(each.get("r_high"))
        seconds = each.get("seconds")
        found.append(
            IterationState(
                number=each["number"],
                stage=str(each.get("stage", "")),
                resolution=_number(each.get("resolution")),
                compared_to=field[0] * field[1] / r_high if field[0] and field[1] and r_high else None,
                spread_rotation=_number(each.get("spread_rotation")),
                spread_shift=_number(each.get("spread_shift")),
                pose_change=_number(each.get("pose_change")),
                seconds=_number(seconds.get("total")) if isinstance(seconds, dict) else None,
                decision=str(each.get("decision", "")),
            )
        )
    return found, told.get("status") == "done"


def _messages(path: Path) -> list[Message]:
    """The last ones; lines that follow one, such as a traceback's, are part of it."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            start = max(0, file.tell() - _LOG_BYTES)
            file.seek(start)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    found: list[Message] = []
    for line in lines[1 if start else 0 :]:
        # Nothing of a log may move the terminal's cursor.
        clean = "".join(char if char.isprintable() else " " for char in line)
        if match := _LINE.fullmatch(clean):
            found.append(Message(*match.groups()))
        elif found:
            found.append(Message(found[-1].when, found[-1].level, clean))
    return found[-_MOST_MESSAGES:]


def _changed(path: Path) -> float | None:
    """When a file was last written; None if it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _seconds(text: Any) -> float | None:
    """The time that a lock's file gives, as seconds."""
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S"))
    except (TypeError, ValueError, OverflowError):
        return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
