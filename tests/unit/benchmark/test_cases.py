"""Timing of benchmarks against their limits; what it measures is not tested here."""

import subprocess
import sys

import pytest

from pycryo.benchmark import cases, limits
from pycryo.benchmark.cases import Case, find_limit, measure
from pycryo.benchmark.limits import Limit


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No pauses, and one run per timing."""
    monkeypatch.setattr(cases, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(cases, "TIMING_SECONDS", 0.0)
    monkeypatch.setattr(cases, "LONG_SECONDS", 1e3)


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only by `clock.advance`."""

    class Clock:
        now = 0.0

        used = 0.0

        def perf_counter(self):
            return self.now

        def process_time(self):
            return self.used

        def sleep(self, seconds):
            pass

        def advance(self, seconds, cpu=0.0):
            self.now += seconds
            self.used += cpu

    fake = Clock()
    monkeypatch.setattr(cases, "time", fake)
    return fake


def case(name="one", run=lambda: None, **kwargs):
    return Case(name=name, run=run, work=6.0, unit="flop/s", **kwargs)


def test_rates_are_medians_and_alternate(clock):
    order = []

    def run(name, times):
        def step():
            order.append(name)
            clock.advance(next(times))

        return step

    # Two runs to warm up, then three repetitions.
    times = iter([9.0, 9.0, 2.0, 100.0, 3.0])
    limit_times = iter([9.0, 9.0, 1.0, 0.5, 50.0])
    limit = Limit("best", run("limit", limit_times), 4.0, "flop/s")
    result = measure(case(run=run("case", times), limit=limit, goal=0.5), limit, 3)
    assert order == ["case"] * 2 + ["limit"] * 2 + ["case", "limit"] * 3
    assert (result.seconds, result.rate, result.limit_rate, result.ratio) == (3.0, 2.0, 4.0, 0.5)
    assert (result.limit, result.goal) == ("best", 0.5)


def test_long_runs_are_repeated_less_often(clock, monkeypatch):
    monkeypatch.setattr(cases, "LONG_SECONDS", 1.0)
    calls = []
    limit = Limit("best", lambda: clock.advance(0.5), 4.0, "flop/s")
    measure(case(run=lambda: (calls.append(0), clock.advance(2.0)), limit=limit), limit, 5)
    assert len(calls) == 1 + cases.LONG_REPEAT


def test_processor_time_is_kept_beside(clock):
    limit = Limit("best", lambda: clock.advance(1.0, cpu=0.5), 6.0, "flop/s")
    result = measure(case(run=lambda: clock.advance(8.0, cpu=2.0), limit=limit), limit, 3)
    assert (result.ratio, result.cpu_seconds, result.cpu_ratio) == (1 / 8, 2.0, 1 / 4)
    assert measure(case(run=lambda: clock.advance(8.0)), None, 1).cpu_ratio is None


def test_processor_time_of_programs_counts():
    begin = cases._processor_time()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert cases._processor_time() - begin > 0.01


def test_setup_is_not_timed(clock):
    result = measure(case(run=lambda: clock.advance(2), setup=lambda: clock.advance(50)), None, 1)
    assert (result.seconds, result.ratio, result.limit_rate, result.spread) == (2.0, None, None, 0.0)


def test_short_runs_are_repeated(clock, monkeypatch):
    monkeypatch.setattr(cases, "TIMING_SECONDS", 1.0)
    calls = []
    result = measure(case(run=lambda: (calls.append(0), clock.advance(0.125))), None, 2)
    assert len(calls) == 2 + 2 * 8
    assert result.seconds == pytest.approx(0.125)


def test_limits_are_found_by_name_and_prepared_once(monkeypatch):
    prepared = []
    monkeypatch.setitem(limits.LIMITS, "toy", lambda: prepared.append(0) or Limit("toy", lambda: None, 1.0, "flop/s"))
    known = {}
    assert find_limit(case(limit="toy"), known) is find_limit(case(limit="toy"), known)
    assert len(prepared) == 1
    assert find_limit(case(), known) is None
    with pytest.raises(ValueError, match="case one: unknown limit none"):
        find_limit(case(limit="none"), known)
    with pytest.raises(ValueError, match="its unit flop/s is not B/s"):
        find_limit(case(limit=Limit("copy", lambda: None, 1.0, "B/s")), known)
