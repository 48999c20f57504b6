"""Refinements that are killed at random moments, continued by other numbers of ranks, and must lose nothing.

    cd tests && python -m chaos.trials --trials 50 --seed 1

Each trial disturbs a short refinement in one of the ways of `WAYS`, perhaps a second time after it was continued, and
lets it end; its files must be those of an undisturbed run, bit for bit. Nothing may hang, live on or be half written in
between. Prints a line for each trial and a table; all files are in a temporary folder. Exit code 1 if a trial failed.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chaos.folders import differences, half_files, make_data, refine_words, temporary_files
from chaos.processes import Run

# Way to disturb a run -> trials of each 50.
WAYS = {
    "SIGKILL of a rank": 15,
    "SIGKILL of a rank while a file is written": 14,
    "SIGKILL of the launcher": 5,
    "SIGTERM of the launcher": 5,
    "SIGTERM of a rank": 3,
    "full disc": 5,
    "limit of the size of files": 3,
}
# Seconds: a run that takes longer hangs; processes of one that has ended must be gone so soon.
LIMIT, GRACE = 60.0, 10.0
# Bytes of the small disc. What a run leaves are 1.5 MB.
DISC = (50_000, 1_400_000)
ENDS_WELL = {"SIGTERM of the launcher": 143, "SIGTERM of a rank": 143, "full disc": 1, "limit of the size of files": 1}


@dataclass(slots=True)
class Trial:
    """One refinement, disturbed and continued."""

    way: str
    random: random.Random
    data: Path
    folder: Path
    lines: int
    wrong: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.folder / "disc" / "run"

    def go(self, expected: Path) -> None:
        """Disturb, continue and compare."""
        self.out.parent.mkdir(parents=True)
        with small_disc(self.out.parent, self.random.randint(*DISC)) if self.way == "full disc" else no_disc() as grow:
            self.disturb(self.way, 1 if self.way == "limit of the size of files" else self.random.choice((2, 3)))
            grow()
            if self.random.random() < 0.4:
                self.disturb("SIGKILL of a rank", self.random.choice((1, 2, 3)))
            size = self.random.choice((1, 2, 3))
            self.start(size)
            self.story.append(f"to the end on {size}")
            code, wrong = self.run.wait(LIMIT, GRACE)
            self.wrong += wrong + ([] if code == 0 else [f"exit code {code} of the last run"])
            self.wrong += differences(self.out, expected) + half_files(self.out)
        if self.wrong:
            self.story.append(self.run.output.read_text("utf-8", "replace"))

    run: Run = field(init=False)

    def start(self, size: int, file_limit: int | None = None) -> None:
        """A run that goes on where one stands."""
        words = refine_words(self.data, self.out)
        # A finished run has no checkpoint any more, and says so.
        if (self.out / "checkpoint" / "state.h5").exists() or (self.out / "RELION_JOB_EXIT_SUCCESS").exists():
            words.append("--continue")
        self.run = Run(words, size, self.folder / "output")
        self.run.start(file_limit)

    def disturb(self, way: str, size: int) -> None:
        """Start or continue a run and end it in this way at a random moment."""
        is_limited = way == "limit of the size of files"
        self.start(size, self.random.randint(2_000, 350_000) if is_limited else None)
        moment = self.wait_for_moment()
        if way == "SIGKILL of a rank while a file is written":
            while self.run.is_running() and not temporary_files(self.out):
                time.sleep(0.0003)
        rank = self.random.randrange(size)
        if way.startswith("SIGKILL of a rank"):
            self.run.kill(rank)
        elif way == "SIGTERM of a rank":
            self.run.kill(rank, signal.SIGTERM)
        elif way.endswith("of the launcher"):
            self.run.process.send_signal(signal.SIGKILL if "KILL" in way else signal.SIGTERM)
        code, wrong = self.run.wait(LIMIT, GRACE)
        self.story.append(f"{way} {rank if way.endswith(('rank', 'written')) else ''} of {size} {moment} -> {code}")
        self.wrong += wrong + half_files(self.out) + self.check_end(way, code)

    def wait_for_moment(self) -> str:
        """Until the log has a random number of lines, and some more."""
        log, before = self.out / "run.log", count_lines(self.out / "run.log")
        lines, more = self.random.randrange(self.lines + 1), self.random.uniform(0, 0.15)
        self.run.find_ranks()
        while self.run.is_running() and count_lines(log) - before < lines:
            time.sleep(0.002)
        time.sleep(more)
        return f"after {lines} lines + {more:.2f} s"

    def check_end(self, way: str, code: int | None) -> list[str]:
        """What is wrong with a disturbed run's exit code, message and mark."""
        told = self.run.told()
        marks = [path.name for path in self.out.glob("RELION_JOB_EXIT_*")]
        if code == 0:
            return [] if marks == ["RELION_JOB_EXIT_SUCCESS"] else [f"marks {marks} of a run that had ended"]
        wrong = ["a traceback was printed"] if any("Traceback" in line for line in told) else []
        sentences = [line for line in told if line.startswith("pycryo refine: ")]
        if way not in ENDS_WELL:
            return wrong + [f"said: {line}" for line in sentences if "should not happen" in line]
        begun = (self.out / "run.log").exists() and "rank(s) ×" in (self.out / "run.log").read_text("utf-8", "replace")
        if not begun and way.startswith("SIGTERM"):
            return wrong  # it came before pycryo could listen
        if code != ENDS_WELL[way]:
            wrong.append(f"exit code {code}, not {ENDS_WELL[way]}")
        if len(sentences) != 1:
            wrong.append(f"{len(sentences)} messages, not one: {sentences}")
        if way.startswith("SIGTERM") and marks != ["RELION_JOB_EXIT_ABORTED"]:
            wrong.append(f"marks {marks}")
        if code == 1 and not any(str(self.out) in line for line in sentences):
            wrong.append(f"no path is named: {sentences}")
        if wrong:
            wrong.append("\n".join(told))
        return wrong


