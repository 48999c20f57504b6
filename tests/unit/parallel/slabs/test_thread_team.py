"""Threads that share items."""

import threading

import pytest

from pycryo.parallel.slabs.thread_team import team_of


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 100])
def test_each_item_is_worked_on_once(threads, n):
    done = []
    with team_of(threads) as team:
        list(team.map(done.append, range(n)))
    assert sorted(done) == list(range(n))


def test_one_thread_is_the_calling_one():
    seen = []
    with team_of(1) as team:
        list(team.map(lambda _: seen.append(threading.current_thread()), range(3)))
    assert set(seen) == {threading.current_thread()}


def test_an_error_reaches_the_caller():
    with team_of(3) as team, pytest.raises(ZeroDivisionError):
        list(team.map(lambda item: 1 / item, [1, 0, 2]))
