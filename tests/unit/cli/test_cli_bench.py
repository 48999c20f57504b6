"""``pycryo bench``: which benchmarks it finds and runs."""

import argparse

import pytest

from pycryo.cli.commands import bench as command
from pycryo.errors import InputError


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
