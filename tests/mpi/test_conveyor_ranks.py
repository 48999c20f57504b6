"""Transfers in the background, shared memory and the belt on MPI ranks; what happens when one of them is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from shutil import which

import numpy as np
import pytest

from pycryo.parallel import mpi as mpi_module
from pycryo.parallel import shared_memory as window
from pycryo.parallel.conveyor import WAYS, make_belt, measure_link
from pycryo.parallel.world import world

SHAPE = (2, 50)
BROKEN = Path(__file__).with_name("broken_belt.py")


def make(first, last, out):
    out[:] = np.arange(first, last)[:, None, None] + np.linspace(0, 0.5, 100).reshape(SHAPE)


@pytest.mark.parallel([1, 2, 3, 5])
def test_belts():
    comm = world()
    for way in WAYS:
        for n_item, shares in ((0, None), (1, None), (700, None), (700, (*(1.0,) * (comm.size - 1), 0.5))):
            belt = make_belt(way, comm, n_item, SHAPE, make, block=64, grain=32, shares=shares)
            seen = np.zeros(n_item, int)
            for first, items in belt.blocks():
                expected = np.empty_like(items)
                make(first, first + len(items), expected)
                np.testing.assert_array_equal(items, expected)
                seen[first : first + len(items)] += 1
                belt.progress()
            np.testing.assert_array_equal(seen, 1)
            made = comm.all_gather(belt.traffic.n_made)
            assert sum(made) == n_item * (comm.size if way == "local" else 1)
    link = measure_link(comm, 1 << 18)
    assert comm.all_gather(link) == [link] * comm.size


@pytest.mark.parallel([2, 3])
def test_transfers(monkeypatch):
    comm = world()
    after, before = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    for n in (0, 1, 300_000):
        coming = np.empty(n, np.float32)
        transfer = comm.begin_shift(np.full(n, comm.rank, np.float32), after, coming, before)
        transfer.progress()
        idle, exposed = transfer.wait()
        assert idle >= 0
        assert exposed >= 0
        np.testing.assert_array_equal(coming, before)
    # Rank 0 sends and nobody answers.
    coming = np.empty(3, np.float32) if comm.rank == 1 else None
    comm.begin_shift(np.arange(3, dtype=np.float32) if comm.rank == 0 else None, 1, coming, 0).wait()
    assert coming is None or coming.tolist() == [0, 1, 2]
    parts = np.zeros((2 * comm.size + 1, 4))
    bounds = [0, *(2 * rank + 1 for rank in range(1, comm.size)), len(parts)]
    parts[bounds[comm.rank] : bounds[comm.rank + 1]] = comm.rank + 1
    comm.gather_parts(parts, bounds)
    np.testing.assert_array_equal(parts[:, 0], np.repeat(np.arange(comm.size) + 1.0, np.diff(bounds)))
    for limit in (None, 16):
        if limit is not None:
            monkeypatch.setattr(mpi_module, "_CHUNK_BYTES", limit)
        everyone = [rank for rank in range(comm.size) if rank != comm.rank]
        incoming = {rank: np.empty(rank + 1) for rank in everyone}
        comm.swap({rank: np.full(comm.rank + 1, 10.0 * comm.rank + rank) for rank in everyone}, incoming)
        for rank, array in incoming.items():
            np.testing.assert_array_equal(array, 10.0 * rank + comm.rank)


@pytest.mark.parallel([1, 2, 3])
def test_one_array_for_all_ranks_of_a_node(monkeypatch):
    comm = world()
    node = comm.node()
    for is_small in (False, True):
        if is_small:  # as if the node had no memory to share: then each has a copy
            monkeypatch.setattr(window, "_SHARED_LIMIT", 0.0)
        for shape in ((0, 2), (3, 5), (1000, 7)):
            shared = node.shared_array(shape, np.float32)
            if node.rank == 0:
                shared.array[:] = np.arange(np.prod(shape)).reshape(shape)
            shared.publish()
            np.testing.assert_array_equal(shared.array, np.arange(np.prod(shape)).reshape(shape))
            if shared.array.size and comm.size > 1:
                comm.barrier()
                if node.rank == comm.size - 1:
                    shared.array[0, 0] = -1
                shared.publish()
                assert shared.array[0, 0] == (0 if is_small else -1)  # copies are those of rank 0 again
                comm.barrier()
            shared.close()
    node.free()


@pytest.mark.parametrize("how", ["kill", "raise", "raise twice", "exit"])
def test_a_rank_lost_in_mid_ring_ends_all(how):
    """Started from here: the test itself is one process."""
    begin = time.monotonic()
    launcher = which("mpiexec", path=str(Path(sys.executable).parent)) or which("mpiexec")
    if launcher is None:
        pytest.skip("no mpiexec")
    # Not as a rank of the launcher that the test itself may run under.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PMI", "HYDI", "MPI"))}
    done = subprocess.run(
        [launcher, "-n", "3", sys.executable, str(BROKEN), how],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    seconds = time.monotonic() - begin
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert output.count("in the ring") >= 3
    assert "reached the end" not in output
    if how.startswith("raise"):
        assert output.count("failed") == 1
        assert "rank 1 has lost its slices" in output
    # The limit for what follows the loss; starting Python takes the rest.
    assert seconds < 10 + 5
