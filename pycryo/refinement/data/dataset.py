"""Which particles a rank holds, and what the first look at all images tells."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.filter._sampling import uniform
from pycryo.io.batches import Batch, find_bad_images, iter_batches
from pycryo.io.particles import Particles
from pycryo.kernels.backprojector import quantum_for
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.shells import image_shells
from pycryo.model.owners import owner_ranks
from pycryo.parallel.comm import Comm
from pycryo.refinement.data.norm import norm_corrections
from pycryo.refinement.data.prepare import particle_power, transform

log = logging.getLogger(__name__)

# Key of the draws that split the particles into halves.
_HALF_STREAM = 1 << 40
# Pixels of a batch of images, about 64 MiB as float32.
_BATCH_PIXELS = 1 << 24


@dataclass(frozen=True, slots=True)
class Share:
    """The part of the data that one rank holds.

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
    """

    comm: Comm
    particles: Particles
    half: NDArray[np.int8]
    rows: NDArray[np.int64]
    bounds: NDArray[np.int64]
    half_ranks: tuple[range, range]
    half_comm: tuple[Comm | None, Comm | None]
    cache: dict[int, NDArray[np.float32]] | None

    def rows_of(self, half: int) -> NDArray[np.int64]:
        """This rank's particles of one half."""
        return np.asarray(self.rows[self.half[self.rows] == half])

    def count(self, half: int) -> int:
        """Usable particles of one half, of all ranks."""
        return int(np.count_nonzero(self.half == half))

    def free(self) -> None:
        """Give back the communicators of the halves. Collective."""
        for comm in self.half_comm:
            if comm is not None:
                comm.free()

    def holds(self, half: int) -> bool:
        """Whether this rank is in `half_comm` of a half."""
        return self.half_comm[half] is not None

    def batches(self, rows: NDArray[np.int64]) -> Iterator[Batch]:
        """Images of some of this rank's particles, one optics geometry at a time."""
        if self.cache is not None:
            yield from _cached_batches(self.cache, self.particles, rows)
        elif len(rows):
            yield from iter_batches(self.particles, rows, max_images=batch_size(self.particles))


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
    """(n,) number of each particle's geometry: optics groups with the same box and pixel size share one."""
    optics = particles.optics
    _, inverse = np.unique(np.stack([optics.box, optics.pixel_size], axis=1), axis=0, return_inverse=True)
    return np.asarray(inverse.reshape(-1)[particles.optics_group], np.int64)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Box in px and pixel size in Å of images."""

    box: int
    pixel_size: float


def geometry_at(particles: Particles, row: int) -> Geometry:
    """Geometry of one particle's image."""
    group = particles.optics_group[row]
    return Geometry(int(particles.optics.box[group]), float(particles.optics.pixel_size[group]))


def geometries(share: Share) -> list[Geometry]:
    """Those of all usable particles, the same on every rank."""
    usable = np.flatnonzero(share.half >= 0)
    _, places = np.unique(share.particles.optics_group[usable], return_index=True)
    found = {geometry_at(share.particles, row) for row in usable[places].tolist()}
    return sorted(found, key=lambda each: (each.box, each.pixel_size))


def split_halves(particles: Particles, seed: int) -> NDArray[np.int8]:
    """(n,) half-set 0 or 1 of each particle: rlnRandomSubset if it tells two halves, else drawn, equal in size."""
    given = particles.random_subset
    if particles.n and set(np.unique(given).tolist()) == {1, 2}:
        return (given - 1).astype(np.int8)
    order = np.argsort(uniform(seed, _HALF_STREAM, np.arange(particles.n, dtype=np.int64), 1)[:, 0], kind="stable")
    half = np.empty(particles.n, np.int8)
    half[order] = np.arange(particles.n) % 2
    return half


def deal(
    comm: Comm,
    particles: Particles,
    half: NDArray[np.int8],
    cache: dict[int, NDArray[np.float32]] | None,
    bounds: NDArray[np.int64] | None = None,
) -> Share:
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
        See `Share`; default: pieces of equal length.

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
    return Share(comm, particles, half, rows, bounds, ranks, (first, second), images)


def _half_ranks(size: int, bounds: NDArray[np.int64], n_first: int) -> tuple[range, range]:
    """See `Share`: the particles of half 1 are the first `n_first`."""
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
        for batch in iter_batches(particles, missing, max_images=batch_size(particles)):
            kept.update(_by_row(batch.rows, batch.images))
    return kept


