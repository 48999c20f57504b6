"""Exchanges among real ranks: ragged messages in the background, rows to other ranks, slab transforms."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import scipy.fft

from pycryo.parallel import mpi as mpi_module
from pycryo.parallel.rows import even_bounds, gather_rows, move_rows, with_halo
from pycryo.parallel.shared_buffers import shared_buffers
from pycryo.parallel.slabs import slab_rounds
from pycryo.parallel.slabs.slab_fft import SlabFft
from pycryo.parallel.world import world

SIZES = [2, 3]
TYPES = [np.complex128, np.float32, np.uint8]


def lengths(size, step):
    """(sender, receiver) items of the messages: some are empty, those to oneself too."""
    sender, receiver = np.indices((size, size))
    return (5 * sender + 3 * receiver + step) % 4 * 7


def bounds(counts):
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def message(sender, receiver, step, length, dtype):
    return (np.arange(length) + 50 * sender + 20 * receiver + step).astype(dtype)


def begin(comm, step, dtype):
    """Begin an exchange; it, what comes and what should come."""
    size, me = comm.size, comm.rank
    table = lengths(size, step)
    parts = [message(me, rank, step, table[me, rank], dtype) for rank in range(size)]
    expected = [message(rank, me, step, table[rank, me], dtype) for rank in range(size)]
    receive = np.zeros(table[:, me].sum(), dtype)
    transfer = comm.begin_exchange(np.concatenate(parts), bounds(table[me]), receive, bounds(table[:, me]))
    return transfer, receive, np.concatenate(expected)


@pytest.mark.parallel(SIZES)
def test_exchanges_in_the_background():
    """Two at a time, as `SlabFft` has them on their way."""
    comm = world()
    for dtype in TYPES:
        pending = begin(comm, 0, dtype)
        for step in range(1, 6):
            after = begin(comm, step, dtype)
            transfer, receive, expected = pending
            before_both, exposed = transfer.wait()
            assert min(before_both, exposed) >= 0
            assert transfer.progress()
            np.testing.assert_array_equal(receive, expected)
            pending = after
        pending[0].wait()
        np.testing.assert_array_equal(pending[1], pending[2])
    nothing = np.zeros(0)
    none = np.zeros(comm.size + 1, np.int64)
    comm.begin_exchange(nothing, none, nothing, none).wait()


@pytest.mark.parallel(SIZES)
def test_rows(monkeypatch):
    """In one message, and in messages of two rows and of less than one."""
    comm = world()
    size, me, n = comm.size, comm.rank, 11
    array = np.arange(4 * n, dtype=np.float64).reshape(n, 4)
    even = even_bounds(n, size)
    all_cuts = [even, np.array([2, *[9] * size]), np.array([*[1] * size, 8]), np.zeros(size + 1, int)]
    for limit in (None, 64, 8):
        if limit is not None:
            monkeypatch.setattr(mpi_module, "_CHUNK_BYTES", limit)
        for want in all_cuts:
            piece = move_rows(comm, array[even[me] : even[me + 1]], even, want)
            np.testing.assert_array_equal(piece, array[want[me] : want[me + 1]])
        for width in (0, 2, n):
            piece, before = with_halo(comm, array[even[me] : even[me + 1]], even, width)
            np.testing.assert_array_equal(piece, array[max(even[me] - width, 0) : even[me + 1] + width])
            assert before == min(even[me], width)
        everything = gather_rows(comm, piece[before : before + even[me + 1] - even[me]], even, size - 1)
        assert (everything is None) == (me != size - 1)
        if everything is not None:
            np.testing.assert_array_equal(everything, array)


@pytest.mark.parallel(SIZES)
def test_slab_transforms(monkeypatch):
    """Several exchanges, by shared buffers and as if the ranks were on other nodes; the grid is the same on all."""
    monkeypatch.setattr(slab_rounds, "_LEAST_EXCHANGE", 5000)
    comm = world()
    assert shared_buffers(comm) is shared_buffers(world())
    transform(comm)
    for ranks_per_node in (1, 2):
        part = comm.split(0)
        monkeypatch.setattr(part, "node", partial(part.split, part.rank // ranks_per_node), raising=True)
        transform(part)
        part.free()


def transform(comm):
    for n in (9, 16):
        points = np.random.default_rng(n).standard_normal((n, n, n))
        fft = SlabFft(comm, n, threads=2)
        mine = points[fft.plane_numbers.start : fft.plane_numbers.stop]
        rows = fft.forward(mine)
        expected = scipy.fft.rfftn(points).transpose(1, 0, 2)[fft.rows.start : fft.rows.stop]
        # Ten units of the last place of the largest value, about 200.
        np.testing.assert_allclose(rows, expected, rtol=0, atol=5e-13)
        np.testing.assert_allclose(fft.inverse(rows), mine, rtol=0, atol=1e-14)
