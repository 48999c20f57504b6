"""Which rank tells what went wrong, when some ranks failed and the others did not."""

from types import SimpleNamespace

import pytest

from pycryo.cli import session
from pycryo.errors import RunError


class OneOfMany:
    size = 1000

    def __init__(self, rank):
        self.rank, self.aborted = rank, None

    def abort(self, code):
        self.aborted = code


@pytest.mark.parametrize("rank, seconds", [(0, 3.0), (1, 3.2), (2, 3.4), (999, 5.0)])
def test_the_first_that_failed_ends_the_others_before_they_tell_it_too(monkeypatch, capsys, rank, seconds):
    waited = []

    class NobodyCame:
        def __init__(self, comm):
            assert comm is one

        def all_arrive(self, seconds):
            waited.append(seconds)
            return False

    def work():
        raise RunError("the disc is full")

    monkeypatch.setattr(session, "Meeting", NobodyCame)
    monkeypatch.setattr(session.time, "sleep", lambda seconds: None)  # until it is ended
    one, ended = OneOfMany(rank), []
    assert session.guarded(one, "test", work, before_end=lambda *words: ended.append(words)) == 1
    message = "pycryo test: failed: the disc is full"
    assert waited == [pytest.approx(seconds)]
    assert (capsys.readouterr().err, ended, one.aborted) == (f"{message}\n", [(1, message)], 1)


@pytest.mark.parametrize("rank", [0, 1])
def test_ranks_that_cannot_end_by_themselves_are_ended_by_the_first(monkeypatch, rank):
    """After all have failed alike: rank 0 has left the folder in order before."""
    one, done = OneOfMany(rank), []

    def work():
        raise RunError("the disc is full")

    monkeypatch.setattr(session, "Meeting", lambda comm: SimpleNamespace(all_arrive=lambda seconds: True))
    monkeypatch.setattr(session, "must_abort", lambda comm: True)
    monkeypatch.setattr(session.time, "sleep", lambda seconds: done.append("waits"))
    monkeypatch.setattr(one, "abort", lambda code: done.append(("abort", code)))
    assert session.guarded(one, "test", work, before_end=lambda *_: done.append("in order")) == 1
    assert done == (["in order", ("abort", 1), "waits"] if rank == 0 else ["waits"])
