"""Time of whole refinements: wall and processor seconds, iterations, what the time goes to.

    python bench/refinement/measure.py sim64=FOLDER d2=FOLDER:D2 [--ranks 2] [--runs 3] [--shares] [-- --seed 2 ...]

Each FOLDER has particles.star and a start, init40A.mrc; what follows ``--`` is passed to ``pycryo refine``. Processors
differ: two columns have the rate of a float32 matrix product on one core, measured before each run, and the processor
seconds times that rate. ``--shares`` needs ``perf`` on the PATH.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

# Shared objects by what runs in them, with what they call of the C library and the system; the rest is Python, NumPy,
# files and messages.
_KINDS = {
    "kernels": r"/(_core|_points|_sampling|_weights|_turns|_background|_families|_pixels|_samples)\.",
    "BLAS": r"openblas",
    "FFT": r"pocketfft|_duccfft",
}
_INTERPRETER = r"libpython|/python[\d.]*\)$"


@dataclass(frozen=True)
class Run:
    """Figures of a refinement; `seconds` by phase of the iterations, `shares` of the processor time by kind."""

    wall: float
    cpu: float
    stages: str
    resolution: float
    seconds: Counter[str]
    rate: float
    shares: dict[str, float]


def sgemm_rate() -> float:
    """Gflop/s of one core."""
    a = np.ones((1024, 1024), np.float32)
    a @ a
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - begin)
    return 2e-9 * 1024**3 / statistics.median(times)


def children_cpu() -> float:
    """Processor seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def refine(folder: Path, symmetry: str, ranks: int, extra: list[str], *, with_shares: bool) -> Run:
    """One refinement by the command line."""
    rate = sgemm_rate()
    with tempfile.TemporaryDirectory() as place:
        out, record = Path(place, "run"), Path(place, "perf.data")
        command = ["mpiexec", "-n", str(ranks), "pycryo", "refine", str(folder / "particles.star")]
        command += [
            "--ref",
            str(folder / "init40A.mrc"),
            "--out",
            str(out),
            "--sym",
            symmetry,
            "--threads",
            "1",
            *extra,
        ]
        if with_shares:
            command = ["perf", "record", "-q", "-F", "197", "--call-graph", "dwarf,8192", "-o", str(record), *command]
        cpu, begin = children_cpu(), time.perf_counter()
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        wall, cpu = time.perf_counter() - begin, children_cpu() - cpu
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        shares = shares_of(record) if with_shares else {}
        iterations = json.loads((out / "run.json").read_text(encoding="utf-8"))["iterations"]
    seconds: Counter[str] = Counter()
    for each in iterations:
        seconds.update(each["seconds"])
    stages = "".join(each["stage"][0] for each in iterations)
    return Run(wall, cpu, stages, iterations[-1]["resolution"], seconds, rate, shares)


def shares_of(record: Path) -> dict[str, float]:
    """Share of the samples of each kind, percent: of what is called last of these, by the interpreter or in itself."""
    found, n_sample = Counter[str](), 0
    command = ["perf", "script", "-i", str(record), "-F", "ip,sym,dso", "--no-inline"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as script:
        assert script.stdout is not None
        is_new, is_told = True, False
        for line in script.stdout:  # one call each, the innermost first; empty lines between the samples
            if not line.strip():
                is_new, is_told = True, False
                continue
            n_sample += is_new
            is_new = False
            if is_told:
                continue
            kind = next((kind for kind, pattern in _KINDS.items() if re.search(pattern, line)), None)
            is_told = kind is not None or re.search(_INTERPRETER, line) is not None
            if kind is not None:
                found[kind] += 1
    return {kind: 100 * found[kind] / max(n_sample, 1) for kind in _KINDS}


def main() -> None:
    """Run all sets, and print a row of medians for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER[:GROUP]")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shares", action="store_true", help="what the processor time goes to, by perf")
    given = sys.argv[1:]
    cut = given.index("--") if "--" in given else len(given)
    args, extra = parser.parse_args(given[:cut]), given[cut + 1 :]
    for tool in ("mpiexec", "pycryo", *(["perf"] if args.shares else [])):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not on the PATH")
    print("| set | wall s | CPU s | iterations | resolution Å | Gflop/s of a core | CPU s × that | s by phase |")
    print("|---|---|---|---|---|---|---|---|")
    for each in args.sets:
        name, _, rest = each.partition("=")
        folder, _, symmetry = rest.partition(":")
        runs = [
            refine(Path(folder), symmetry or "C1", args.ranks, extra, with_shares=args.shares) for _ in range(args.runs)
        ]
        last = runs[-1]
        wall, cpu, rate, work = (
            statistics.median(values)
            for values in zip(*((run.wall, run.cpu, run.rate, run.cpu * run.rate) for run in runs), strict=True)
        )
        phases = ", ".join(f"{phase} {value:.1f}" for phase, value in last.seconds.items() if value >= 0.05)
        print(
            f"| {name} | {wall:.1f} | {cpu:.1f} | {len(last.stages)} ({last.stages}) | {last.resolution:.2f} "
            f"| {rate:.0f} | {work:.0f} | {phases} |",
            flush=True,
        )
        if last.shares:
            found = ", ".join(f"{kind} {value:.1f} %" for kind, value in last.shares.items())
            print(f"{name}: {found}, together {sum(last.shares.values()):.1f} % of the processor time", flush=True)


if __name__ == "__main__":
    main()