@contextlib.contextmanager
def small_disc(folder: Path, size: int) -> Iterator[object]:
    """A file system of `size` bytes at `folder`; gives what makes it large."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "pycryo-chaos", folder], check=True)
    grow = ["mount", "-o", "remount,size=64m", str(folder)]
    try:
        yield lambda: subprocess.run(grow, check=True)
    finally:
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def no_disc() -> Iterator[object]:
    yield lambda: None


def can_mount(folder: Path) -> bool:
    """Whether this user may make a small disc."""
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "pycryo-chaos", str(folder)]
    with contextlib.suppress(OSError):
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            subprocess.run(["umount", str(folder)], check=True)
            return True
    return False


def count_lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def plan(trials: int, can_fill: bool) -> list[str]:
    """The way of each trial."""
    ways = [way for way, count in WAYS.items() for _ in range(count)]
    spread = [ways[number * len(ways) // trials % len(ways)] for number in range(trials)]
    return [way if can_fill or way != "full disc" else "limit of the size of files" for way in spread]


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill refinements at random moments and continue them.")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="trials whose way has this word")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no disc behind
    done: Counter[tuple[str, bool]] = Counter()
    with tempfile.TemporaryDirectory(prefix="pycryo-chaos-") as root:
        folder, data = Path(root), Path(root) / "data"
        make_data(data)
        whole = Run(refine_words(data, folder / "whole"), 1, folder / "output")
        whole.start()
        if whole.wait(LIMIT, GRACE) != (0, []):
            print("\n".join(whole.told()))
            return 1
        lines = count_lines(folder / "whole" / "run.log")
        for number, way in enumerate(plan(args.trials, can_mount(data)), 1):
            if args.only not in way:
                continue
            # A string: the trial is the same whichever others are chosen.
            trial = Trial(way, random.Random(f"{args.seed}-{number}"), data, folder / f"trial{number}", lines)
            trial.go(folder / "whole")
            done[way, not trial.wrong] += 1
            print(f"{number:3d} {'failed' if trial.wrong else 'ok':6s} {'; '.join(trial.story)}", flush=True)
            for each in trial.wrong:
                print(f"    {each}", flush=True)
    good = sum(count for (_, is_good), count in done.items() if is_good)
    print(f"\n{'way':45s} trials  good")
    for way in WAYS:
        if total := done[way, True] + done[way, False]:
            print(f"{way:45s} {total:6d} {done[way, True]:5d}")
    print(f"{good} of {sum(done.values())}")
    return 0 if good == sum(done.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
