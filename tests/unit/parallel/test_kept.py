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
    monkeypatch.setattr(kept, "_closes", [])
    monkeypatch.delattr(sys, "last_value", raising=False)


def test_closed_once_in_their_order():
    closed = []
    closes = [lambda number=number: closed.append(number) for number in range(4)]
    for close in closes:
        kept.close_at_exit(close)
    closes[1]()
    kept.is_closed(closes[1])
    kept.is_closed(closes[1])
    kept.close_all()
    assert closed == [1, 0, 2, 3]
    kept.close_all()
    assert closed == [1, 0, 2, 3]


def test_ranks_that_fail_close_nothing(monkeypatch):
    closed = []
    kept.close_at_exit(lambda: closed.append(1))
    assert not collective_errors.must_abort(SerialComm())
    kept.close_all()
    kept.close_at_exit(lambda: closed.append(2))
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
    code = f"from pycryo.parallel.kept import close_at_exit\nclose_at_exit(lambda: print('closed'))\n{end}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == printed