def _by_row(rows: NDArray[np.int64], images: NDArray[np.float32]) -> dict[int, NDArray[np.float32]]:
    """Images one by one: copies, as a view keeps its whole batch in memory."""
    return {row: image.copy() for row, image in zip(rows.tolist(), images, strict=True)}


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What one pass over all images tells.

    Attributes
    ----------
    power : (n_group, n_shell) float64
        Σ|X|² of each optics group and shell over the usable images, norm corrected.
    count : (n_group,) int64
        Usable images of each group.
    amplitude : (n_group, n_shell) float64
        Largest |X| seen.
    bad : (n_bad,) int64
        Rows of the images with non-finite or constant pixels.
    norm : (n_all,) float64
        Divides each image, see `pycryo.refinement.data.norm`.
    particle : (n_group, n_shell, 2) float64
        Sums over the same images, and sums of the squares, of `particle_power`, norm corrected; 0 if it was not asked
        for.
    """

    power: NDArray[np.float64]
    count: NDArray[np.int64]
    amplitude: NDArray[np.float64]
    bad: NDArray[np.int64]
    norm: NDArray[np.float64]
    particle: NDArray[np.float64]


def first_look(
    share: Share, background_radius: float, keep: bool, *, corrects_norm: bool = True, finds_particle: bool = False
) -> tuple[FirstLook, dict[int, NDArray[np.float32]] | None]:
    """Read every image once: find the unusable ones and measure the power spectra. Collective.

    Parameters
    ----------
    share : Share
        Dealt without knowledge of bad images.
    background_radius : float
        Å; the mean of an image is taken outside of it.
    keep : bool
        Return the images, by row, too.
    corrects_norm : bool
        Else every `norm` is 1.
    finds_particle : bool
        Measure the power of the particle alone.
    """
    particles, comm = share.particles, share.comm
    optics = particles.optics
    n_shell = int(optics.box.max()) // 2 + 1
    n_group = len(optics.box)
    bad: list[int] = []
    rows: list[NDArray[np.int64]] = []
    powers: list[NDArray[np.float64]] = []
    insides: list[NDArray[np.float64]] = []
    amplitude = np.zeros((n_group, n_shell))
    cache: dict[int, NDArray[np.float32]] | None = {} if keep else None
    for half in (0, 1):
        for batch in share.batches(share.rows_of(half)):
            wrong = find_bad_images(batch.images)
            bad += batch.rows[wrong].tolist()
            good, images = batch.rows[~wrong], batch.images[~wrong]
            if not len(good):
                continue
            if cache is not None:
                cache.update(_by_row(good, images))
            box = images.shape[-1]
            group = particles.optics_group[good]
            pixels = half_plane(box, box / 2)
            radius = background_radius / optics.pixel_size[group[0]]
            samples = pixels.take(transform(images, radius))
            spectra = image_shells(samples, samples, pixels.shell, n_shell)[:, :, 1]
            rows.append(good)
            powers.append(spectra)
            if finds_particle:
                insides.append(particle_power(images, radius, n_shell))
            square = np.square(samples).sum(1)
            for g in np.unique(group):
                largest = square[group == g].max(axis=0)
                np.maximum.at(amplitude[g], pixels.shell, np.sqrt(largest))
    row = np.concatenate([np.empty(0, np.int64), *rows])
    power = np.concatenate([np.empty((0, n_shell)), *powers])
    inside = np.concatenate([np.empty((0, n_shell)), *insides]) if finds_particle else np.zeros_like(power)
    comm.max_array(amplitude)
    total = group_sums(comm, power, particles.optics_group[row], n_group, particles.n)
    count = np.bincount(particles.optics_group[row], minlength=n_group).astype(np.int64)
    comm.sum_array(count)
    every = np.sort(
        np.concatenate([np.empty(0, np.int64), *(np.asarray(part, np.int64) for part in comm.all_gather(bad))])
    )
    norm = np.ones(particles.n)
    if corrects_norm:
        norm = norm_corrections(comm, particles, row, power, total, count)
    if (norm != 1).any():
        power /= np.square(norm[row])[:, None]
        inside /= np.square(norm[row])[:, None]
        total = group_sums(comm, power, particles.optics_group[row], n_group, particles.n)
        least = np.ones(n_group)
        np.minimum.at(least, particles.optics_group, norm)
        amplitude /= least[:, None]
    particle = np.stack(
        [
            group_sums(comm, each, particles.optics_group[row], n_group, particles.n)
            for each in (inside, np.square(inside))
        ],
        axis=-1,
    )
    return FirstLook(total, count, amplitude, every, norm, particle), cache


def group_sums(
    comm: Comm, values: NDArray[np.float64], group: NDArray[np.int32], n_group: int, n_all: int
) -> NDArray[np.float64]:
    """(n_group, ...) sums of per-image values over all ranks, the same to the last bit for any number of ranks.

    Each value is rounded to a multiple of a common power of two, so that every addition is exact. Collective.
    """
    largest = np.array([np.abs(values).max(initial=0.0)])
    comm.max_array(largest)
    total = np.zeros((n_group, *values.shape[1:]))
    if largest[0] > 0:
        quantum = quantum_for(2.0 * n_all * float(largest[0]))
        np.add.at(total, group, np.rint(values / quantum) * quantum)
    comm.sum_array(total)
    return total


def _names(particles: Particles, rows: NDArray[np.int64]) -> str:
    """The first ten of some particles, for a message."""
    names = ", ".join(particles.label(row) for row in rows[:10].tolist())
    return names + (f" and {len(rows) - 10} more" if len(rows) > 10 else "")


def refuse_too_many_bad(particles: Particles, bad: NDArray[np.int64], max_fraction: float) -> None:
    """List the unusable images; stop if they are too many.

    Raises
    ------
    InputError
        If more than `max_fraction` of the images are unusable.
    """
    if not len(bad):
        return
    shown = _names(particles, bad)
    if len(bad) == particles.n or len(bad) > max_fraction * particles.n:
        raise InputError(
            f"{len(bad)} of {particles.n} images have NaN, infinite or constant pixels ({shown}), more than the "
            f"share {max_fraction:g} that --max-bad-fraction allows: remove them or allow more"
        )
    log.warning("left out %d images with NaN, infinite or constant pixels: %s", len(bad), shown)


def without_defocus(particles: Particles) -> NDArray[np.int64]:
    """Rows whose CTF means nothing; they are named in the log.

    Raises
    ------
    InputError
        If no particle has what a CTF needs.
    """
    particles.require_ctf()
    rows = np.flatnonzero(particles.has_no_defocus)
    if len(rows):
        log.warning("left out %d particles with a defocus of 0 or none: %s", len(rows), _names(particles, rows))
    return rows
