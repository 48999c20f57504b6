"""Errors of a finished run against the truth, of a run whose errors are known."""

import sys
from pathlib import Path

import numpy as np
import pytest

from pycryo.io.star import read_star, write_star

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench" / "paper"))
import accuracy


def test_a_run_that_is_the_truth_but_for_known_errors(tiny_set, tmp_path):
    """Half of the rows, the last ones first; psi wrong by 1° in turn, so that the frame stays."""
    truth = read_star(tiny_set / "truth.star")
    table = truth["particles"].iloc[::-2].reset_index(drop=True)
    turn = np.where(np.arange(len(table)) % 2, 1.0, -1.0)
    table["rlnAnglePsi"] = table["rlnAnglePsi"].astype(float) + turn
    for label in ("rlnDefocusU", "rlnDefocusV"):
        table[label] = table[label].astype(float) + 30.0
    write_star(tmp_path / "run_data.star", {**truth, "particles": table})
    (tmp_path / "run_class001.mrc").write_bytes((tiny_set / "map.mrc").read_bytes())
    found = accuracy.accuracy(tiny_set, tmp_path, "C1")
    assert found.pose == pytest.approx(1.0, abs=0.3)
    assert found.within == 1.0
    assert found.turn < 0.5
    assert found.defocus == pytest.approx(30.0, abs=0.01)
    assert found.mean_fsc > 0.97
