"""Rows of arrays on ranks against slices of the whole array."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from thread_comm import run_ranks

from pycryo.parallel.comm import SerialComm
from pycryo.parallel.rows import even_bounds, gather_rows, move_rows, with_halo

N = 12


def whole(n, dtype=np.float64, width=3):
    """An array without zeros whose rows all differ."""
    return (1 + np.arange(n * width).reshape(n, width)).astype(dtype)


def cuts(size, low=0):
    """Ascending bounds of `size` pieces within 0 ... N; the first one is 0 if `low` is None."""
    numbers = st.lists(st.integers(0, N), min_size=size + 1, max_size=size + 1).map(sorted)
    return numbers.map(lambda all_: np.array([0, *all_[1:]] if low is None else all_, np.int64))


@pytest.mark.parametrize("n", [0, 1, 7, 2800, 2**33])
@pytest.mark.parametrize("size", [1, 2, 3, 11])
def test_even_bounds_differ_by_one_at_most(n, size):
    bounds = even_bounds(n, size)
    lengths = np.diff(bounds)
    assert bounds.dtype == np.int64
    assert (len(bounds), bounds[0], bounds[-1]) == (size + 1, 0, n)
    assert lengths.max() - lengths.min() <= 1


@given(st.data(), st.integers(1, 5))
def test_rows_move_to_who_wants_them(data, size):
    have, want = data.draw(cuts(size)), data.draw(cuts(size))
    array = whole(N, np.complex64)
    known = np.zeros_like(array)
    known[have[0] : have[-1]] = array[have[0] : have[-1]]
    pieces = run_ranks(size, lambda comm: move_rows(comm, array[have[comm.rank] : have[comm.rank + 1]], have, want))
    for rank, piece in enumerate(pieces):
        np.testing.assert_array_equal(piece, known[want[rank] : want[rank + 1]])
        assert piece.dtype == array.dtype
        assert piece.flags.c_contiguous


def test_moved_rows_are_a_copy_and_may_come_from_a_strided_array():
    array = whole(6)
    same = move_rows(SerialComm(), array, even_bounds(6, 1), even_bounds(6, 1))
    same[:] = 0
    np.testing.assert_array_equal(array, whole(6))
    have, want = np.array([0, 4, 6]), np.array([0, 1, 6])
    pieces = run_ranks(2, lambda comm: move_rows(comm, array[have[comm.rank] : have[comm.rank + 1], ::2], have, want))
    np.testing.assert_array_equal(np.concatenate(pieces), array[:, ::2])


def test_rows_that_nobody_wants_or_has():
    """Rows 0, 1 and 5 are of no use to anybody; row 6 is nowhere, and zero."""
    have, want = np.array([0, 3, 6]), np.array([2, 2, 7])
    array = whole(6)
    pieces = run_ranks(2, lambda comm: move_rows(comm, array[have[comm.rank] : have[comm.rank + 1]], have, want))
    assert pieces[0].shape == (0, 3)
    np.testing.assert_array_equal(pieces[1], [*array[2:6], [0, 0, 0]])


@given(st.data(), st.integers(1, 5), st.integers(0, N + 1))
def test_halo_is_the_neighbours_rows(data, size, width):
    bounds = data.draw(cuts(size, low=None))
    array = whole(int(bounds[-1]))
    pieces = run_ranks(
        size, lambda comm: with_halo(comm, array[bounds[comm.rank] : bounds[comm.rank + 1]], bounds, width)
    )
    for rank, (piece, before) in enumerate(pieces):
        first, last = int(bounds[rank]), int(bounds[rank + 1])
        np.testing.assert_array_equal(piece, array[max(first - width, 0) : last + width])
        assert before == min(first, width)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 3, 9])
def test_one_rank_gathers_all_rows(n, size):
    array, bounds = whole(n), even_bounds(n, size)
    for root in range(size):

        def work(comm, root=root):
            return gather_rows(comm, array[bounds[comm.rank] : bounds[comm.rank + 1]], bounds, root)

        for rank, found in enumerate(run_ranks(size, work)):
            if rank == root:
                np.testing.assert_array_equal(found, array)
            else:
                assert found is None
