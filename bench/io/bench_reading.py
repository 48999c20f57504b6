"""Reading of images: whole batches of a stack against plain reads of as many pixels as float32 by as many threads.

All of it from the page cache. Bytes are those of the float32 pixels that are handed out, of float16 twice those that
are read; the limit is a plain read of a float32 stack, which writes as many.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from weakref import finalize

import numpy as np

from pycryo.benchmark.cases import Case
from pycryo.benchmark.limits import Limit
from pycryo.benchmark.script import main
from pycryo.io.mrc_header import MODES, MrcHeader, new_header, read_header
from pycryo.io.mrc_stacks import read_stack
from pycryo.threads import get_threads

BOX, N_IMAGE, BATCH = 128, 2048, 256


def make_stack(path: Path, mode: int, order: str) -> MrcHeader:
    """Noise in a mode and byte order (< or >)."""
    images = np.random.default_rng(0).standard_normal((BATCH, BOX, BOX), dtype=np.float32)
    header = new_header((N_IMAGE, BOX, BOX), 1.0, mode, np.zeros((1, 4)), is_volume=False)
    raw = bytearray(header.astype(header.dtype.newbyteorder(order)).tobytes())
    raw[212:216] = b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0"
    block = images.astype(np.dtype(MODES[mode]).newbyteorder(order)).tobytes()
    with open(path, "wb") as file:
        file.write(raw)
        for _ in range(N_IMAGE // BATCH):
            file.write(block)
    return read_header(path)


def read_all(header: MrcHeader) -> None:
    """In batches, as a refinement does."""
    for first in range(0, N_IMAGE, BATCH):
        read_stack(header, np.arange(first, first + BATCH))


def plain(header: MrcHeader) -> Callable[[], None]:
    """Reads of the same bytes, each batch into new memory, cut among the threads."""
    descriptor, threads, size = os.open(header.path, os.O_RDONLY), get_threads(), BATCH * header.image_bytes
    cuts = np.linspace(0, size, threads + 1).astype(np.int64).tolist()
    pool = ThreadPoolExecutor(threads)

    def piece(target: memoryview, offset: int, part: int) -> None:
        os.preadv(descriptor, [target[cuts[part] : cuts[part + 1]]], offset + cuts[part])

    def run() -> None:
        for first in range(0, N_IMAGE, BATCH):
            target = np.empty(size, np.uint8).data
            offset = header.offset + first * header.image_bytes
            if threads == 1:
                piece(target, offset, 0)
            else:
                list(pool.map(partial(piece, target, offset), range(threads)))

    finalize(run, os.close, descriptor)
    return run


def cases() -> list[Case]:
    """2048 images of 128 px in batches of 256, from float32 and float16, in both byte orders."""
    folder = tempfile.TemporaryDirectory(prefix="pycryo-bench-")
    atexit.register(folder.cleanup)
    size = N_IMAGE * BOX * BOX * 4
    limit = Limit("plain read", plain(make_stack(Path(folder.name) / "plain.mrcs", 2, "<")), size, "B/s")
    found = []
    for mode in (2, 12):
        for order in ("<", ">"):
            name = f"{np.dtype(MODES[mode]).name} {'little' if order == '<' else 'big'}-endian"
            header = make_stack(Path(folder.name) / f"{mode}{'l' if order == '<' else 'b'}.mrcs", mode, order)
            found.append(Case(f"reading {name}", partial(read_all, header), size, "B/s", limit, goal=0.8))
    return found


if __name__ == "__main__":
    raise SystemExit(main(cases()))
