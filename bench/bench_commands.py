"""Whole commands, start-up included; those of RELION, where they are on the PATH, on the same files.

The two programs of RELION have no threads, so pycryo is held against them with one thread, too. Both pad twice.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from pycryo.benchmark.cases import Case, Skipped
from pycryo.benchmark.limits import Limit
from pycryo.benchmark.script import main
from pycryo.io.mrc import read_map, write_map
from pycryo.io.mrc_stacks import read_stack
from pycryo.maps.fsc import fsc
from pycryo.threads import get_threads

BOX, PIXEL_SIZE = 128, 1.5
# RELION's time for a map is that of its gridding, whatever the number of images is: pycryo's advantage shrinks with it.
N_PROJECT, N_RECONSTRUCT = 4000, 2000
Command = Sequence[str]


@dataclass(frozen=True)
class Work:
    """A command of pycryo and the one of RELION that does the same; how much their results differ."""

    name: str
    n_image: int
    ours: Command
    rival: Command
    folder: Path
    difference: Callable[[], float]


def call(command: Command, threads: int, folder: Path) -> None:
    """Run a command quietly in a folder, where RELION takes the names of images to begin.

    Python keeps there what it compiles of the modules, as pip does when it installs them.

    Raises
    ------
    CalledProcessError
        If it fails.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYCRYO_THREADS": str(threads)}
    environment |= {"PYTHONPYCACHEPREFIX": str(folder / "modules"), "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run(
        command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def rows(work: Work) -> list[Case | Skipped]:
    """Images per second of our command, and of the rival's, which is skipped where it is not installed."""
    ours = [sys.executable, "-m", "pycryo", *work.ours]
    row = Case(f"command: {work.name}", partial(call, ours, get_threads(), work.folder), work.n_image, "image/s")
    program = work.rival[0]
    name = f"rival: {program}"
    if shutil.which(program) is None:
        return [row, Skipped(name, "it is not on the PATH")]
    limit = Limit("pycryo, one thread", partial(call, ours, 1, work.folder), work.n_image, "image/s")
    theirs = partial(call, work.rival, 1, work.folder)
    return [row, Case(name, theirs, work.n_image, "image/s", limit, error=work.difference)]


def of_images(ours: Path, theirs: Path) -> float:
    """Root mean square of the difference of every tenth image of two stacks over that of the first."""
    one, other = (read_stack(path, range(0, N_PROJECT, 10)) for path in (ours, theirs))
    return float(np.linalg.norm(other - one) / np.linalg.norm(one))


def of_maps(ours: Path, theirs: Path) -> float:
    """One less the FSC of two maps, mean over the shells below 9/10 of the Nyquist frequency."""
    curve = fsc(read_map(ours).data, read_map(theirs).data)
    return float(1 - np.mean(curve[1 : int(0.45 * BOX)]))


def make_map(path: Path) -> None:
    """A ball of smooth noise that ends within the box, and has little at the Nyquist frequency."""
    line = np.arange(BOX) - BOX // 2
    radius = np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2)
    noise = gaussian_filter(np.random.default_rng(0).standard_normal((BOX, BOX, BOX), dtype=np.float32), 1.0)
    write_map(path, (np.exp(-((radius / 40) ** 8)) * (1 + 5 * noise)).astype(np.float32), PIXEL_SIZE)


def cases() -> list[Case | Skipped]:
    """Projections of a 128 px map with CTF, and the map of particles of 128 px with their CTF."""
    folder = tempfile.TemporaryDirectory(prefix="pycryo-bench-")
    atexit.register(folder.cleanup)
    path = Path(folder.name)
    source = str(path / "map.mrc")
    make_map(path / "map.mrc")
    stars = []
    for n_image in (N_PROJECT, N_RECONSTRUCT):
        views = ["--random", str(n_image), "--ctf", "--out", str(path / f"particles{n_image}.mrcs")]
        call([sys.executable, "-m", "pycryo", "project", source, *views], get_threads(), path)
        stars.append(str(path / f"particles{n_image}.star"))
    project = Work(
        "project",
        N_PROJECT,
        ["project", source, "--poses", stars[0], "--ctf", "--out", str(path / "ours.mrcs")],
        f"relion_project --i {source} --o {path}/theirs --ang {stars[0]} --ctf --angpix {PIXEL_SIZE} --pad 2".split(),
        path,
        partial(of_images, path / "ours.mrcs", path / "theirs.mrcs"),
    )
    reconstruct = Work(
        "reconstruct",
        N_RECONSTRUCT,
        ["reconstruct", stars[1], "--out", str(path / "ours.mrc")],
        f"relion_reconstruct --i {stars[1]} --o {path}/theirs.mrc --ctf --pad 2".split(),
        path,
        partial(of_maps, path / "ours.mrc", path / "theirs.mrc"),
    )
    return [*rows(project), *rows(reconstruct)]


if __name__ == "__main__":
    raise SystemExit(main(cases()))
