"""What communicators keep is closed once, in its order, by ranks that end well only."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from pycryo.parallel import collective_errors, kept
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.mpi import MpiComm


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(kept, "_kept", [])
    monkeypatch.delattr(sys, "last_value", raising=False)


class Thing:
    def __init__(self, name, closed):
        self.name, self.closed = name, closed

    def close(self):
        self.closed.append(self.name)


def keep(names, closed):
    """Things of two communicators, kept in turn."""
    places = ({}, {})
    for number, name in enumerate(names):
        things = places[number % 2]
        things[name] = Thing(name, closed)
        kept.close_at_exit(things, name)
    return places


def test_closed_once_in_their_order():
    closed = []
    first, second = keep("abcde", closed)
    first.pop("c").close()  # with its communicator
    kept.close_all()
    assert closed == ["c", "a", "b", "d", "e"]
    assert not first
    assert not second
    kept.close_all()
    assert len(closed) == 5


def test_what_is_closed_is_not_remembered():
    closed = []
    for _ in range(5):
        things, _ = keep("a", closed)
        things.pop("a").close()
    assert len(kept._kept) == 1


def test_ranks_that_fail_close_nothing(monkeypatch):
    closed = []
    keep("ab", closed)
    assert not collective_errors.must_abort(SerialComm())
    kept.close_all()
    keep("ab", closed)
    monkeypatch.setattr(sys, "last_value", KeyError(), raising=False)
    kept.close_all()
    assert not closed


@pytest.mark.parametrize(
    "vendor, windows, expected", [("Open MPI", 1, True), ("Open MPI", 0, False), ("MPICH", 1, False)]
)
def test_who_cannot_end_by_itself(monkeypatch, vendor, windows, expected):
    comm = object.__new__(MpiComm)
    comm._mpi = SimpleNamespace(get_vendor=lambda: (vendor, (5, 0, 0)))
    monkeypatch.setattr(collective_errors, "has_windows", lambda: bool(windows))
    assert collective_errors.must_abort(comm) == expected


@pytest.mark.parametrize("end, printed", [("", "closed\n"), ("1 / 0", "")])
def test_at_the_end_of_the_process(end, printed):
    code = (
        "from types import SimpleNamespace\n"
        "from pycryo.parallel.kept import close_at_exit\n"
        "close_at_exit({1: SimpleNamespace(close=lambda: print('closed'))}, 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code + end], capture_output=True, text=True, check=False)
    assert done.stdout == printed
