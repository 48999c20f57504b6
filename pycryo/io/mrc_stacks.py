"""Stacks of images in MRC files: read by number, written as a stream."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError, RunError
from pycryo.io.atomic import atomic_path
from pycryo.io.mrc_header import HEADER_BYTES, MODES, MrcHeader, new_header, read_header, statistics_of, summary

_READ_BYTES = 32 << 20  # neighbouring images are read in one call of at most this size


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
            file.write(images.data)
            statistics = summary(np.concatenate([statistics, *map(statistics_of, images)]))
            n += len(images)
        file.seek(0)
        file.write(new_header((n, *shape), pixel_size, mode, statistics, is_volume=False).tobytes())
    return n


def read_stack(
    stack: str | os.PathLike[str] | MrcHeader, indices: Sequence[int] | NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """Read images of a stack by number.

    Parameters
    ----------
    stack : path or MrcHeader
        A header read before saves reading it again.
    indices : (n,) ints
        0-based numbers in any order; neighbours are read in one call, in the order of the file.

    Returns
    -------
    (n, ny, nx) float32

    Raises
    ------
    InputError
        If the header is bad or an index is beyond the stack.
    RunError
        If the file vanished or shrank since its header was read.
    """
    header = stack if isinstance(stack, MrcHeader) else read_header(stack)
    wanted = np.asarray(indices, np.int64)
    if wanted.size and not 0 <= wanted.min() <= wanted.max() < header.nz:
        beyond = wanted[(wanted < 0) | (wanted >= header.nz)][0]
        raise InputError(f"{header.path} has {header.nz} images; there is no image {beyond + 1}")
    out = np.empty((wanted.size, header.ny, header.nx), np.float32)
    order = np.argsort(wanted, kind="stable")
    try:
        with open(header.path, "rb", buffering=0) as file:
            for run in _runs(wanted[order], header.image_bytes):
                _read_run(file.fileno(), header, wanted, order[run], out)
    except OSError as error:
        raise RunError(f"cannot read {header.path}: {error.strerror}; check that the disc is still there") from error
    return out


def _runs(ordered: NDArray[np.int64], image_bytes: int) -> Iterable[slice]:
    """Slices of the sorted indices that are neighbours (or equal) and fit into one read."""
    most = max(1, _READ_BYTES // max(1, image_bytes))
    first = 0
    for i in range(1, ordered.size + 1):
        if i == ordered.size or ordered[i] > ordered[i - 1] + 1 or ordered[i] - ordered[first] >= most:
            yield slice(first, i)
            first = i


def _read_run(
    descriptor: int, header: MrcHeader, wanted: NDArray[np.int64], rows: NDArray[np.intp], out: NDArray[np.float32]
) -> None:
    """Read the images `wanted[rows]`, ascending and without gaps, into `out[rows]`."""
    low, high = int(wanted[rows[0]]), int(wanted[rows[-1]])
    steps = np.arange(len(rows))
    direct = header.dtype == out.dtype and bool(np.all(wanted[rows] == low + steps) and np.all(rows == rows[0] + steps))
    target: NDArray[Any]
    if direct:
        target = out[rows[0] : rows[0] + len(rows)]
    else:
        target = np.empty((high - low + 1, header.ny, header.nx), header.dtype)
    view = target.reshape(-1).view(np.uint8).data
    offset, done = header.offset + low * header.image_bytes, 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            raise RunError(f"{header.path} ends within image {low + 1}..{high + 1}; it was cut off during the run")
        done += count
    if not direct:
        out[rows] = target[wanted[rows] - low]
