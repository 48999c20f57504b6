"""Stacks of images in MRC files: read by number, written as a stream."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError, RunError
from pycryo.io._pixels import read_float16, read_turned_float32, send_to_disc
from pycryo.io.atomic import atomic_path
from pycryo.io.mrc_header import HEADER_BYTES, MODES, MrcHeader, new_header, read_header, statistics_of, summary
from pycryo.io.sources.array_stack import ArrayStack
from pycryo.threads import get_threads

log = logging.getLogger(__name__)

# Bytes of neighbouring images that are read in one call. Where that is enough, each thread makes one: with more calls
# the threads wait for each other.
_LEAST_READ, _MOST_READ = 2 << 20, 16 << 20
# Written in one call. The page cache makes pages as large as a call, and large ones may have to be cleared first, by a
# virtual machine's host too: 1 MiB takes up to ten times as long as four of these.
_WRITE_BYTES = 256 << 10
# A file of a network's file system may be out of sight for a while: seconds to wait for it, and between two looks.
LATE, _LOOK = 10.0, 0.1
_OUT_OF_SIGHT = (errno.ENOENT, errno.ESTALE)
# Seconds: nodes may round the time of a file's last change differently.
_CLOCK = 1.0


def write_stack(
    path: str | os.PathLike[str],
    blocks: Iterable[NDArray[Any]],
    shape: tuple[int, int],
    pixel_size: float,
    *,
    mode: int = 2,
) -> int:
    """Write images block by block as one MRC stack, atomically; only one block is in memory.

    Parameters
    ----------
    path : path
        The stack, usually ``*.mrcs``.
    blocks : iterable of (n, ny, nx) or (ny, nx) arrays
        The images in order.
    shape : (ny, nx)
        Rows and columns of each image.
    pixel_size : float
        Å.
    mode : {2, 12}
        float32 or float16.

    Returns
    -------
    int
        How many images were written.
    """
    if mode not in (2, 12):
        raise ValueError(f"mode: expected 2 or 12, got {mode}")
    dtype = np.dtype(MODES[mode]).newbyteorder("<")
    statistics, n = np.zeros((0, 4)), 0
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(bytes(HEADER_BYTES))
        for block in blocks:
            images = np.ascontiguousarray(block, dtype).reshape((-1, *block.shape[-2:]))
            if images.shape[1:] != tuple(shape):
                raise ValueError(f"images: expected shape {tuple(shape)}, got {images.shape[1:]}")
            # The disc works while the next images are made: little is left for the end, which waits for it.
            begin, pixels = file.tell(), images.reshape(-1).view(np.uint8).data
            for first in range(0, images.nbytes, _WRITE_BYTES):
                file.write(pixels[first : first + _WRITE_BYTES])
            send_to_disc(file.fileno(), begin, images.nbytes)
            statistics = summary(np.concatenate([statistics, *map(statistics_of, images)]))
            n += len(images)
        file.seek(0)
        file.write(new_header((n, *shape), pixel_size, mode, statistics, is_volume=False).tobytes())
    return n


def read_stack(
    stack: str | os.PathLike[str] | MrcHeader | ArrayStack, indices: Sequence[int] | NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """Read images of a stack by number.

    Parameters
    ----------
    stack : path, MrcHeader or ArrayStack
        A header read before saves reading it again.
    indices : (n,) ints
        0-based numbers in any order; neighbours are read in one call, by as many threads as kernels use.

    Returns
    -------
    (n, ny, nx) float32

    Raises
    ------
    InputError
        If the header is bad or an index is beyond the stack.
    RunError
        If the file was changed since its header was read, or vanished for more than `LATE` seconds.
    """
    wanted = np.asarray(indices, np.int64)
    if isinstance(stack, ArrayStack):
        return stack.read(wanted)
    header = stack if isinstance(stack, MrcHeader) else read_header(stack)
    if wanted.size and not 0 <= wanted.min() <= wanted.max() < header.nz:
        beyond = wanted[(wanted < 0) | (wanted >= header.nz)][0]
        raise InputError(f"{header.path} has {header.nz} images; there is no image {beyond + 1}")
    out = np.empty((wanted.size, header.ny, header.nx), np.float32)
    order = np.argsort(wanted, kind="stable")
    end = None
    while True:
        try:
            with open(header.path, "rb", buffering=0) as file:
                _refuse_change(header, os.fstat(file.fileno()))
                _read_runs(file.fileno(), header, wanted, order, out)
            return out
        except OSError as error:
            if end is None:
                end = time.monotonic() + LATE
                if error.errno in _OUT_OF_SIGHT:
                    log.warning("%s is not there (%s): waiting for it", header.path, error.strerror)
            if error.errno not in _OUT_OF_SIGHT or time.monotonic() >= end:
                raise RunError(
                    f"cannot read {header.path}: {error.strerror}; check that the disc is still there, then go on from "
                    "the last checkpoint"
                ) from error
            time.sleep(_LOOK)


def _refuse_change(header: MrcHeader, now: os.stat_result) -> None:
    """Raise RunError if the file is not the one whose header was read."""
    size, changed = header.stamp
    if now.st_size < size:
        what = f"was cut off during the run: it has {now.st_size} bytes, no longer {size}"
    elif now.st_size > size or abs(now.st_mtime - changed) > _CLOCK:
        what = "was changed during the run"
    else:
        return
    raise RunError(
        f"{header.path} {what}; bring back the file that the run began with and go on from the last checkpoint, or "
        "begin anew with the changed one"
    )


def _runs(ordered: NDArray[np.int64], image_bytes: int, threads: int) -> Iterable[slice]:
    """Slices of the sorted indices that are neighbours (or equal) and are read in one call."""
    share = -(-ordered.size * image_bytes // threads)
    most = max(1, -(-min(max(share, _LEAST_READ), _MOST_READ) // max(1, image_bytes)))
    ends = [*(np.flatnonzero(np.diff(ordered) > 1) + 1).tolist(), ordered.size]
    first = 0
    for end in ends:
        yield from (slice(begin, min(end, begin + most)) for begin in range(first, end, most))
        first = end


def _read_runs(
    descriptor: int, header: MrcHeader, wanted: NDArray[np.int64], order: NDArray[np.intp], out: NDArray[np.float32]
) -> None:
    """Read the images `wanted`, which `order` sorts, into `out`, by several threads."""
    threads = get_threads()
    runs = list(_runs(wanted[order], header.image_bytes, threads))
    rest = iter(runs)  # each thread takes the next one

    def read() -> None:
        for run in rest:
            _read_run(descriptor, header, wanted, order[run], out)

    others: list[Future[None]] = []
    try:
        for _ in range(min(threads, len(runs)) - 1):
            others.append(_readers(threads - 1).submit(read))
        read()
    finally:
        wait(others)  # also after an error: the file is closed then
    for each in others:
        each.result()


@lru_cache(maxsize=1)
def _readers(threads: int) -> ThreadPoolExecutor:
    """Threads that read beside the caller's; they are kept, as their start takes as long as reading a few images."""
    return ThreadPoolExecutor(threads, thread_name_prefix="pycryo-read")


