"""Work on files in the background: its order, its errors, one iteration at a time."""

import threading

import pytest

from pycryo.errors import InputError, RunError
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.files.background import Background


def test_work_is_done_in_order_beside_the_caller():
    background, done, gate = Background(), [], threading.Event()
    background.begin(gate.wait)
    for number in range(5):
        background.begin(lambda number=number: done.append((number, threading.current_thread())))
    assert not done
    gate.set()
    background.settle(SerialComm())
    assert [number for number, _ in done] == list(range(5))
    assert {thread for _, thread in done}.isdisjoint({threading.main_thread()})
    assert len({thread for _, thread in done}) == 1
    background.close()


def test_nothing_is_done_after_a_failure_and_the_first_error_is_told_once():
    background, done = Background(), []

    def fail():
        raise RunError("the disc is full")

    background.begin(lambda: done.append("before"))
    background.begin(fail)
    background.begin(lambda: done.append("work"), lambda: done.append("given up"))
    background.begin(lambda: done.append("more"))
    with pytest.raises(RunError, match="disc is full"):
        background.settle(SerialComm())
    assert done == ["before", "given up"]
    background.settle(SerialComm())
    background.begin(lambda: done.append("again"))
    background.settle(SerialComm())
    assert done[-1] == "again"
    background.close()


def test_close_waits_and_raises_nothing():
    background, done = Background(), []
    background.close()

    def fail():
        done.append("failed")
        raise InputError("no permission")

    background.begin(fail)
    background.close()
    assert done == ["failed"]
    background.begin(lambda: done.append("anew"))
    background.close()
    assert done == ["failed", "anew"]


def test_other_ranks_hear_of_the_error():
    class OtherRank(SerialComm):
        rank, size = 1, 2

        def broadcast(self, value, root=0):
            return None, "RunError", "the disc is full"

    with pytest.raises(RunError, match="disc is full"):
        Background().settle(OtherRank())
