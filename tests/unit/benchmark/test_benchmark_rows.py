"""Rows of the table of benchmarks, and old records beside them."""

import json

import pytest

from pycryo.benchmark.cases import Result, Skipped
from pycryo.benchmark.rows import Old, change, header, read_record, row, si
from pycryo.errors import InputError


def result(rate=1e9, spread=0.01, **more):
    values = {"limit": None, "limit_rate": None, "ratio": None, "goal": None, **more}
    return Result("one", "B/s", 0.0125, rate, spread, **values)


def test_si():
    assert si(2.434e11, "flop/s") == "243 Gflop/s"
    assert si(1000, "B/s") == "1 kB/s"
    assert si(0.5, "FFT/s") == "0.5 FFT/s"


def test_cells_are_below_their_names():
    line = row(result(limit="copy", limit_rate=2e9, ratio=0.5, goal=0.8, error=2e-7, cpu_ratio=0.25), Old(5e8, 0.02))
    cells = {
        "time": "12.5 ms",
        "spread": "1%",
        "rate": "1 GB/s",
        "ratio": "50.0%",
        "CPU": "25.0%",
        "goal": "80%",
        "error": "2.0e-07",
    }
    for name, text in {**cells, "change": "2.00 +"}.items():
        end = header().index(f" {name}") + 1 + len(name)
        assert line[:end].endswith(text)
    assert row(Skipped("two", "not there")).endswith("skipped: not there")


@pytest.mark.parametrize(
    "old, spread, expected",
    [(1.02e9, 0.0, "0.98  "), (2e9, 0.1, "0.50 -"), (8e8, 0.1, "1.25 +"), (8e8, 0.3, "1.25  ")],
)
def test_changes_beyond_the_spread_are_marked(old, spread, expected):
    assert change(result(), Old(old, spread)) == expected


def test_records_are_read(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"results": [{"name": "one", "rate": 2.0, "spread": 0.1, "more": 1}]}))
    assert read_record(path) == {"one": Old(2.0, 0.1)}
    for text in ("{}", "no", "[]", '{"results": [{"name": "one"}]}'):
        path.write_text(text)
        with pytest.raises(InputError, match="is not a record of pycryo bench --json"):
            read_record(path)
    with pytest.raises(InputError, match="--compare: cannot read"):
        read_record(tmp_path / "none.json")
