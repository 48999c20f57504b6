"""The measurement of solves: its made-up data do not depend on ranks, and its sums are right."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from thread_comm import run_ranks

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench" / "paper"))
import solve

needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no peak memory of Linux")


def test_data_are_those_of_any_cut_and_hermitian():
    whole = solve.make_accumulators(12, 2, None)
    bounds = whole.sphere.bounds(3)
    parts = [solve.make_accumulators(12, 2, (int(a), int(b))) for a, b in pairwise(bounds)]
    for name in ("re", "im", "weight"):
        together = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(together, getattr(whole, name))
    start = whole.sphere.start
    column = start[:-1][np.diff(start) > 0]
    value = whole.re[column] + 1j * whole.im[column]
    np.testing.assert_array_equal(value, value[::-1].conj())
    np.testing.assert_array_equal(whole.weight[column], whole.weight[column][::-1])


@needs_proc
@pytest.mark.parametrize("size", [1, 3])
def test_record_has_all_models(size):
    args = solve.parse(["--box", "12", "--repeat", "2", "--threads", "1"])
    record = run_ranks(size, lambda comm: solve.measure(args, comm))[0]
    assert list(record["models"]) == ["slab", "sharded", "replicated"]
    assert record["model_bytes"] == 16 * 24 * 24 * 13
    sent = {model: figures["n_byte"] for model, figures in record["models"].items()}
    assert sent["replicated"] == 0
    assert (sent["slab"] > 0) == (sent["sharded"] > 0) == (size > 1)
    for figures in record["models"].values():
        assert len(figures["ranks"]) == size
        assert figures["seconds"] > 0
