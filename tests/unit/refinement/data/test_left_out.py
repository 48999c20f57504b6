"""What is left out, and why."""

from __future__ import annotations

import numpy as np
from thread_comm import run_ranks

from pycryo.io.batches import Batch
from pycryo.refinement.data.left_out import LeftOut, gathered, sort_out


def test_a_row_has_one_reason():
    found = LeftOut().also("constant", np.array([5, 2])).also("no_defocus", np.array([1, 2, 9]))
    np.testing.assert_array_equal(found.rows, [1, 2, 5, 9])
    assert found.reasons.tolist() == ["no_defocus", "constant", "constant", "no_defocus"]
    assert found.counts == {"constant": 2, "no_defocus": 2}
    assert found.also("constant", np.array([2, 9])) is found
    assert found.also("constant", np.array([7])).counts == {"constant": 3, "no_defocus": 2}
    assert LeftOut().rows.shape == (0,)


def test_images_are_sorted_out(rng):
    images = rng.standard_normal((5, 8, 8)).astype(np.float32)
    images[1], images[2, 1, 1], images[4, 0, 0] = 3.0, np.nan, -np.inf
    bad = {}
    usable = sort_out(Batch(np.arange(10, 15), images), bad)
    np.testing.assert_array_equal(usable, [True, False, False, True, False])
    assert bad == {"constant": [11], "not_finite": [12, 14]}


def test_all_ranks_know_all():
    parts = [{"not_finite": [9]}, {}, {"constant": [4], "not_finite": [1]}]
    for found in run_ranks(3, lambda comm: gathered(comm, parts[comm.rank])):
        assert found.rows.tolist() == [1, 4, 9]
        assert found.reasons.tolist() == ["not_finite", "constant", "not_finite"]
