"""Harness of the microbenchmarks: rates of kernels as fractions of limits that it measures in the same run.

A module ``bench_<kernel>`` has a function ``cases() -> list[Case]`` and calls ``main(cases())`` when run as a script.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median, quantiles

import numpy as np

from pycryo.errors import InputError, RunError
from pycryo.threads import available_cores, get_threads

# Idle OpenBLAS and OpenMP threads spin: a case right after a product was measured at a quarter of its speed.
PAUSE_SECONDS = 0.1
# A timing repeats a short run until it lasts about as long.
TIMING_SECONDS = 0.05
TABLE_WIDTH = 130


@dataclass(frozen=True, slots=True)
class Limit:
    """What a machine can do at best, measured by a piece of work.

    Attributes
    ----------
    name : str
        Its name in the table.
    run : callable
        The work.
    work : float
        Amount of work of one run, in the unit before "/s".
    unit : str
        Such as ``flop/s``.
    """

    name: str
    run: Callable[[], object]
    work: float
    unit: str


@dataclass(frozen=True, slots=True)
class Case:
    """One benchmark.

    Attributes
    ----------
    name : str
        Unique name, the kernel's first.
    run : callable
        What is timed.
    work : float
        Amount of useful work of one run, in the unit before "/s".
    unit : str
        Unit of the rate, that of the limit.
    limit : str or Limit, optional
        What the rate is held against: a name of `LIMITS`, or work of its own.
    goal : float, optional
        Ratio that is wanted.
    setup : callable, optional
        Called before every run, not timed.
    """

    name: str
    run: Callable[[], object]
    work: float
    unit: str
    limit: str | Limit | None = None
    goal: float | None = None
    setup: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Rates of a case and of its limit: medians over alternating repetitions.

    Attributes
    ----------
    name, unit : str
        Of the case.
    seconds : float
        Median time of one run.
    rate : float
        Work per second.
    spread : float
        Interquartile range of the case's times over their median.
    limit : str or None
        Name of the limit.
    limit_rate, ratio : float or None
        Rate of the limit, and rate / limit_rate.
    goal : float or None
        Ratio that is wanted.
    """

    name: str
    unit: str
    seconds: float
    rate: float
    spread: float
    limit: str | None
    limit_rate: float | None
    ratio: float | None
    goal: float | None


def sgemm_peak(n: int = 2048) -> Limit:
    """Product of two n × n float32 matrices by NumPy's BLAS with all its threads."""
    rng = np.random.default_rng(0)
    a, b = rng.random((n, n), dtype=np.float32), rng.random((n, n), dtype=np.float32)
    out = np.empty((n, n), np.float32)
    return Limit("sgemm_peak", lambda: np.matmul(a, b, out=out), 2.0 * n**3, "flop/s")


