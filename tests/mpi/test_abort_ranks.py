"""RELION's request to end is met by all ranks alike; rank 0 tells it, and ends MPI."""

from __future__ import annotations

import time

import pytest

from pycryo.cli.abort_file import ABORT_NAME, obeys_abort_file
from pycryo.cli.session import guarded
from pycryo.parallel.world import world


@pytest.mark.parallel([2])
def test_all_ranks_end_by_the_abort_file(folder, monkeypatch):
    comm, ended, aborted = world(), [], []
    monkeypatch.setattr(type(comm), "abort", lambda self, code: aborted.append(code))

    def work():
        with obeys_abort_file(folder, 0.2):
            comm.all_gather(None)
            if comm.rank == 0:
                (folder / ABORT_NAME).touch()
            time.sleep(20)

    code = guarded(comm, "refine", work, before_end=lambda *words: ended.append(words))
    assert code == 143
    assert ended == ([(143, "pycryo refine: interrupted")] if comm.rank == 0 else [])
    assert aborted == ([143] if comm.rank == 0 else [])