os.register_at_fork(after_in_child=_readers.cache_clear)  # a child has none of its parent's threads


def _read_run(
    descriptor: int, header: MrcHeader, wanted: NDArray[np.int64], rows: NDArray[np.intp], out: NDArray[np.float32]
) -> None:
    """Read the images `wanted[rows]`, ascending and without gaps, into `out[rows]`."""
    low, high = int(wanted[rows[0]]), int(wanted[rows[-1]])
    steps = np.arange(len(rows))
    in_order = bool(np.all(wanted[rows] == low + steps) and np.all(rows == rows[0] + steps))
    images = out[rows[0] : rows[0] + len(rows)] if in_order else np.empty((high - low + 1, *out.shape[1:]), np.float32)
    if not _read_pixels(descriptor, header.dtype, header.offset + low * header.image_bytes, images.reshape(-1)):
        raise RunError(f"{header.path} ends within image {low + 1}..{high + 1}; it was cut off during the run")
    if not in_order:
        out[rows] = images[wanted[rows] - low]


def _read_pixels(descriptor: int, dtype: np.dtype[Any], offset: int, pixels: NDArray[np.float32]) -> bool:
    """Read numbers of `dtype` from a byte of a file on into an array; whether there were enough."""
    if dtype.kind == "f" and dtype.itemsize == 2:
        return read_float16(descriptor, offset, int(not dtype.isnative), pixels) == len(pixels)
    if dtype.kind == "f" and not dtype.isnative:
        return read_turned_float32(descriptor, offset, pixels) == len(pixels)
    stored = pixels if dtype == pixels.dtype else np.empty(len(pixels), dtype)
    view, done = stored.view(np.uint8).data, 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            return False
        done += count
    if stored is not pixels:
        pixels[:] = stored
    return True
