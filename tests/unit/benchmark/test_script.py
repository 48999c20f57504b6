"""Command line of a benchmark script."""

import json

import pytest

from pycryo.benchmark import cases, environment
from pycryo.benchmark.cases import Case, Result
from pycryo.benchmark.script import main, si


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No pauses, and one run per timing."""
    monkeypatch.setattr(cases, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(cases, "TIMING_SECONDS", 0.0)


def case(name="one"):
    return Case(name=name, run=lambda: None, work=6.0, unit="flop/s")


def test_si():
    assert si(2.434e11, "flop/s") == "243 Gflop/s"
    assert si(1000, "B/s") == "1 kB/s"
    assert si(0.5, "FFT/s") == "0.5 FFT/s"


def test_main_filters_prints_and_records(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(environment, "load_average", lambda: 0.0)
    path = tmp_path / "figures.json"
    assert main([case("one"), case("other")], ["--repeat", "2", "--filter", "on", "--json", str(path)]) == 0
    record = json.loads(path.read_text())
    assert [r["name"] for r in record["results"]] == ["one"]
    assert set(record["results"][0]) == set(Result.__slots__)
    assert {"processor", "cores", "threads", "isa", "load_average"} <= set(record["machine"])
    assert "one" in capsys.readouterr().out


def test_a_busy_machine_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(environment, "load_average", lambda: 1e6)
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
