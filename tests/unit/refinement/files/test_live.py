"""The page of a run that goes on: its turn, one at a time, and no failure of it ends the run."""

import logging
import threading
from types import SimpleNamespace

import pytest

from pycryo.errors import RunError
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.files import live
from pycryo.refinement.files.background import Background
from pycryo.refinement.files.live import LiveReport
from pycryo.report import page


class Case:
    """A run whose writer writes nothing."""

    def __init__(self, folder, every, rank=0):
        self.written = []
        self.background = Background()
        comm = SimpleNamespace(rank=rank)
        self.setup = SimpleNamespace(partition=SimpleNamespace(comm=comm), background=self.background)

        def writer(setup, outcome, history):
            self.written.append(outcome.record.number)

        writer.folder = folder
        self.report = LiveReport(writer, every)

    def iteration(self, number, *, is_final=False, optics=None):
        record = SimpleNamespace(number=number)
        self.report(self.setup, SimpleNamespace(record=record, is_final=is_final, optics=optics), [])
        self.background.settle(SerialComm())


def built(monkeypatch, gate=None):
    """Folders that a page was built of; each waits for the gate."""
    found = []

    def build(folder):
        found.append(folder)
        assert gate is None or gate.wait(60)

    monkeypatch.setattr(page, "build_report", build)
    return found


@pytest.mark.parametrize("every, expected", [(0, 0), (1, 5), (2, 3), (4, 1)])
def test_every_few_iterations(tmp_path, monkeypatch, every, expected):
    found, case = built(monkeypatch), Case(tmp_path, every)
    for number in range(1, 7):
        case.iteration(number, is_final=number == 6)
        case.report.close()
    assert case.written == list(range(1, 7))
    # The final iteration's page is that of the command's end.
    assert found == [tmp_path] * (expected - (every in (2,)))


def test_only_rank_0_builds(tmp_path, monkeypatch):
    found, case = built(monkeypatch), Case(tmp_path, 1, rank=1)
    case.iteration(1, optics=SimpleNamespace())
    case.report.close()
    assert (case.written, found) == ([1], [])


def test_the_run_does_not_wait_for_the_page(tmp_path, monkeypatch):
    gate = threading.Event()
    found, case = built(monkeypatch, gate), Case(tmp_path, 1)
    for number in (1, 2, 3):  # the second and third turn come while the first page is built
        case.iteration(number)
    assert case.written == [1, 2, 3]
    assert len(found) == 1
    gate.set()
    case.report.close()
    case.iteration(4)
    case.report.close()
    assert len(found) == 2


def test_a_page_that_fails_is_told(tmp_path, monkeypatch, caplog):
    def build(folder):
        raise KeyError("x")

    monkeypatch.setattr(page, "build_report", build)
    case = Case(tmp_path, 1)
    with caplog.at_level(logging.WARNING, "pycryo"):
        case.iteration(1)
        case.report.close()
    assert "the report of an iteration could not be made (KeyError: 'x')" in caplog.text


def test_phases_are_drawn_where_something_was_found(tmp_path, monkeypatch, caplog):
    drawn, case = [], Case(tmp_path, 0)
    monkeypatch.setattr(live, "write_phases", lambda folder, found: drawn.append((folder, found)))
    case.iteration(1)
    case.iteration(2, optics="found")
    assert drawn == [(tmp_path, "found")]

    def fail(error):
        def write(folder, found):
            raise error

        return write

    monkeypatch.setattr(live, "write_phases", fail(ValueError("no figure")))
    with caplog.at_level(logging.WARNING, "pycryo"):
        case.iteration(3, optics="found")
    assert "the phase errors could not be drawn (ValueError: no figure)" in caplog.text
    monkeypatch.setattr(live, "write_phases", fail(RunError("the disc is full")))
    with pytest.raises(RunError, match="the disc is full"):
        case.iteration(4, optics="found")
