"""Work on files in the background: its order, its errors, one iteration at a time."""

import threading

import pytest

from pycryo.errors import InputError, RunError
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.files.background import Background


def test_work_is_done_in_order_beside_the_caller():
    background, done, begun, gate = Background(), [], threading.Event(), threading.Event()
    background.add(begun.set)
    background.add(gate.wait)
    for number in range(5):
        background.add(lambda number=number: done.append((number, threading.current_thread())))
    assert not begun.is_set()
    background.start()
    # The caller goes on while the work waits for it.
    assert begun.wait(60)
    assert not done
    gate.set()
    background.settle(SerialComm())
    # What is added now is of the next iteration: it waits until it is wanted.
    background.add(lambda: done.append((5, threading.current_thread())))
    assert [number for number, _ in done] == list(range(5))
    background.settle(SerialComm())
    assert [number for number, _ in done] == list(range(6))
    assert len({thread for _, thread in done[:5]} | {threading.main_thread()}) == 2


def test_what_follows_a_failure_is_given_up_and_the_error_told_once():
    background, done = Background(), []

    def fail():
        raise RunError("the disc is full")

    background.add(lambda: done.append("before"), lambda: done.append("not given up"))
    background.add(fail)
    background.add(lambda: done.append("work"), lambda: done.append("given up"))
    background.add(lambda: done.append("more"))
    with pytest.raises(RunError, match="disc is full"):
        background.settle(SerialComm())
    assert done == ["before", "given up"]
    background.settle(SerialComm())
    background.add(lambda: done.append("again"))
    background.settle(SerialComm())
    assert done[-1] == "again"


def test_close_does_what_was_added_and_raises_nothing():
    background, done = Background(), []
    background.close()

    def fail():
        done.append("failed")
        raise InputError("no permission")

    background.add(fail)
    background.close()
    assert done == ["failed"]
    background.add(lambda: done.append("anew"))
    background.close()
    assert done == ["failed", "anew"]


def test_other_ranks_hear_of_the_error():
    class OtherRank(SerialComm):
        rank, size = 1, 2

        def broadcast(self, value, root=0):
            return None, "RunError", "the disc is full"

    with pytest.raises(RunError, match="disc is full"):
        Background().settle(OtherRank())
