"""Progress of long loops: what a listener hears, that it changes nothing, and who hears nothing."""

import io
import itertools
import sys
import threading

import numpy as np
import pytest
from phantom import blobs
from thread_comm import run_ranks

import pycryo
from pycryo import progress


@pytest.fixture(scope="module")
def truth():
    return pycryo.Map(blobs().volume(32, 3.0), 3.0)


@pytest.fixture(scope="module")
def particles(truth):
    return pycryo.simulate(truth, n=60, snr=0.5, seed=3, shift_sd=1.0)


class Ear(list):
    def __call__(self, fraction, name):
        self.append((fraction, name))

    def phases(self):
        """Each phase with what was heard of it; a phase begins with 0."""
        found = []
        for fraction, name in self:
            if fraction == 0:
                found.append((name, []))
            assert found[-1][0] == name
            found[-1][1].append(fraction)
        return found


def check(ear):
    """Each phase goes from 0 to 1, never back."""
    for _, fractions in ear.phases():
        assert (fractions[0], fractions[-1]) == (0, 1)
        assert all(one <= other for one, other in itertools.pairwise(fractions))


def test_elements_are_passed_on_and_told():
    ear = Ear()
    assert list(progress.track(iter(range(3)), 3, "nobody hears")) == [0, 1, 2]
    with progress.told_to(ear), progress.within("iteration 2"):
        assert list(progress.track("abc", 6, "scan", lambda each: "abc".index(each) + 1)) == ["a", "b", "c"]
    name = "iteration 2, scan"
    assert ear == [(0, name), (pytest.approx(1 / 6), name), (0.5, name), (1, name)]
    assert list(progress.track(range(2), 2, "nobody hears")) == [0, 1]
    assert len(ear) == 4


def test_a_phase_inside_another_one_is_not_told():
    ear = Ear()
    with progress.told_to(ear):
        nested = [list(progress.track(range(each), each, "inner")) for each in progress.track(range(3), 3, "outer")]
        assert nested == [[], [0], [0, 1]]
        assert {name for _, name in ear} == {"outer"}
        stopped = progress.track(range(3), 3, "stopped")
        next(stopped)
        stopped.close()
        assert list(progress.track(range(2), 2, "again")) == [0, 1]
    assert ear[-1] == (1, "again")
    assert (1, "stopped") not in ear


def test_an_error_ends_what_is_told():
    ear = Ear()

    def fail():
        with progress.told_to(ear), progress.phase("one", 2) as advance:
            advance(1)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert ear == [(0, "one"), (0.5, "one")]
    with progress.told_to(ear):
        list(progress.track([1], 1, "two"))
    assert ear[-1] == (1, "two")


def test_nothing_is_an_end_too():
    ear = Ear()
    with progress.told_to(ear):
        assert list(progress.track([], 0, "empty")) == []
    assert ear == [(0, "empty"), (1, "empty")]


def test_other_threads_are_not_heard():
    ear = Ear()
    with progress.told_to(ear):
        thread = threading.Thread(target=lambda: list(progress.track([1], 1, "other")))
        thread.start()
        thread.join()
    assert ear == []


def test_a_bar_needs_a_terminal(monkeypatch):
    with progress.on_terminal():
        assert progress._current.get() is None  # stderr of a test is a file

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.on_terminal(False):
        assert progress._current.get() is None
    monkeypatch.setenv("TERM", "xterm")
    with progress.on_terminal():
        for _ in progress.track(range(2), 2, "work to be shown"):
            pass
        with progress.phase("left open", 2) as advance:
            advance(1)
            assert progress._current.get().listener._shown is not None
    assert "work to be shown" in sys.stderr.getvalue()
    assert progress._current.get() is None


def test_a_refinement_is_told_and_stays_the_same(particles, truth):
    start, options = pycryo.low_pass(truth, 30), pycryo.RefineOptions(max_iter=1)
    ear = Ear()
    told = pycryo.refine(particles, start, options, progress=ear)
    check(ear)
    names = [name for name, _ in ear.phases()]
    assert names[0] == "measuring images"
    first = [name for name in names if name.startswith("iteration 1, ")]
    assert {"iteration 1, scan", "iteration 1, poses of half 1", "iteration 1, maps"} <= set(first)
    assert names[-1] == "iteration 2, maps"
    silent = pycryo.refine(particles, start, options)
    np.testing.assert_array_equal(told.map.data, silent.map.data)
    np.testing.assert_array_equal(told.poses.quaternion, silent.poses.quaternion)


def test_rank_0_alone_is_told(particles, truth):
    ears = [Ear(), Ear()]

    def reconstruct(comm):
        return pycryo.reconstruct(particles, comm=comm, progress=ears[comm.rank]).map.data

    maps = run_ranks(2, reconstruct)
    check(ears[0])
    assert [name for name, _ in ears[0].phases()] == ["measuring images", "inserting images"]
    assert ears[1] == []
    np.testing.assert_array_equal(maps[0], pycryo.reconstruct(particles).map.data)


def test_simulations_and_initial_maps_are_told(particles, truth):
    ear = Ear()
    again = pycryo.simulate(truth, n=60, snr=0.5, seed=3, shift_sd=1.0, progress=ear)
    assert ear.phases() == [("simulating images", [0, 1])]
    np.testing.assert_array_equal(again.images(), particles.images())
    ear.clear()
    options = pycryo.AbinitioOptions(tries=1, first_batch=10, last_batch=12, first_resolution=60, last_resolution=30)
    pycryo.abinitio(particles[:20], options, progress=ear)
    check(ear)
    names = [name for name, _ in ear.phases()]
    assert names[0] == "reading images"
    assert names[-1] == "all images"


def test_errors_of_a_listener_are_held_until_asked_for():
    heard = []

    def fails(fraction, name):
        heard.append(fraction)
        raise KeyError(name)

    with progress.told_to(fails, holds_errors=True):
        assert list(progress.track(range(3), 3, "scan")) == [0, 1, 2]
        with pytest.raises(KeyError, match="scan"):
            progress.raise_held()
    assert heard == [0.0]  # it is called no more
    progress.raise_held()
    with progress.told_to(fails), pytest.raises(KeyError, match="scan"):
        list(progress.track(range(3), 3, "scan"))
