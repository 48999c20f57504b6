"""Rows that are transformed at a time, and memory for them."""

import threading

import numpy as np
import pytest

from pycryo.parallel.slabs import row_batches
from pycryo.parallel.slabs.row_batches import RowMemory, batches, in_cache


@pytest.mark.parametrize("most", [1, 3 * 4 * 8, 1 << 18])
def test_batches_are_of_one_width_and_fit(most, monkeypatch):
    monkeypatch.setattr(row_batches, "_BYTES", most)
    widths = np.array([1, 2, 2, 2, 2, 4, 4, 3, 4])
    for rows in (range(9), [8, 7, 5], []):
        found = batches(rows, widths, 3, np.complex64)
        assert [row for each in found for row in each] == list(rows)
        for each in found:
            assert len({int(widths[row]) for row in each}) == 1
            assert len(each) <= in_cache(3, int(widths[each[0]]), np.complex64)
    assert len(batches(range(1, 5), widths, 3, np.complex64)) == {1: 4, 3 * 4 * 8: 2, 1 << 18: 1}[most]


def test_memory_is_zeros_again_and_of_one_thread():
    memory = RowMemory(3, 4, np.complex64)
    mine = memory.samples(1, 4)
    mine[:] = 1
    assert not memory.samples(2, 2).any()
    mine[:] = 1

    def work():
        memory.samples(1, 4)[:] = 2

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    np.testing.assert_array_equal(mine, 1)
