"""Buffers of the ranks of a node: nobody reads too early or writes too early, and all of it without a message."""

from __future__ import annotations

import time

import numpy as np
import pytest
from thread_comm import ThreadComm, run_ranks

from pycryo.parallel.comm import SerialComm, SharedArray
from pycryo.parallel.shared_buffers import shared_buffers


@pytest.fixture(autouse=True)
def ranks_have_peers(monkeypatch):
    monkeypatch.setattr(ThreadComm, "has_peers", True)


def slow(*what):
    """Some ranks and turns are slower than others."""
    time.sleep(1e-3 * (sum(what) % 5))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_every_buffer_is_read_as_it_was_written(size):
    n_turn, n = 12, 10

    def work(comm):
        shared = shared_buffers(comm)
        assert shared is shared_buffers(comm)
        shared.reserve(8 * n)
        assert shared.peers == list(range(size))
        unread = []

        def read(turn):
            shared.wait(turn)
            for rank in shared.peers:
                slow(comm.rank, turn, rank)
                np.testing.assert_array_equal(
                    shared.buffer(rank, comm.rank, turn, np.int64)[:n], 100 * turn + 10 * rank + comm.rank
                )
            shared.leave(turn)

        for _ in range(n_turn):
            unread.append(shared.next_turn())
            slow(comm.rank, len(unread))
            for rank in shared.peers:
                shared.buffer(comm.rank, rank, unread[-1], np.int64)[:n] = 100 * unread[-1] + 10 * comm.rank + rank
            shared.show(unread[-1])
            if len(unread) > 1:
                read(unread[-2])
        read(unread[-1])
        assert unread == list(range(1, n_turn + 1))

    run_ranks(size, work)


def test_buffers_wait_for_their_readers():
    """The buffer of the fourth turn is that of the first, which the other rank has not left yet."""

    def work(comm):
        shared = shared_buffers(comm)
        shared.reserve(8)
        for _ in range(3):
            shared.show(shared.next_turn())
        if comm.rank == 0:
            time.sleep(0.02)
        left = time.perf_counter()
        shared.leave(1)
        shared.next_turn()
        return left, time.perf_counter()

    (left, _), (_, began) = run_ranks(2, work)
    assert began > left


def test_buffers_grow():
    def work(comm):
        shared = shared_buffers(comm)
        for n in (1, 100, 50, 10_000):
            shared.reserve(8 * n)
            turn = shared.next_turn()
            for rank in shared.peers:
                shared.buffer(comm.rank, rank, turn, np.int64)[:n] = n + comm.rank
            shared.show(turn)
            shared.wait(turn)
            for rank in shared.peers:
                np.testing.assert_array_equal(shared.buffer(rank, comm.rank, turn, np.int64)[:n], n + rank)
            shared.leave(turn)
        shared.close()

    run_ranks(3, work)


@pytest.mark.parametrize("per_node, peers", [(1, [[0], [1], [2]]), (2, [[0, 1], [0, 1], [2]])])
def test_peers_are_the_ranks_of_a_node(monkeypatch, per_node, peers):
    monkeypatch.setattr(ThreadComm, "ranks_per_node", per_node)

    def work(comm):
        shared_buffers(comm).reserve(8)
        return shared_buffers(comm).peers

    assert run_ranks(3, work) == peers


def test_nodes_without_memory_to_share(monkeypatch):
    """Each rank is its own only mate and has no room."""
    monkeypatch.setattr(ThreadComm, "shared_array", lambda self, shape, dtype: Copy(np.zeros(shape, dtype)))

    def work(comm):
        shared = shared_buffers(comm)
        shared.reserve(8)
        turn = shared.next_turn()
        shared.show(turn)
        shared.wait(turn)
        shared.leave(turn)
        assert shared.peers == [comm.rank]
        with pytest.raises(ValueError, match="rank: expected a peer"):
            shared.buffer(comm.rank, 1 - comm.rank, turn, np.int64)

    run_ranks(2, work)


class Copy(SharedArray):
    is_shared = False


def test_one_process_has_none():
    with pytest.raises(ValueError, match="nobody to exchange with"):
        shared_buffers(SerialComm())