def copy_bandwidth(size: int = 256 * 2**20) -> Limit:
    """Copy of `size` bytes by all threads; bytes read and bytes written both count."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    parts = list(zip(_split(source), _split(target), strict=True))
    pool = ThreadPoolExecutor(get_threads())

    def run() -> None:
        list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), parts))

    return Limit("copy_bandwidth", run, 2.0 * size, "B/s")


def gather_rate(read_bytes: int = 8, box: int = 256, reads: int = 2**21) -> Limit:
    """Random reads of 8 or 64 bytes by all threads from a half volume of box³ complex64 voxels."""
    n = box * box * (box // 2 + 1) * 8 // read_bytes
    volume = np.ones((n, read_bytes // 8), np.float64)
    index = np.random.default_rng(0).integers(0, n, reads)
    out = np.empty((reads, read_bytes // 8))
    parts = list(zip(_split(index), _split(out), strict=True))
    pool = ThreadPoolExecutor(get_threads())

    def run() -> None:
        # mode="clip" lets NumPy write into `out` without a buffer.
        list(pool.map(lambda pair: np.take(volume, pair[0], axis=0, out=pair[1], mode="clip"), parts))

    return Limit("gather_rate" if read_bytes == 8 else f"gather_rate_{read_bytes}", run, reads, "read/s")


def fft_rate(box: int = 256) -> Limit:
    """Transform of box³ float32 voxels to complex64 (scipy.fft, all threads)."""
    from scipy import fft

    volume = np.random.default_rng(0).random((box, box, box), dtype=np.float32)
    return Limit("fft_rate", lambda: fft.rfftn(volume, workers=get_threads()), float(box) ** 3, "voxel/s")


def disk_read(folder: str | None = None, size: int = 128 * 2**20) -> Limit:
    """Sequential reads of 4 MiB from a new file that is not in the page cache.

    The file is in `folder`, by default where temporary files go.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(np.random.default_rng(0).bytes(size))
        file.flush()
        os.fsync(file.fileno())
        descriptor = os.dup(file.fileno())
    buffer = bytearray(4 * 2**20)

    def run() -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.lseek(descriptor, 0, os.SEEK_SET)
        while os.readv(descriptor, [buffer]):
            pass

    weakref.finalize(run, os.close, descriptor)
    return Limit("disk_read", run, size, "B/s")


# name -> function that prepares the limit; it is called when a case needs it.
LIMITS: dict[str, Callable[[], Limit]] = {
    "sgemm_peak": sgemm_peak,
    "copy_bandwidth": copy_bandwidth,
    "gather_rate": gather_rate,
    "gather_rate_64": lambda: gather_rate(64),
    "fft_rate": fft_rate,
    "disk_read": disk_read,
}


def _split(array: np.ndarray) -> list[np.ndarray]:
    return np.array_split(array, get_threads())


def _seconds(run: Callable[[], object], setup: Callable[[], object] | None, calls: int) -> float:
    """Mean time of one of `calls` runs."""
    total = 0.0
    for _ in range(calls):
        if setup is not None:
            setup()
        start = time.perf_counter()
        run()
        total += time.perf_counter() - start
    return total / calls


def _calls(run: Callable[[], object], setup: Callable[[], object] | None) -> int:
    """Runs per timing; warms up."""
    return max(1, round(TIMING_SECONDS / max(min(_seconds(run, setup, 1), _seconds(run, setup, 1)), 1e-9)))


def measure(case: Case, limit: Limit | None, repeat: int) -> Result:
    """Time case and limit in turn, `repeat` times each."""
    tasks: list[tuple[Callable[[], object], Callable[[], object] | None]] = [(case.run, case.setup)]
    if limit is not None:
        tasks.append((limit.run, None))
    calls = [_calls(*task) for task in tasks]
    times: list[list[float]] = [[] for _ in tasks]
    for _ in range(repeat):
        for task, n, record in zip(tasks, calls, times, strict=True):
            time.sleep(PAUSE_SECONDS)
            record.append(_seconds(*task, n))
    seconds = median(times[0])
    low, _, high = quantiles(times[0], n=4) if repeat > 1 else (seconds,) * 3
    rate = case.work / seconds
    limit_rate = None if limit is None else limit.work / median(times[1])
    return Result(
        name=case.name,
        unit=case.unit,
        seconds=seconds,
        rate=rate,
        spread=(high - low) / seconds,
        limit=None if limit is None else limit.name,
        limit_rate=limit_rate,
        ratio=None if limit_rate is None else rate / limit_rate,
        goal=case.goal,
    )


def find_limit(case: Case, known: dict[str, Limit]) -> Limit | None:
    """The limit of a case; a named one is prepared once and kept in `known`.

    Raises
    ------
    ValueError
        If the name is unknown or the units differ.
    """
    limit = case.limit
    if isinstance(limit, str):
        if limit not in LIMITS:
            raise ValueError(f"case {case.name}: unknown limit {limit}, expected one of {', '.join(LIMITS)}")
        if limit not in known:
            known[limit] = LIMITS[limit]()
        limit = known[limit]
    if limit is not None and limit.unit != case.unit:
        raise ValueError(f"case {case.name}: its unit {case.unit} is not {limit.unit}, the unit of {limit.name}")
    return limit


