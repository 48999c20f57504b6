"""Whole commands, start-up included, against RELION's where they are on the PATH."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from pycryo.benchmark.cases import Case, Skipped
from pycryo.benchmark.limits import Limit
from pycryo.benchmark.script import main
from pycryo.io.mrc import write_map
from pycryo.threads import get_threads

BOX, PIXEL_SIZE, N_IMAGE = 128, 1.5, 1000


def call(command: Sequence[str]) -> None:
    """Run a command quietly.

    Raises
    ------
    CalledProcessError
        If it fails.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(get_threads())}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def rows(name: str, ours: Sequence[str], rival: Sequence[str]) -> list[Case | Skipped]:
    """Images per second of our command and of the rival's, which is skipped where it is not installed."""
    mine: Callable[[], None] = partial(call, [sys.executable, "-m", "pycryo", *ours])
    row = Case(f"command: {name}", mine, N_IMAGE, "image/s")
    program = rival[0]
    if shutil.which(program) is None:
        return [row, Skipped(f"rival: {program}", "it is not on the PATH")]
    limit = Limit("pycryo", mine, N_IMAGE, "image/s")
    return [row, Case(f"rival: {program}", partial(call, rival), N_IMAGE, "image/s", limit)]


def cases() -> list[Case | Skipped]:
    """1000 projections of a 128 px map, and the map of 1000 particles of 128 px with their CTF."""
    folder = tempfile.TemporaryDirectory(prefix="pycryo-bench-")
    atexit.register(folder.cleanup)
    path = Path(folder.name)
    line = np.arange(BOX) - BOX // 2
    radius = np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2)
    noise = np.random.default_rng(0).standard_normal((BOX, BOX, BOX), dtype=np.float32)
    source, stack = str(path / "map.mrc"), str(path / "particles.mrcs")
    write_map(source, (np.exp(-((radius / 30) ** 2)) * (1 + 0.2 * noise)).astype(np.float32), PIXEL_SIZE)
    views = ["--random", str(N_IMAGE), "--ctf", "--out", stack]
    call([sys.executable, "-m", "pycryo", "project", source, *views])
    star = str(path / "particles.star")
    threads = str(get_threads())
    ours = ["project", source, "--poses", star, "--ctf", "--out", str(path / "ours.mrcs")]
    theirs = ["relion_project", "--i", source, "--o", str(path / "theirs"), "--ang", star, "--ctf"]
    found = rows("project", ours, [*theirs, "--angpix", str(PIXEL_SIZE)])
    ours = ["reconstruct", star, "--out", str(path / "ours.mrc")]
    theirs = ["relion_reconstruct", "--i", star, "--o", str(path / "theirs.mrc"), "--ctf", "--j", threads]
    found += rows("reconstruct", ours, theirs)
    return found


if __name__ == "__main__":
    raise SystemExit(main(cases()))
