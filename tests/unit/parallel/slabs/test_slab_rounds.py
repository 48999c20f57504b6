"""Rounds of exchange: all rows once, in as many pieces as the bytes ask for."""

import numpy as np
import pytest

from pycryo.parallel.rows import even_bounds
from pycryo.parallel.slabs import slab_rounds
from pycryo.parallel.slabs.slab_rounds import exchange_rounds


@pytest.mark.parametrize("size", [1, 2, 5, 30])
@pytest.mark.parametrize("most", [1, 5000, 1 << 20])
def test_each_row_is_in_one_round_of_its_rank(size, most, rng, monkeypatch):
    monkeypatch.setattr(slab_rounds, "_MOST_EXCHANGE", most)
    n = 24
    bounds, widths = even_bounds(n, size), rng.integers(1, n // 2 + 2, n)
    rounds = exchange_rounds(n, bounds, widths, 16)
    assert len(rounds) > 1 or most > 1
    for rank in range(size):
        rows = [row for rows_of in rounds for row in rows_of[rank]]
        assert rows == list(range(bounds[rank], bounds[rank + 1]))


def test_no_rows():
    assert exchange_rounds(4, np.zeros(3, np.int64), np.zeros(0, np.int64), 8) == [[range(0)] * 2]
