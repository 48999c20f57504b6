"""Speed of this machine in the M-phase, for mphase.py: ``python bench/paper/mphase_rates.py rates.json``."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from mphase import Rates

from pycryo.benchmark.environment import check_load, machine
from pycryo.benchmark.limits import LIMITS
from pycryo.threads import set_threads

sys.path.append(str(Path(__file__).resolve().parents[1] / "kernels"))
from bench_backprojector import insertion

# Padded grid points per axis.
GRIDS = (128, 320, 512, 1024)
THREADS = (1, 2)
# Larger accumulators are no slower to reach, but take gigabytes.
MOST_BOX, N_IMAGE, REPEAT = 256, 1000, 5


def _rate(run: Callable[[], object], work: float) -> float:
    """Work per second of the fastest of some runs, after a first one."""
    run()
    times = []
    for _ in range(REPEAT):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return work / min(times)


def _side_by_side(make: Callable[[], Callable[[], object]], work: float, threads: int) -> float:
    """Rate of `threads` threads that each do work of their own some times over."""
    times = max(4, math.ceil(2**24 / work))
    runs = [make() for _ in range(threads)]

    def repeat(run: Callable[[], object]) -> None:
        for _ in range(times):
            run()

    with ThreadPoolExecutor(threads) as pool:
        return _rate(lambda: list(pool.map(repeat, runs)), threads * times * work)


def measure(n: int, threads: int) -> Rates:
    """Rates at a grid of n³ points, one row or plane at a time per thread as `pycryo.parallel.slabs.slab_fft` works."""
    import scipy.fft

    half, width = n // 2 + 1, round(math.pi / 4 * (n // 2 + 1))  # the mean row of a sphere

    def along_z() -> Callable[[], object]:
        row = np.ones((n, width), np.complex128)
        return lambda: scipy.fft.ifft(row, axis=0, overwrite_x=True)

    def along_y() -> Callable[[], object]:
        plane = np.ones((n, half), np.complex128)
        return lambda: scipy.fft.ifft(plane, axis=0, overwrite_x=True)

    def along_x() -> Callable[[], object]:
        plane = np.ones((n, half), np.complex128)
        return lambda: scipy.fft.irfft(plane, n, axis=1)

    set_threads(threads)
    box = min(n // 2, MOST_BOX)
    copy = LIMITS["copy_bandwidth"]()
    insert = next(insertion(box, box / 2 - 1, N_IMAGE))
    return Rates(
        insert=_rate(insert.run, insert.work),
        fft_x=_side_by_side(along_x, float(n * n), threads),
        fft_y=_side_by_side(along_y, float(n * half), threads),
        fft_z=_side_by_side(along_z, float(n * width), threads),
        copy=_rate(copy.run, copy.work),
    )


def measure_all() -> dict[str, Any]:
    """Rates for all grids and numbers of threads, as mphase_rates.json has them."""
    rates = [{"grid": n, "threads": k, **asdict(measure(n, k))} for n in GRIDS for k in THREADS]
    return {"machine": machine(), "rates": rates}


def find(record: dict[str, Any], grid: int, threads: int) -> Rates:
    """The rates with so many threads at the nearest grid."""
    fitting = [row for row in record["rates"] if row["threads"] == threads]
    nearest = min(fitting, key=lambda row: abs(math.log(row["grid"] / grid)))
    return Rates(**{name: nearest[name] for name in ("insert", "fft_x", "fft_y", "fft_z", "copy")})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rates", type=Path, help="JSON file to write")
    parser.add_argument("--force", action="store_true", help="record even on a machine that is busy")
    args = parser.parse_args()
    check_load(args.force)
    args.rates.write_text(json.dumps(measure_all(), indent=1) + "\n")


if __name__ == "__main__":
    main()
