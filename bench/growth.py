"""How processor time and memory grow with the work: one quantity at a time is doubled, an exponent fitted.

``python bench/growth.py`` prints the table and writes it between the marks of docs/performance.md. Seconds are those of
the processor, so that a busy machine does little harm; start-up, measured with ten particles, is taken off.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from scipy.spatial.transform import Rotation

from pycryo.benchmark.page import write_between
from pycryo.io.mrc import write_map
from pycryo.kernels.compare import compare, new_best, pack_images
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.projector import FourierVolume, project_slices, volume_radius

PAGE = Path(__file__).resolve().parents[1] / "docs/performance.md"
MARK = "growth"
FEW, BOX = 10, 64
# The peak memory of a process is at least that of the one which started it: a small one must.
_WATCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


@dataclass(frozen=True)
class Sweep:
    """Seconds, or MiB, of each amount of what is swept; `expected` exponent."""

    what: str
    amounts: Sequence[int]
    figures: Sequence[float]
    unit: str
    expected: float

    @property
    def exponent(self) -> float:
        """Slope of the logarithms, by least squares."""
        return float(np.polyfit(np.log(self.amounts), np.log(self.figures), 1)[0])


def processor_time(run: Callable[[], object], repeat: int) -> float:
    """Median of the processor seconds of some calls, after one to warm up."""
    run()
    times = []
    for _ in range(repeat):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return median(times)


def call(command: Sequence[str]) -> tuple[float, float]:
    """Processor seconds of a command with its children, and peak memory of the largest, MiB.

    Raises
    ------
    CalledProcessError
        If it fails.
    """
    environment = {**os.environ, "PYCRYO_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    told = subprocess.run(
        [sys.executable, "-c", _WATCH, *command], check=True, env=environment, capture_output=True, text=True
    )
    seconds, kibibytes = map(float, told.stdout.split())
    return seconds, kibibytes / 1024


def particles(folder: Path, amounts: Sequence[int], repeat: int) -> list[Sweep]:
    """`pycryo reconstruct` of so many particles of 64 px, and the same particles on one and two ranks."""
    pycryo = [sys.executable, "-m", "pycryo"]
    line = np.square(np.arange(BOX) - BOX // 2)
    noise = np.random.default_rng(0).standard_normal((BOX, BOX, BOX))
    density = np.exp(-(line[:, None, None] + line[:, None] + line) / 200) * (1 + noise)
    write_map(folder / "map.mrc", density.astype(np.float32), 2.0)

    def reconstruct(n: int) -> list[str]:
        return [
            *pycryo,
            "reconstruct",
            str(folder / f"{n}.star"),
            "--out",
            str(folder / "out.mrc"),
            "--max-bad-fraction",
            "0.5",
        ]

    def measured(command: Sequence[str]) -> tuple[float, float]:
        seconds, peaks = zip(*(call(command) for _ in range(repeat)), strict=True)
        return median(seconds), max(peaks)

    for n in (FEW, *amounts):
        out = str(folder / f"{n}.mrcs")
        call([*pycryo, "project", str(folder / "map.mrc"), "--random", str(n), "--ctf", "--out", out])
    start, _ = measured(reconstruct(FEW))
    seconds, peaks = zip(*(measured(reconstruct(n)) for n in amounts), strict=True)
    found = [
        Sweep("particles, reconstruct", amounts, [each - start for each in seconds], "s", 1.0),
        Sweep("particles, its memory", amounts, peaks, "MiB", 0.0),
    ]
    mpiexec = shutil.which("mpiexec")
    if mpiexec is not None:
        ranks = (1, 2)
        most = reconstruct(amounts[-1])
        each = [measured([mpiexec, "-n", str(n), *most])[0] for n in ranks]
        few = [measured([mpiexec, "-n", str(n), *reconstruct(FEW)])[0] for n in ranks]
        work = [many - start for many, start in zip(each, few, strict=True)]
        found.append(Sweep("ranks, reconstruct, all ranks together", ranks, work, "s", 0.0))
    return found


def slices_of(box: int) -> Callable[[], object]:
    """200 slices of a padded map of noise, to Nyquist."""
    rng = np.random.default_rng(0)
    pixels, radius = half_plane(box, box / 2), volume_radius(2, box / 2)
    data = rng.standard_normal((2 * radius + 1, 2 * radius + 1, radius + 1, 2), dtype=np.float32)
    volume, turns = FourierVolume(data, box, 2, box / 2), Rotation.random(200, rng).as_matrix()
    return lambda: project_slices(volume, turns, pixels.kx, pixels.ky, threads=1)


def scores_of(n_shift: int, n_slice: int) -> Callable[[], object]:
    """Comparison of 50 images of 300 pixels."""
    rng = np.random.default_rng(0)
    unit = np.float32(4 / np.sqrt(600))
    images = unit * rng.standard_normal((50, n_shift, 2, 300), dtype=np.float32)
    panel = pack_images(images, unit * rng.random((50, 300), dtype=np.float32))
    slices = rng.standard_normal((n_slice, 2, 300), dtype=np.float32)
    return lambda: compare(panel, slices, new_best(50, 20), threads=1)


def kernels(repeat: int) -> list[Sweep]:
    """Box of slices, slices and shifts of a comparison."""
    boxes, n_slices, n_shifts = (128, 192, 256), (1024, 2048, 4096, 8192), (7, 14, 28, 56)
    return [
        Sweep("box, slices", boxes, [processor_time(slices_of(n), repeat) for n in boxes], "s", 2.0),
        Sweep("slices, compare", n_slices, [processor_time(scores_of(14, n), repeat) for n in n_slices], "s", 1.0),
        Sweep("shifts, compare", n_shifts, [processor_time(scores_of(n, 2048), repeat) for n in n_shifts], "s", 1.0),
    ]


def table(sweeps: Sequence[Sweep]) -> str:
    """Markdown."""
    lines = ["| what grows | amounts | figures | exponent | expected |", "|---|---|---|---|---|"]
    for each in sweeps:
        figures = ", ".join(f"{figure:.3g}" for figure in each.figures)
        amounts = ", ".join(map(str, each.amounts))
        lines.append(f"| {each.what} | {amounts} | {figures} {each.unit} | {each.exponent:.2f} | {each.expected:g} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each amount (default 3)")
    repeat = parser.parse_args(argv).repeat
    with tempfile.TemporaryDirectory(prefix="pycryo-growth-") as folder:
        sweeps = [*kernels(repeat), *particles(Path(folder), (4000, 8000, 16000), repeat)]
    print(table(sweeps))
    write_between(PAGE, MARK, table(sweeps))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
