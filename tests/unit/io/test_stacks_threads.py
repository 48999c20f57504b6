"""Stacks of every mode and order are read alike by any number of threads, in pieces of any size."""

import subprocess
import sys

import numpy as np
import pytest

from pycryo.io import mrc_stacks
from pycryo.io.mrc_header import MODES, new_header
from pycryo.io.mrc_stacks import read_stack, write_stack
from pycryo.threads import set_threads


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", sorted(MODES))
def test_pieces_and_threads(tmp_path, rng, monkeypatch, mode, order):
    n, box = 23, 10
    data = (100 * rng.standard_normal((n, box, box))).astype(MODES[mode])
    header = new_header(data.shape, 1.0, mode, np.zeros((1, 4)), is_volume=False)
    header = header.astype(header.dtype.newbyteorder(order))
    stamp = b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0"
    raw = bytearray(header.tobytes())
    raw[212:216] = stamp
    path = tmp_path / "a.mrcs"
    path.write_bytes(bytes(raw) + data.astype(data.dtype.newbyteorder(order)).tobytes())
    rows = np.concatenate([np.arange(n), rng.integers(0, n, 40), [3, 3, 4, 4]])
    monkeypatch.setattr(mrc_stacks, "_LEAST_READ", 500)
    monkeypatch.setattr(mrc_stacks, "_MOST_READ", 700)
    try:
        for threads in (1, 3):
            set_threads(threads)
            for chosen in (np.arange(n), rows):
                np.testing.assert_array_equal(read_stack(path, chosen), data[chosen].astype(np.float32))
    finally:
        set_threads(None)


def test_a_call_for_each_thread(monkeypatch):
    def runs(n, threads):
        return [(each.start, each.stop) for each in mrc_stacks._runs(np.arange(n), 1000, threads)]

    monkeypatch.setattr(mrc_stacks, "_LEAST_READ", 10_000)
    monkeypatch.setattr(mrc_stacks, "_MOST_READ", 40_000)
    assert runs(8, 2) == [(0, 8)]
    assert runs(50, 2) == [(0, 25), (25, 50)]
    assert runs(50, 16) == [(0, 10), (10, 20), (20, 30), (30, 40), (40, 50)]
    assert runs(100, 1) == [(0, 40), (40, 80), (80, 100)]


FORK = """
import os, signal, sys, warnings
import numpy as np
from pycryo.io import mrc_stacks
from pycryo.threads import set_threads

mrc_stacks._LEAST_READ = 500
set_threads(2)
before = mrc_stacks.read_stack(sys.argv[1], range(20))
warnings.simplefilter("ignore")  # newer Pythons warn of forks of processes with threads
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(int(not np.array_equal(mrc_stacks.read_stack(sys.argv[1], range(20)), before)))
sys.exit(os.waitpid(child, 0)[1])
"""


def test_a_forked_process_reads_with_threads_of_its_own(tmp_path, rng):
    write_stack(tmp_path / "a.mrcs", [rng.standard_normal((20, 8, 8)).astype(np.float32)], (8, 8), 1.0)
    assert subprocess.run([sys.executable, "-c", FORK, str(tmp_path / "a.mrcs")]).returncode == 0
