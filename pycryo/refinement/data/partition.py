"""The partition of the particles: which a rank holds, of which half-set, and their images in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.batches import Batch, iter_batches
from pycryo.io.particles import Particles
from pycryo.model.owners import owner_ranks
from pycryo.parallel.comm import Comm
from pycryo.refinement.data.mend import Mends, mended

# Pixels of a batch of images, about 16 MiB as float32. Arrays beyond 32 MiB would come from the system, empty pages to
# be cleared, and go back each time: with 64 MiB 20 000 images of 64 px take 5 % more processor time.
_BATCH_PIXELS = 1 << 22


@dataclass(frozen=True, slots=True)
class Partition:
    """The particles cut into pieces, one per rank, and the piece of this rank.

    The usable particles of all ranks, half 1 first, each half in the order of the files, are cut into `comm.size`
    pieces: of equal length at first, of equal work later (`pycryo.refinement.resources.balance`). A rank at the
    border holds particles of both halves; no rank is idle.

    Attributes
    ----------
    comm : Comm
    particles : Particles
        All particles (every rank knows the table).
    half : (n_all,) int8
        Half-set 0 or 1 of every particle; -1 marks an unusable one.
    rows : (n,) int64
        Particles of this rank, in order.
    bounds : (comm.size + 1,) int64
        Rank r holds the usable particles bounds[r] ... bounds[r + 1] - 1 in that order.
    half_ranks : tuple of two range
        Ranks (of `comm`) that hold particles of each half, or own its model.
    half_comm : tuple of two (Comm or None)
        Communicators of these ranks; None if this rank is not one of them.
    cache : dict of int to (N, N) float32, or None
        The images of `rows`, by row, if they are kept in memory.
    sound : (n_all,) bool
        Images of which this process knows that they need no mending; it learns that from `batches`.
    """

    comm: Comm
    particles: Particles
    half: NDArray[np.int8]
    rows: NDArray[np.int64]
    bounds: NDArray[np.int64]
    half_ranks: tuple[range, range]
    half_comm: tuple[Comm | None, Comm | None]
    cache: dict[int, NDArray[np.float32]] | None
    sound: NDArray[np.bool_]

    def rows_of(self, half: int) -> NDArray[np.int64]:
        """This rank's particles of one half."""
        return np.asarray(self.rows[self.half[self.rows] == half])

    def count(self, half: int) -> int:
        """Usable particles of one half, of all ranks."""
        return int(np.count_nonzero(self.half == half))

    @property
    def n(self) -> int:
        """Usable particles, of all ranks."""
        return self.count(0) + self.count(1)

    def free(self) -> None:
        """Give back the communicators of the halves. Collective."""
        for comm in self.half_comm:
            if comm is not None:
                comm.free()

    def holds(self, half: int) -> bool:
        """Whether this rank is in `half_comm` of a half."""
        return self.half_comm[half] is not None

    def batches(self, rows: NDArray[np.int64], mends: Mends | None = None) -> Iterator[Batch]:
        """Images of some of this rank's particles, one optics geometry at a time; those mended now go to `mends`."""
        if self.cache is not None:
            yield from _cached_batches(self.cache, self.particles, rows)
        elif len(rows):
            read = iter_batches(self.particles, rows, max_images=batch_size(self.particles))
            yield from mended(read, mends, self.sound)


def refuse_empty_halves(partition: Partition) -> None:
    """Raise InputError unless both half-sets have usable particles."""
    first, second = partition.count(0), partition.count(1)
    if not (first and second):
        raise InputError(
            f"{partition.particles.path}: the half-sets hold {first} and {second} usable particles, each needs at "
            "least one: give more particles; all rows of one image or particle are in one half-set"
        )


