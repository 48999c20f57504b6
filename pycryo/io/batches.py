"""Images of particles in blocks, read in the order of the stacks and ahead of the computation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.arguments import instance, numbers, scalar
from pycryo.errors import InputError
from pycryo.io.mrc_header import read_header
from pycryo.io.mrc_stacks import read_stack
from pycryo.io.particles import Particles


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images of one geometry: `rows` (n,) int64 into the particles, `images` (n, N, N) float32 alike."""

    rows: NDArray[np.int64]
    images: NDArray[np.float32]


def read_images(
    source: Particles | str | os.PathLike[str], rows: ArrayLike | None = None, *, max_bytes: float = 1 << 33
) -> NDArray[np.float32]:
    """Read images of particles, or of a stack.

    Parameters
    ----------
    source : Particles, or path of an MRC stack
    rows : (n,) ints, optional
        Particles, or images counted from 0, in any order, that have the same box. Default: all.
    max_bytes : float
        More are refused: read part by part, or give a larger number.

    Returns
    -------
    (n, N, N) float32
        In the order of `rows`.

    Raises
    ------
    InputError
        If the boxes differ, there are no such images, or too many.
    InputError, RunError
        If a stack cannot be read (any more).

    Examples
    --------
    >>> images = pycryo.read_images(pycryo.betagal() / "particles.mrcs", [0, 149])
    >>> images.shape, images.dtype
    ((2, 128, 128), dtype('float32'))
    """
    if isinstance(source, Particles):
        total, box, read = source.n, int(source.optics.box.max()), source.read
    else:
        instance("source", source, (Particles, str, os.PathLike), "particles, or the path of a stack")
        header = read_header(source)
        total, box, read = header.nz, header.nx, partial(read_stack, header)
    most = float(scalar("max_bytes", max_bytes, "a number"))
    chosen = np.arange(total) if rows is None else numbers("rows", rows, np.int64, (None,))
    if (size := 4.0 * len(chosen) * box**2) > most:
        raise InputError(f"{len(chosen)} images take {size / 2**30:.1f} GiB: give fewer rows, or more as max_bytes")
    return read(chosen)


def iter_batches(
    particles: Particles, rows: ArrayLike | None = None, *, max_images: int, prefetch: bool = True
) -> Iterator[Batch]:
    """Read images in batches, sorted by geometry (`pycryo.io.optics.OpticsGroups.geometry`), stack and index.

    With `prefetch` a thread reads the next batch, if there is one, while the caller works on the one given out; no more
    is in memory.

    Parameters
    ----------
    particles : Particles
    rows : (n,) ints, optional
        Particles to read; all by default.
    max_images : int
        Images per batch; every batch has so many but the last of each geometry.
    prefetch : bool
        Read ahead.

    Yields
    ------
    Batch
    """
    if max_images < 1:
        raise ValueError(f"max_images: expected at least 1, got {max_images}")
    chosen = np.arange(particles.n) if rows is None else np.asarray(rows, np.int64)
    plan = _plan(particles, chosen, max_images)
    if not prefetch or len(plan) < 2:
        for part in plan:
            yield Batch(part, particles.read(part))
        return
    with ThreadPoolExecutor(1, thread_name_prefix="pycryo-read") as reader:
        ahead = [reader.submit(particles.read, part) for part in plan[:1]]
        for number, part in enumerate(plan):
            images = ahead.pop().result()
            ahead += [reader.submit(particles.read, next_part) for next_part in plan[number + 1 : number + 2]]
            yield Batch(part, images)
            del images


def find_bad_images(images: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find images (n, N, N) with non-finite or only equal pixels: mask (n,)."""
    low, high = images.min(axis=(1, 2)), images.max(axis=(1, 2))  # NaN where any pixel is NaN
    bad: NDArray[np.bool_] = ~np.isfinite(low) | ~np.isfinite(high) | (low == high)
    return bad


def _plan(particles: Particles, rows: NDArray[np.int64], max_images: int) -> list[NDArray[np.int64]]:
    """The rows in the order of the files, cut at each change of geometry and after `max_images`."""
    group = particles.optics_group[rows]
    geometry = particles.optics.geometry[group]
    order = np.lexsort((particles.image_index[rows], particles.stack[rows], geometry))
    rows, geometry = rows[order], geometry[order]
    plan: list[NDArray[np.int64]] = []
    for part in np.split(rows, np.flatnonzero(np.diff(geometry)) + 1):
        plan.extend(part[begin : begin + max_images] for begin in range(0, len(part), max_images))
    return plan
