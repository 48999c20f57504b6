"""How time grows: exponents, the table, and commands that are measured."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[3] / "bench" / "growth.py"


@pytest.fixture
def growth(monkeypatch):
    spec = spec_from_file_location("growth", FILE)
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "growth", module)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_exponents_and_table(growth):
    sweep = growth.Sweep("one", (1, 2, 4), (3.0, 12.0, 48.0), "s", 2.0)
    assert sweep.exponent == pytest.approx(2)
    assert "| one | 1, 2, 4 | 3, 12, 48 s | 2.00 | 2 |" in growth.table([sweep])


def test_commands_are_measured(growth):
    seconds, peak = growth.call([sys.executable, "-c", "x = bytearray(64 << 20); x[::4096] = bytes(len(x[::4096]))"])
    assert seconds > 0
    assert 64 < peak < 200
    with pytest.raises(subprocess.CalledProcessError):
        growth.call([sys.executable, "-c", "raise SystemExit(3)"])


def test_kernels_run_at_small_sizes(growth):
    assert growth.processor_time(growth.slices_of(16), 2) > 0
    assert growth.processor_time(growth.scores_of(3, 64), 2) > 0
