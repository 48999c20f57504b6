"""Images on a coarse grid, in memory: all that a search at low resolution needs of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pycryo.fourier import irfft2, next_fast_length
from pycryo.io.batches import iter_batches
from pycryo.io.particles import Particles
from pycryo.parallel.comm import Comm
from pycryo.parallel.rows import even_bounds
from pycryo.progress import track
from pycryo.refinement.data.left_out import LeftOut, gathered, sort_out
from pycryo.refinement.data.mend import Mends, mended
from pycryo.refinement.data.partition import Partition, batch_size
from pycryo.refinement.data.prepare import transform
from pycryo.threads import get_threads


def small_boxes(particles: Particles, pixel_size: float) -> NDArray[np.int64]:
    """(n_group,) box of each optics group's images, px, when their pixels are about `pixel_size` Å: even, FFT-friendly.

    The field of view stays, as does a box that has no larger pixels to offer.
    """
    optics = particles.optics
    wanted = np.ceil(optics.box * optics.pixel_size / pixel_size / 2).astype(np.int64)
    even = np.array([2 * next_fast_length(int(half)) for half in wanted.tolist()], np.int64)
    return np.minimum(even, optics.box)


def shrink_images(images: NDArray[np.float32], box: int) -> NDArray[np.float32]:
    """(n, box, box) images of the same field of view and grey values, cut off at their Nyquist frequency.

    The mean outside the inscribed circle is subtracted.
    """
    old = images.shape[-1]
    samples = transform(images, old / 2)
    if box < old:
        rows = np.arange(-(box // 2), box - box // 2) % old
        samples = np.fft.ifftshift(samples[:, rows, : box // 2 + 1], axes=1)
        samples[:, box // 2] = 0  # the Nyquist frequency stands for two
        samples[:, :, box // 2] = 0
    small = irfft2(samples, box, workers=get_threads())
    return np.asarray(np.fft.fftshift(small, axes=(1, 2)) * (box / old) ** 2, np.float32)


def read_small(
    comm: Comm, particles: Particles, rows: NDArray[np.int64], pixel_size: float
) -> tuple[Partition, LeftOut, Mends]:
    """Read some images once and keep them on a coarse grid, dealt to the ranks in pieces of equal length. Collective.

    Parameters
    ----------
    comm : Comm
    particles : Particles
    rows : (n,) int64
        Those to read, ascending.
    pixel_size : float
        Of the coarse grid, about; Å.

    Returns
    -------
    Partition
        All in half-set 0, with the particles as if their images had been that coarse in the files.
    LeftOut
        The images with non-finite or constant pixels, which are not among them.
    Mends
        Which of this rank's images were mended.

    Raises
    ------
    InputError, RunError
        If an image cannot be read.
    """
    optics = particles.optics
    box = small_boxes(particles, pixel_size)
    coarse = replace(optics, box=box, pixel_size=optics.pixel_size * optics.box / box)
    bounds = even_bounds(len(rows), comm.size)
    mine = rows[bounds[comm.rank] : bounds[comm.rank + 1]]
    cache: dict[int, NDArray[np.float32]] = {}
    bad: dict[str, list[int]] = {}
    mends = Mends()
    if len(mine):
        batches = mended(iter_batches(particles, mine, max_images=batch_size(particles)), mends)
        for batch in track(batches, len(mine), "reading images", lambda batch: len(batch.rows)):
            usable = sort_out(batch, bad)
            good = batch.rows[usable]
            small = shrink_images(batch.images[usable], int(box[particles.optics_group[batch.rows[0]]]))
            cache.update(zip(good.tolist(), small, strict=True))
    left_out = gathered(comm, bad)
    half = np.full(particles.n, -1, np.int8)
    half[np.setdiff1d(rows, left_out.rows)] = 0
    partition = Partition(
        comm=comm,
        particles=replace(particles, optics=coarse),
        half=half,
        rows=mine[half[mine] == 0],
        bounds=bounds,
        half_ranks=(range(comm.size), range(comm.size)),
        half_comm=(comm.split(0), comm.split(0)),
        cache=cache,
        sound=np.zeros(particles.n, bool),
    )
    return partition, left_out, mends


def without(partition: Partition, rows: NDArray[np.int64]) -> Partition:
    """The partition without some of its particles."""
    half = partition.half.copy()
    half[rows] = -1
    return replace(partition, half=half, rows=partition.rows[half[partition.rows] == 0])
