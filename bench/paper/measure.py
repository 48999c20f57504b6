"""Measurements on this machine: rates of a rank, and runs of ephase.py under mpiexec."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ephase import make_work, scan

from pycryo.parallel.comm import SerialComm
from pycryo.refinement.expectation.slice_sharing import rate_and_overhead

HERE = Path(__file__).resolve().parent
# Slices of a block that times are measured for, and how many slices and repetitions a time is of.
BLOCKS = (32, 64, 128, 256, 512)
N_SLICE, REPEAT = 512, 5
# The rate of more images is that of so many.
MOST_IMAGES = 100


@dataclass(frozen=True, slots=True)
class Rates:
    """Speed of a rank.

    Attributes
    ----------
    n_pixel : int
        Fourier pixels of a slice.
    threads : int
    make : list of (slices, seconds)
        To sample a block.
    compare : list of (slices, seconds)
        To compare one image with a block at all shifts, or with the active part of it.
    """

    n_pixel: int
    threads: int
    make: list[tuple[int, float]]
    compare: list[tuple[int, float]]

    def per_pixel(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Seconds per Fourier pixel of a slice, and once for each block: to sample it, to compare one image with it."""
        return self._line(self.make), self._line(self.compare)

    def _line(self, points: list[tuple[int, float]]) -> tuple[float, float]:
        (few, at_few), (many, at_many) = points[0], points[-1]
        rate, overhead = rate_and_overhead(few, many, at_few, at_many)
        return rate / self.n_pixel, overhead / self.n_pixel


def measure_rates(box: int, r_high: float, n_image: int, n_shift: int, active: float, threads: int) -> Rates:
    """Time blocks of several sizes in turn with `n_image` images, at most `MOST_IMAGES`; the fastest time counts."""
    n = min(n_image, MOST_IMAGES)
    work = make_work(range(n), box=box, r_high=r_high, n_slice=N_SLICE, n_shift=n_shift, active=active, threads=threads)
    scan(work, SerialComm(), "local", BLOCKS[-1], threads)
    accounts = [[scan(work, SerialComm(), "local", block, threads) for block in BLOCKS] for _ in range(REPEAT)]
    make, compare = [], []
    for block, of_block in zip(BLOCKS, zip(*accounts, strict=True), strict=True):
        part = block / work.n_slice
        make.append((block, part * min(account.making for account in of_block)))
        compare.append((block, part * min(account.comparing for account in of_block) / n))
    return Rates(len(work.pixels), threads, make, compare)


def run_ranks(n_rank: int, *options: str | int) -> dict[str, Any]:
    """Run ephase.py on `n_rank` ranks and return what it records.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec") or "mpiexec"
    launcher = [mpiexec, "-n", str(n_rank)] if n_rank > 1 else []
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "record.json")
        command = [*launcher, sys.executable, str(HERE / "ephase.py"), *map(str, options), "--json", str(record)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not record.exists():
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        result: dict[str, Any] = json.loads(record.read_text())
    return result
