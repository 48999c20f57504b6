"""Tests of the paper's figures that need SimGrid are skipped without it, in one line of pytest's summary."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench" / "paper"))
import simulate


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip here, not by a mark: pytest would write a line for each test function."""
    if item.get_closest_marker("simgrid") and not simulate.available():
        pytest.skip("SimGrid or g++ is not installed: sh bench/paper/install_simgrid.sh (Debian, as root)")
