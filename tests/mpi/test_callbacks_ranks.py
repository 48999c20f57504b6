"""What an observer or a progress callback raises on one rank ends the run on all of them: nobody waits for ever."""

from __future__ import annotations

import pytest
from phantom import blobs

import pycryo
from pycryo.parallel.world import world


def fail(*_):
    raise KeyError("boom")


@pytest.fixture(scope="module")
def scene():
    start = pycryo.Map(blobs().volume(16, 30.0), 4.0)
    return pycryo.simulate(start, n=16, snr=2.0, shift_sd=0.2), start


def check(call, failing):
    """The rank that failed has its own error, the others are told of it."""
    kind = KeyError if world().rank == failing else pycryo.RunError
    with pytest.raises(kind, match="boom"):
        call()


@pytest.mark.parallel([2])
@pytest.mark.parametrize("failing", [0, 1])
def test_observers(scene, failing):
    comm = world()
    options = pycryo.RefineOptions(max_iter=1, ini_high=30.0, threads=1)
    observer = fail if comm.rank == failing else None
    check(lambda: pycryo.refine(*scene, options, comm=comm, observer=observer), failing)


@pytest.mark.parallel([2])
def test_progress(scene):
    comm, (particles, start) = world(), scene
    heard = []

    def late(*told):
        heard.append(told)
        if len(heard) > 12:
            fail()

    options = pycryo.RefineOptions(max_iter=1, ini_high=30.0, threads=1)
    for progress in (fail, late):
        check(lambda progress=progress: pycryo.refine(particles, start, options, comm=comm, progress=progress), 0)
    assert len(heard) == (13 if comm.rank == 0 else 0)
    check(lambda: pycryo.reconstruct(particles, comm=comm, progress=fail), 0)
    few = pycryo.AbinitioOptions(tries=1, first_batch=4, last_batch=4, threads=1)
    check(lambda: pycryo.abinitio(particles, few, comm=comm, progress=fail), 0)
