"""Every method of `MpiComm`, with messages cut into chunks as well."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest

from pycryo.errors import InputError, RunError
from pycryo.parallel import mpi as mpi_module
from pycryo.parallel.collective_errors import Meeting, on_root
from pycryo.parallel.kept import close_all
from pycryo.parallel.mpi import MpiComm
from pycryo.parallel.shared_buffers import shared_buffers
from pycryo.parallel.shared_memory import _open, has_windows
from pycryo.parallel.world import as_comm, world

SIZES = [2, 3]
SHAPES = [(), (0,), (1,), (7,), (3, 4, 5)]
TYPES = [np.float64, np.float32, np.int64, np.uint8]


@pytest.mark.parallel(SIZES)
def test_ranks_and_objects():
    from mpi4py import MPI

    comm = world()
    assert isinstance(comm, MpiComm)
    assert comm.size == MPI.COMM_WORLD.Get_size()
    assert comm.size in SIZES
    assert comm.rank == MPI.COMM_WORLD.Get_rank()
    assert (comm.node().rank, comm.node().size) == (comm.rank, comm.size)  # the tests run on one node
    assert isinstance(as_comm(MPI.COMM_WORLD), MpiComm)
    assert not isinstance(as_comm(MPI.COMM_SELF), MpiComm)
    mine = {"rank": comm.rank, "data": np.full(comm.rank, comm.rank)}
    for root in range(comm.size):
        value = comm.broadcast(mine, root)
        assert value["rank"] == root
        np.testing.assert_array_equal(value["data"], np.full(root, root))
        gathered = comm.gather(mine, root)
        if comm.rank == root:
            assert [each["rank"] for each in gathered] == list(range(comm.size))
        else:
            assert gathered is None
    assert [each["rank"] for each in comm.all_gather(mine)] == list(range(comm.size))
    check_splits(comm)


@pytest.mark.parallel(SIZES)
def test_arrays(monkeypatch):
    """In one message, in messages of 24 bytes, and of one element where 5 bytes do not hold it."""
    comm = world()
    for limit in (None, 24, 5):
        if limit is not None:
            monkeypatch.setattr(mpi_module, "_CHUNK_BYTES", limit)
        for shape, dtype in product(SHAPES, TYPES):
            check_collectives(comm, shape, dtype)
            check_ring(comm, shape, dtype)
    strided = np.zeros((4, 4))[:, ::2]
    for method in (comm.sum_array, comm.max_array, comm.broadcast_array):
        with pytest.raises(ValueError, match="C-contiguous"):
            method(strided)
    for method in (comm.send_array, comm.receive_array):
        with pytest.raises(ValueError, match="C-contiguous"):
            method(strided, 0)


def check_collectives(comm, shape, dtype):
    # Each rank has the largest value somewhere.
    index = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    of = [np.array((5 * index + 3 * rank) % 11, dtype) for rank in range(comm.size)]
    for root in range(comm.size):
        array = of[comm.rank].copy()
        comm.broadcast_array(array, root)
        np.testing.assert_array_equal(array, of[root])
    array = of[comm.rank].copy()
    comm.sum_array(array)
    np.testing.assert_array_equal(array, np.sum(of, axis=0))
    array = of[comm.rank].copy()
    comm.max_array(array)
    np.testing.assert_array_equal(array, np.max(of, axis=0))


def check_ring(comm, shape, dtype):
    """Everyone sends to the next rank and receives from the one before."""
    after, before = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    mine, got = np.full(shape, comm.rank + 1, dtype), np.zeros(shape, dtype)
    if comm.rank == 0:
        comm.send_array(mine, after)
        comm.receive_array(got, before)
    else:
        comm.receive_array(got, before)
        comm.send_array(mine, after)
    np.testing.assert_array_equal(got, np.full(shape, before + 1))


def check_splits(comm):
    last = comm.size - 1
    for members in ({0}, {last}, {0, last}, set(range(comm.size)), set(range(1, comm.size)), set()):
        part = comm.split(1 if comm.rank in members else None)
        if comm.rank not in members:
            assert part is None
            continue
        assert part.size == len(members)
        assert part.rank == sorted(members).index(comm.rank)
        assert part.all_gather(comm.rank) == sorted(members)
        array = np.array([10.0**comm.rank])
        part.sum_array(array)
        assert array[0] == sum(10.0**rank for rank in members)
        part.free()
    parity = comm.split(comm.rank % 2)
    assert parity.all_gather(comm.rank) == list(range(comm.rank % 2, comm.size, 2))


@pytest.mark.parallel(SIZES)
def test_agreement():
    comm = world()
    for root in range(comm.size):
        calls = []

        def work(root=root, calls=calls):
            calls.append(1)
            return {"made by": root}

        assert on_root(comm, work, root) == {"made by": root}
        assert len(calls) == (comm.rank == root)
        for raised, elsewhere in (
            (InputError("no such file x"), InputError),
            (RunError("disc full"), RunError),
            (OSError("gone"), RunError),
        ):
            with pytest.raises(type(raised) if comm.rank == root else elsewhere, match=str(raised)):
                on_root(comm, fail(raised), root)
    # The ranks are still in step.
    assert comm.all_gather(comm.rank) == list(range(comm.size))
    check_meeting(comm)


@pytest.mark.parallel(3)
def test_windows_with_different_others_are_closed_at_the_end():
    """Of the pairs 0, 1 and 1, 2, in which rank 1 is in the middle; those of a communicator that was freed are gone."""
    close_all()
    n_before = len(_open)
    comm = world()
    pairs = [comm.split(1 if comm.rank in members else None) for members in ((0, 1), (1, 2), (0, 2))]
    for pair in pairs:
        if pair is not None:
            shared_buffers(pair).reserve(100)
    assert len(_open) == n_before + 4
    if pairs[2] is not None:
        pairs[2].free()
    close_all()
    assert len(_open) == n_before
    for pair in pairs[:2]:
        if pair is not None:
            assert shared_buffers(pair) is shared_buffers(pair)  # made anew
            pair.free()
    assert len(_open) == n_before
    assert has_windows() == bool(n_before)


def fail(error):
    def work():
        raise error

    return work


def check_meeting(comm):
    assert Meeting(comm).all_arrive(20.0)
    meeting = Meeting(comm)
    if comm.rank == 0:
        began = time.monotonic()
        assert not meeting.all_arrive(0.2)
        assert time.monotonic() - began >= 0.2
    comm.broadcast(None)  # the others come only now
    if comm.rank != 0:
        assert meeting.all_arrive(20.0)
