"""Simulate the E-phase on machines of any size with SimGrid: ``python bench/paper/simulate.py cases.json``.

The blocks are those of pycryo.parallel.belt_plan, the program that follows them is ephase_sim.cpp. See `Case`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from platforms import OPTIONS, PLATFORMS, Platform, this_machine

from pycryo.parallel.belt_plan import BeltPlan, plan_belt

HERE = Path(__file__).resolve().parent
HEADER = Path("/usr/include/simgrid/s4u.hpp")
AnyCase = TypeVar("AnyCase")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Case:
    """One E-phase of one machine.

    Attributes
    ----------
    way : str
        "local", "allgather" or "conveyor".
    n_node : int
        One rank each.
    n_slice : int
        All ranks together need them.
    item_bytes : float
        Of a slice.
    make, compare : sequence of (items, seconds)
        Time of a rank to sample, and to compare all its images with, a block of so many slices; linear between.
    platform : str
        A name of `platforms.PLATFORMS`, or "link" with the two numbers below.
    bandwidth, latency : float
        Bytes/s and s of a "link" between the ranks of a machine.
    ring_size : int
        Ranks of a ring at most; 0: one ring.
    block, grain : int
        See `pycryo.parallel.conveyor.make_belt`.
    step : float
        Seconds of a rank's own time to begin and end a transfer.
    overlap : bool
        Messages travel while a rank compares, as adapters let them; else they wait until it has done so.
    jitter : float
        Standard deviation over mean of the time of each block (log-normal).
    seed : int
    """

    way: str
    n_node: int
    n_slice: int
    item_bytes: float
    make: Sequence[tuple[float, float]]
    compare: Sequence[tuple[float, float]]
    platform: str = "taihulight"
    bandwidth: float = 0.0
    latency: float = 0.0
    ring_size: int = 0
    block: int = 256
    grain: int = 32
    step: float = 0.0
    overlap: bool = True
    jitter: float = 0.0
    seed: int = 1

    def network(self) -> Platform:
        """The network of the case."""
        return this_machine(self.bandwidth, self.latency) if self.platform == "link" else PLATFORMS[self.platform]


def available() -> bool:
    """Whether SimGrid and a compiler are installed."""
    return HEADER.is_file() and shutil.which("g++") is not None


def build(folder: Path, name: str = "ephase_sim") -> Path:
    """Compile a simulator in `folder`."""
    program = folder / name
    command = ["g++", "-O2", "-std=c++17", str(HERE / f"{name}.cpp"), "-o", str(program), "-lsimgrid"]
    subprocess.run(command, check=True)
    return program


def run(program: Path, platform: str, lines: Iterable[str]) -> Any:
    """What a simulator says of a case, given as lines of text, on a platform of SimGrid."""
    with tempfile.TemporaryDirectory() as folder:
        machine, case = Path(folder, "platform.xml"), Path(folder, "case.txt")
        machine.write_text(platform)
        case.write_text("\n".join(lines) + "\n")
        command = [str(program), str(machine), str(case), *OPTIONS]
        output = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(output.stdout.splitlines()[-1])


def run_all(
    name: str,
    cases: Sequence[AnyCase],
    one: Callable[[Path, AnyCase], Result],
    effort: Callable[[AnyCase], float],
    jobs: int,
) -> list[Result]:
    """Compile a simulator and run cases side by side, those of the greatest effort first.

    Raises
    ------
    RuntimeError
        If SimGrid is not installed.
    """
    if not available():
        raise RuntimeError("SimGrid or g++ is missing: run bench/paper/install_simgrid.sh")
    order = sorted(range(len(cases)), key=lambda i: -effort(cases[i]))
    results: dict[int, Result] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        program = build(Path(folder), name)
        for index, result in zip(order, pool.map(lambda i: one(program, cases[i]), order), strict=True):
            results[index] = result
    return [results[index] for index in range(len(cases))]


def rings(case: Case) -> list[range]:
    """Ranks of each ring, divided as `pycryo.parallel.conveyor.ring` does; a ring for each rank that works alone."""
    size = 1 if case.way == "local" else case.ring_size or case.n_node
    n_ring = -(-case.n_node // size)
    bounds = [-(-i * case.n_node // n_ring) for i in range(n_ring + 1)]
    return [range(first, last) for first, last in pairwise(bounds)]


def plan(case: Case, n_rank: int) -> BeltPlan:
    """The blocks of a ring, as `make_belt` cuts them."""
    block = max(case.n_slice, 1) if case.way == "allgather" and n_rank > 1 else case.block
    return plan_belt(case.n_slice, (1.0,) * n_rank, block, case.grain)


def _list(values: Sequence[float] | np.ndarray) -> str:
    return f"{len(values)} {' '.join(map(repr, map(float, values)))}"


def _ints(values: Sequence[int]) -> str:
    return f"{len(values)} {' '.join(map(str, values))}"


def _seconds(table: Sequence[tuple[float, float]], largest: int) -> np.ndarray:
    """Seconds for blocks of 0 ... `largest` items."""
    items, seconds = np.array([(0.0, 0.0), *table]).T
    wanted = np.arange(largest + 1, dtype=float)
    beyond = wanted > items[-1]
    return np.asarray(np.where(beyond, wanted / items[-1] * seconds[-1], np.interp(wanted, items, seconds)))


def case_lines(case: Case) -> Iterator[str]:
    """Text of a case for ephase_sim.cpp, in the order in which `read_case` there reads it."""
    divided = rings(case)
    sizes = sorted({len(ring) for ring in divided})
    plans = [plan(case, size) for size in sizes]
    largest = max(case.block, *(each.block for each in plans))
    gather = case.way == "allgather" and case.n_node > 1
    yield f"{gather:d} {case.overlap:d} {case.n_node} {case.block} {case.item_bytes!r} {case.step!r}"
    yield f"{case.jitter!r} {case.seed}"
    yield _list(_seconds(case.make, largest))
    yield _list(_seconds(case.compare, largest))
    yield f"{len(plans)}"
    for each in plans:
        n = each.n_rank
        yield f"{n} {each.n_round}"
        yield _ints([last - first for first, last in each.parts()])
        yield _ints([each.owner(rank, step) for rank in range(n) for step in range(n)])
    yield _ints([ring.start for ring in divided])
    yield _ints([sizes.index(len(ring)) for ring in divided])


def simulate(program: Path, case: Case) -> dict[str, float]:
    """Run a case.

    Returns
    -------
    dict
        ``seconds`` until the last rank is done; means over the ranks of the seconds ``making``, ``comparing`` and
        ``waiting``; ``bytes`` that the busiest rank sends.
    """
    result: dict[str, float] = run(program, case.network().xml(case.n_node), case_lines(case))
    return result


def simulate_all(cases: Sequence[Case], jobs: int = 0) -> list[dict[str, float]]:
    """Run cases side by side, see `run_all`."""
    return run_all("ephase_sim", cases, simulate, lambda case: case.n_node * (case.ring_size or case.n_node), jobs)


def main() -> None:
    """Simulate the cases of a file and print them with their results."""
    names = ", ".join(field.name for field in fields(Case))
    parser = argparse.ArgumentParser(description=__doc__, epilog=f"A case is an object with: {names}.")
    parser.add_argument("cases", type=Path, help="JSON list of cases")
    parser.add_argument("--jobs", type=int, default=0, help="simulations at a time (default: the cores)")
    args = parser.parse_args()
    cases = [Case(**case) for case in json.loads(args.cases.read_text())]
    results = simulate_all(cases, args.jobs)
    print(json.dumps([{**asdict(c), **r} for c, r in zip(cases, results, strict=True)], indent=1))


if __name__ == "__main__":
    main()
