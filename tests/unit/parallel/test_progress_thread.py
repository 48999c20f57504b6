"""The thread that lets messages move on."""

import threading

import pytest

from pycryo.parallel.progress_thread import ProgressThread


def test_calls_until_there_is_nothing_left():
    calls, done = [], threading.Event()

    def progress():
        calls.append(threading.current_thread())
        if len(calls) % 3 == 0:
            done.set()
        return len(calls) % 3 == 0

    with ProgressThread(progress) as pump:
        assert not calls
        for number in (3, 6):
            done.clear()
            pump.start()
            assert done.wait(10)
            assert len(calls) == number
    assert threading.main_thread() not in calls
    assert not any(thread.is_alive() for thread in calls)


def test_ends_with_its_context_whatever_happens():
    started = threading.Event()

    def never():
        started.set()
        return False

    def work():
        with ProgressThread(never) as pump:
            pump.start()
            assert started.wait(10)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert not any(thread.name == "pycryo-messages" for thread in threading.enumerate())