def batch_size(particles: Particles) -> int:
    """Images of one batch."""
    return int(max(16, min(2048, _BATCH_PIXELS // int(particles.optics.box.max()) ** 2)))


def _cached_batches(
    cache: dict[int, NDArray[np.float32]], particles: Particles, rows: NDArray[np.int64]
) -> Iterator[Batch]:
    size = batch_size(particles)
    geometry = geometry_of(particles)[rows]
    for index in np.unique(geometry):
        chosen = rows[geometry == index]
        for start in range(0, len(chosen), size):
            part = chosen[start : start + size]
            yield Batch(part, np.stack([cache[row] for row in part.tolist()]))


def geometry_of(particles: Particles) -> NDArray[np.int64]:
    """(n,) number of each particle's geometry, see `pycryo.io.optics.OpticsGroups.geometry`."""
    return particles.optics.geometry[particles.optics_group]


@dataclass(frozen=True, slots=True)
class Geometry:
    """What images have in common that are compared together.

    Attributes
    ----------
    box : int
        px.
    pixel_size : float
        Å.
    magnification : four float
        M, row by row.
    is_premultiplied : bool
        By the CTF.
    """

    box: int
    pixel_size: float
    magnification: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    is_premultiplied: bool = False

    @property
    def matrix(self) -> NDArray[np.float64] | None:
        """(2, 2) M; None: undistorted."""
        found = np.array(self.magnification).reshape(2, 2)
        return None if (found == np.eye(2)).all() else found

    @property
    def field_of_view(self) -> float:
        """Edge of the box, Å."""
        return self.box * self.pixel_size


def geometry_at(particles: Particles, row: int) -> Geometry:
    """Geometry of one particle's image."""
    g, optics = particles.optics_group[row], particles.optics
    xx, xy, yx, yy = optics.magnification[g].ravel().tolist()
    return Geometry(int(optics.box[g]), float(optics.pixel_size[g]), (xx, xy, yx, yy), bool(optics.is_premultiplied[g]))


def geometries(partition: Partition) -> list[Geometry]:
    """Those of all usable particles, the same on every rank."""
    usable = np.flatnonzero(partition.half >= 0)
    _, places = np.unique(partition.particles.optics_group[usable], return_index=True)
    found = {geometry_at(partition.particles, row) for row in usable[places].tolist()}
    return sorted(found, key=astuple)


def commonest_geometry(particles: Particles, rows: NDArray[np.int64] | slice = slice(None)) -> Geometry:
    """Box and pixel size of most of some particles, the smallest of equals.

    Raises
    ------
    InputError
        If there are none.
    """
    if not particles.n:
        raise InputError(f"there are no particles (0 of {particles.path}): give at least one")
    optics = particles.optics
    geometry = np.stack([optics.box, optics.pixel_size], axis=1)[particles.optics_group[rows]]
    kinds, count = np.unique(geometry, axis=0, return_counts=True)
    box, pixel_size = kinds[count.argmax()]
    return Geometry(int(box), float(pixel_size))


def deal(
    comm: Comm,
    particles: Particles,
    half: NDArray[np.int8],
    cache: dict[int, NDArray[np.float32]] | None,
    bounds: NDArray[np.int64] | None = None,
    *,
    before: Partition | None = None,
) -> Partition:
    """Cut the usable particles into one piece per rank. Collective.

    Parameters
    ----------
    comm : Comm
    particles : Particles
    half : (n_all,) int8
        Half-set of each; -1 marks an unusable one.
    cache : dict of int to (N, N) float32, or None
        Images in memory, by row: those of this rank's piece are kept, or read if they are not there. None: none are.
    bounds : (comm.size + 1,) int64, optional
        See `Partition`; default: pieces of equal length.
    before : Partition, optional
        Of the same particles, for what it knows of their images.

    Raises
    ------
    InputError, RunError
        If an image cannot be read.
    """
    usable = np.flatnonzero(half >= 0)
    order = usable[np.lexsort((particles.image_index[usable], particles.stack[usable], half[usable]))]
    if bounds is None:
        bounds = len(order) * np.arange(comm.size + 1) // comm.size
    rows = order[bounds[comm.rank] : bounds[comm.rank + 1]]
    ranks = _half_ranks(comm.size, bounds, int(np.count_nonzero(half == 0)))
    first, second = (comm.split(0 if comm.rank in each else None) for each in ranks)
    images = None if cache is None else _kept(cache, particles, rows)
    sound = np.zeros(particles.n, bool) if before is None else before.sound
    return Partition(comm, particles, half, rows, bounds, ranks, (first, second), images, sound)


def _half_ranks(size: int, bounds: NDArray[np.int64], n_first: int) -> tuple[range, range]:
    """See `Partition`: the particles of half 1 are the first `n_first`."""
    first, second = owner_ranks(size)
    filled = bounds[1:] > bounds[:-1]
    last_of_first = np.flatnonzero(filled & (bounds[:-1] < n_first))[-1:]
    first_of_second = np.flatnonzero(filled & (bounds[1:] > n_first))[:1]
    return (
        range(max([first.stop, *(last_of_first + 1).tolist()])),
        range(min([second.start, *first_of_second.tolist()]), size),
    )


def _kept(
    cache: dict[int, NDArray[np.float32]], particles: Particles, rows: NDArray[np.int64]
) -> dict[int, NDArray[np.float32]]:
    """The images of `rows`: those of `cache`, and the others read."""
    kept = {row: cache[row] for row in rows.tolist() if row in cache}
    missing = rows[~np.isin(rows, list(kept))]
    if len(missing):
        for batch in mended(iter_batches(particles, missing, max_images=batch_size(particles))):
            kept.update(by_row(batch.rows, batch.images))
    return kept


def by_row(rows: NDArray[np.int64], images: NDArray[np.float32]) -> dict[int, NDArray[np.float32]]:
    """Images one by one: copies, as a view keeps its whole batch in memory."""
    return {row: image.copy() for row, image in zip(rows.tolist(), images, strict=True)}
