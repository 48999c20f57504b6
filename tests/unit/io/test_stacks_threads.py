"""Stacks of every mode and order are read alike by any number of threads, in pieces of any size."""

import numpy as np
import pytest

from pycryo.io import mrc_stacks
from pycryo.io.mrc_header import MODES, new_header
from pycryo.io.mrc_stacks import read_stack
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
    monkeypatch.setattr(mrc_stacks, "_READ_BYTES", 700)
    try:
        for threads in (1, 3):
            set_threads(threads)
            for chosen in (np.arange(n), rows):
                np.testing.assert_array_equal(read_stack(path, chosen), data[chosen].astype(np.float32))
    finally:
        set_threads(None)
