"""Command line of a benchmark script."""

import json

import pytest

from pycryo.benchmark import cases, environment
from pycryo.benchmark.cases import Case, Result, Skipped
from pycryo.benchmark.script import main


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No pauses, and one run per timing."""
    monkeypatch.setattr(cases, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(cases, "TIMING_SECONDS", 0.0)


def case(name="one", **more):
    return Case(name=name, run=lambda: None, work=6.0, unit="flop/s", **more)


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


def test_extra_cases_only_with_all_or_by_name(capsys):
    cases = [case("usual"), case("rare", is_extra=True), Skipped("rival", "it is not installed")]
    for argv, expected in (([], "usual rival"), (["--all"], "usual rare rival"), (["--filter", "rare"], "rare")):
        assert main(cases, ["--repeat", "1", *argv]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == ["case", *expected.split()]


def test_rows_appear_as_they_are_measured(capsys):
    seen = []

    def look():
        seen.append(capsys.readouterr().out)

    assert main([case("first", error=lambda: 3e-7), Case("second", look, 1.0, "B/s")], ["--repeat", "1"]) == 0
    assert "first" in seen[0]
    assert "3.0e-07" in seen[0]


def test_rates_beside_an_old_record(tmp_path, capsys):
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"results": [{"name": "one", "rate": 1e-9, "spread": 0.0}]}))
    assert main([case("one"), case("new")], ["--repeat", "1", "--compare", str(path)]) == 0
    _, one, new = capsys.readouterr().out.splitlines()
    assert one.endswith(" +")
    assert new.endswith("flop/s")