def machine() -> dict[str, object]:
    """What the figures depend on: processor, cores, threads, instruction set, versions, load."""
    from pycryo import _core
    from pycryo.version import __version__

    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line[:10] == "model name"
        ]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": available_cores(),
        "threads": get_threads(),
        "isa": _core.isa(),
        "load_average": load_average(),
        "pycryo": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def load_average() -> float:
    """Load average of the last minute; 0 where the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def check_load(force: bool) -> None:
    """Refuse to record on a busy machine.

    Raises
    ------
    RunError
        If the load average is above the number of cores and `force` is not set.
    """
    load, cores = load_average(), available_cores()
    if load > cores and not force:
        raise RunError(
            f"the load average {load:.1f} is above the {cores} cores, so the figures would not be worth recording: "
            "wait until the machine is quiet, leave out --json, or use --force"
        )


def si(value: float, unit: str) -> str:
    """Three digits with an SI prefix, such as ``243 Gflop/s``."""
    for exponent, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 10**exponent:
            return f"{value / 10**exponent:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def print_table(results: Sequence[Result]) -> None:
    """Table of the results on standard output."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    table.add_column("case", no_wrap=True)
    for column in ("time", "spread", "rate", "limit", "limit's rate", "ratio", "goal"):
        table.add_column(column, justify="left" if column == "limit" else "right", no_wrap=True)
    for result in results:
        has_limit = result.limit_rate is not None and result.ratio is not None
        table.add_row(
            result.name,
            f"{result.seconds * 1e3:.3g} ms",
            f"{result.spread:.0%}",
            si(result.rate, result.unit),
            result.limit or "",
            si(result.limit_rate or 0.0, result.unit) if has_limit else "",
            f"{result.ratio:.1%}" if has_limit else "",
            f"{result.goal:.0%}" if result.goal is not None else "",
        )
    Console(width=max(Console().width, TABLE_WIDTH)).print(table)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options shared by the scripts and by ``pycryo bench``."""
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write machine and results to FILE")
    parser.add_argument("--repeat", type=int, default=7, metavar="N", help="repetitions of each case (default 7)")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only cases whose name contains TEXT")
    parser.add_argument("--force", action="store_true", help="record even on a machine that is busy")


def run_cases(sources: Sequence[Callable[[], Sequence[Case]]], args: argparse.Namespace) -> int:
    """Measure, print and record the cases of all `sources`; the arrays of one source are freed before the next.

    Raises
    ------
    InputError
        If no case matches the filter or an option is out of range.
    RunError
        If the machine is too busy to record.
    """
    if args.repeat < 1:
        raise InputError(f"--repeat: expected at least 1, got {args.repeat}")
    if args.json is not None:
        check_load(args.force)
    environment = machine()
    known: dict[str, Limit] = {}
    results: list[Result] = []
    for source in sources:
        for case in source():
            if args.filter in case.name:
                results.append(measure(case, find_limit(case, known), args.repeat))
    if not results:
        raise InputError(f"--filter: no case contains {args.filter!r}")
    print_table(results)
    if args.json is not None:
        text = json.dumps({"machine": environment, "results": [asdict(result) for result in results]}, indent=1)
        args.json.write_text(text + "\n")
    return 0


def main(cases: Sequence[Case], argv: Sequence[str] | None = None) -> int:
    """Command line of one benchmark script; returns the exit code."""
    parser = argparse.ArgumentParser(description="Rates of kernels against limits of this machine (see README.md).")
    add_options(parser)
    args = parser.parse_args(argv)
    try:
        return run_cases([lambda: cases], args)
    except (InputError, RunError) as error:
        parser.exit(2 if isinstance(error, InputError) else 1, f"{parser.prog}: {error}\n")
