"""Benchmarks and the timing of them: a case and its limit in turn."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

from pycryo.benchmark.limits import LIMITS, Limit

# Idle OpenBLAS and OpenMP threads spin: a case right after a product was measured at a quarter of its speed.
PAUSE_SECONDS = 0.1
# A timing repeats a short run until it lasts about as long.
TIMING_SECONDS = 0.05
# What lasts longer than this is repeated at most so often, and warmed up once.
LONG_SECONDS, LONG_REPEAT = 1.0, 3


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
    error : callable, optional
        Returns the relative error (root mean square) of the kernel against its float64 twin, on a small problem; of a
        rival, how much its result differs from that of pycryo.
    flops, moved : float, optional
        Useful floating-point operations of one run, and bytes that must move to and from memory: its place under the
        roofline.
    is_extra : bool
        Measured only if all benchmarks are asked for.
    """

    name: str
    run: Callable[[], object]
    work: float
    unit: str
    limit: str | Limit | None = None
    goal: float | None = None
    setup: Callable[[], object] | None = None
    error: Callable[[], float] | None = None
    flops: float | None = None
    moved: float | None = None
    is_extra: bool = False


@dataclass(frozen=True, slots=True)
class Seconds:
    """Time of a run: `wall`, and `cpu`, the processor time of all threads and of the programs that it started."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A benchmark that cannot be run here: its `name`, and the `reason`."""

    name: str
    reason: str
    is_extra: bool = False


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
    error : float or None
        Relative error against the float64 twin; of a rival, against pycryo.
    flops, moved : float or None
        Of one run.
    cpu_seconds : float
        Median processor time of one run, of all threads and of the programs that it started.
    cpu_ratio : float or None
        Work per processor second over that of the limit.
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
    error: float | None = None
    flops: float | None = None
    moved: float | None = None
    cpu_seconds: float = 0.0
    cpu_ratio: float | None = None


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


def measure(case: Case, limit: Limit | None, repeat: int) -> Result:
    """Time case and limit in turn, `repeat` times each; less often where a run is long."""
    tasks: list[tuple[Callable[[], object], Callable[[], object] | None]] = [(case.run, case.setup)]
    if limit is not None:
        tasks.append((limit.run, None))
    calls, long = zip(*(_calls(*task) for task in tasks), strict=True)
    if any(long):
        repeat = min(repeat, LONG_REPEAT)
    times: list[list[Seconds]] = [[] for _ in tasks]
    for _ in range(repeat):
        for task, n, record in zip(tasks, calls, times, strict=True):
            time.sleep(PAUSE_SECONDS)
            record.append(_seconds(*task, n))
    walls = [each.wall for each in times[0]]
    seconds, *limit_seconds = (median(each.wall for each in record) for record in times)
    cpu, *limit_cpu = (median(each.cpu for each in record) for record in times)
    low, _, high = quantiles(walls, n=4) if repeat > 1 else (seconds,) * 3
    rate = case.work / seconds
    limit_rate = None if limit is None else limit.work / limit_seconds[0]
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
        error=None if case.error is None else case.error(),
        flops=case.flops,
        moved=case.moved,
        cpu_seconds=cpu,
        cpu_ratio=None if limit is None or not cpu else case.work / cpu * limit_cpu[0] / limit.work,
    )


def _processor_time() -> float:
    """Seconds of all threads of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _seconds(run: Callable[[], object], setup: Callable[[], object] | None, calls: int) -> Seconds:
    """Mean times of one of `calls` runs."""
    wall = cpu = 0.0
    for _ in range(calls):
        if setup is not None:
            setup()
        start, start_cpu = time.perf_counter(), _processor_time()
        run()
        wall += time.perf_counter() - start
        cpu += _processor_time() - start_cpu
    return Seconds(wall / calls, cpu / calls)


def _calls(run: Callable[[], object], setup: Callable[[], object] | None) -> tuple[int, bool]:
    """Runs per timing, and whether one is long; warms up."""
    first = _seconds(run, setup, 1).wall
    if first > LONG_SECONDS:
        return 1, True
    return max(1, round(TIMING_SECONDS / max(min(first, _seconds(run, setup, 1).wall), 1e-9))), False
