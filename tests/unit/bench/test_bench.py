"""The logic of the benchmark harness; what it measures is not tested here."""

import argparse
import json
from pathlib import Path

import pytest

from pycryo import bench
from pycryo.bench import Case, Limit, Result, check_load, find_limit, main, measure, si
from pycryo.cli.commands import bench as command
from pycryo.errors import InputError, RunError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No pauses, and one run per timing."""
    monkeypatch.setattr(bench, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(bench, "TIMING_SECONDS", 0.0)


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only by `clock.advance`."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

        def sleep(self, seconds):
            pass

        def advance(self, seconds):
            self.now += seconds

    fake = Clock()
    monkeypatch.setattr(bench, "time", fake)
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


def test_setup_is_not_timed(clock):
    result = measure(case(run=lambda: clock.advance(2), setup=lambda: clock.advance(50)), None, 1)
    assert (result.seconds, result.ratio, result.limit_rate, result.spread) == (2.0, None, None, 0.0)


def test_short_runs_are_repeated(clock, monkeypatch):
    monkeypatch.setattr(bench, "TIMING_SECONDS", 1.0)
    calls = []
    result = measure(case(run=lambda: (calls.append(0), clock.advance(0.125))), None, 2)
    assert len(calls) == 2 + 2 * 8
    assert result.seconds == pytest.approx(0.125)


def test_limits_are_found_by_name_and_prepared_once(monkeypatch):
    prepared = []
    monkeypatch.setitem(bench.LIMITS, "toy", lambda: prepared.append(0) or Limit("toy", lambda: None, 1.0, "flop/s"))
    known = {}
    assert find_limit(case(limit="toy"), known) is find_limit(case(limit="toy"), known)
    assert len(prepared) == 1
    assert find_limit(case(), known) is None
    with pytest.raises(ValueError, match="case one: unknown limit none"):
        find_limit(case(limit="none"), known)
    with pytest.raises(ValueError, match="its unit flop/s is not B/s"):
        find_limit(case(limit=Limit("copy", lambda: None, 1.0, "B/s")), known)


@pytest.mark.parametrize(
    "prepare",
    [
        lambda: bench.sgemm_peak(8),
        lambda: bench.copy_bandwidth(1000),
        lambda: bench.gather_rate(8, 8, 100),
        lambda: bench.gather_rate(64, 8, 100),
        lambda: bench.fft_rate(8),
        lambda: bench.disk_read(size=1000),
    ],
)
def test_every_limit_runs(prepare):
    limit = prepare()
    limit.run()
    assert limit.name in bench.LIMITS
    assert limit.work > 0


def test_si():
    assert si(2.434e11, "flop/s") == "243 Gflop/s"
    assert si(1000, "B/s") == "1 kB/s"
    assert si(0.5, "FFT/s") == "0.5 FFT/s"


def test_main_filters_prints_and_records(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "load_average", lambda: 0.0)
    path = tmp_path / "figures.json"
    assert main([case("one"), case("other")], ["--repeat", "2", "--filter", "on", "--json", str(path)]) == 0
    record = json.loads(path.read_text())
    assert [r["name"] for r in record["results"]] == ["one"]
    assert set(record["results"][0]) == set(Result.__slots__)
    assert {"processor", "cores", "threads", "isa", "load_average"} <= set(record["machine"])
    assert "one" in capsys.readouterr().out


def test_a_busy_machine_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "load_average", lambda: 1e6)
    with pytest.raises(RunError, match=r"load average 1000000\.0 is above"):
        check_load(False)
    path = tmp_path / "figures.json"
    with pytest.raises(SystemExit) as exit_:
        main([case()], ["--json", str(path)])
    assert exit_.value.code == 1
    assert not path.exists()
    assert "--force" in capsys.readouterr().err
    assert main([case()], ["--repeat", "1", "--force", "--json", str(path)]) == 0
    assert path.exists()
    assert main([case()], ["--repeat", "1"]) == 0


@pytest.mark.parametrize("argv", [["--filter", "nothing"], ["--repeat", "0"]])
def test_wrong_usage_exits_2(argv, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([case()], argv)
    assert exit_.value.code == 2
    assert argv[0] in capsys.readouterr().err


def parse(*argv):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(argv)


def test_command_lists_the_benchmarks(capsys):
    assert command.run(parse("--list")) == 0
    listed = capsys.readouterr().out.split()
    assert {"compare", "limits", "shift"} <= set(listed)


def test_command_runs_the_chosen_ones(monkeypatch):
    chosen = []
    monkeypatch.setattr(command, "run_cases", lambda sources, args: chosen.extend(sources) or 0)
    assert command.run(parse("shift")) == 0
    assert [source.__module__ for source in chosen] == ["pycryo_bench.kernels.bench_shift"]
    with pytest.raises(InputError, match="no benchmark for nonsense"):
        command.run(parse("nonsense"))
