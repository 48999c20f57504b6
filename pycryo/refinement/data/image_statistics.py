"""What one pass over all images tells: power spectra, norms, unusable images."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.batches import Batch, find_bad_images
from pycryo.io.particles import Particles
from pycryo.kernels.backprojector import quantum_for
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.shells import image_shells
from pycryo.model.microscope import are_premultiplied, mean_square_ctf
from pycryo.parallel.comm import Comm
from pycryo.refinement.data.norm import norm_corrections
from pycryo.refinement.data.partition import Partition, by_row
from pycryo.refinement.data.prepare import particle_power, transform

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImageStatistics:
    """What one pass over all images tells.

    Attributes
    ----------
    power : (n_group, n_shell) float64
        Σ|X|² of each optics group and shell over the usable images, norm corrected. Images that were multiplied by
        their CTF count with its mean square of the shell taken out, as if noise had not been multiplied.
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


@dataclass(slots=True)
class _Pass:
    """What was read so far of this rank's images."""

    n_shell: int
    amplitude: NDArray[np.float64]
    cache: dict[int, NDArray[np.float32]] | None
    bad: list[int] = field(default_factory=list)
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    power: list[NDArray[np.float64]] = field(default_factory=list)
    inside: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, particles: Particles, batch: Batch, background_radius: float, *, finds_particle: bool) -> None:
        """Measure the usable images of a batch; `background_radius` in Å."""
        wrong = find_bad_images(batch.images)
        self.bad += batch.rows[wrong].tolist()
        good, images = batch.rows[~wrong], batch.images[~wrong]
        if not len(good):
            return
        if self.cache is not None:
            self.cache.update(by_row(good, images))
        box, group = images.shape[-1], particles.optics_group[good]
        pixels = half_plane(box, box / 2)
        radius = background_radius / particles.optics.pixel_size[group[0]]
        samples = pixels.take(transform(images, radius))
        power = image_shells(samples, samples, pixels.shell, self.n_shell)[:, :, 1]
        inside = particle_power(images, radius, self.n_shell) if finds_particle else np.zeros_like(power)
        if are_premultiplied(particles, good):
            multiplied = mean_square_ctf(particles, good, pixels, self.n_shell)
            power, inside = power / multiplied, inside / multiplied
        self.rows.append(good)
        self.power.append(power)
        if finds_particle:
            self.inside.append(inside)
        square = np.square(samples).sum(1)
        for g in np.unique(group):
            largest = square[group == g].max(axis=0)
            np.maximum.at(self.amplitude[g], pixels.shell, np.sqrt(largest))

    def spectra(self, parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        """(n, n_shell) of all images."""
        return np.concatenate([np.empty((0, self.n_shell)), *parts])


def measure_images(
    partition: Partition,
    background_radius: float,
    keep: bool,
    *,
    corrects_norm: bool = True,
    finds_particle: bool = False,
) -> tuple[ImageStatistics, dict[int, NDArray[np.float32]] | None]:
    """Read every image once: find the unusable ones and measure the power spectra. Collective.

    Parameters
    ----------
    partition : Partition
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
    particles, comm = partition.particles, partition.comm
    n_group, n_shell = len(particles.optics.box), int(particles.optics.box.max()) // 2 + 1
    seen = _Pass(n_shell, np.zeros((n_group, n_shell)), {} if keep else None)
    for half in (0, 1):
        for batch in partition.batches(partition.rows_of(half)):
            seen.add(particles, batch, background_radius, finds_particle=finds_particle)
    row = np.concatenate([np.empty(0, np.int64), *seen.rows])
    group = particles.optics_group[row]
    power, amplitude = seen.spectra(seen.power), seen.amplitude
    inside = seen.spectra(seen.inside) if finds_particle else np.zeros_like(power)
    comm.max_array(amplitude)
    total = group_sums(comm, power, group, n_group, particles.n)
    count = np.bincount(group, minlength=n_group).astype(np.int64)
    comm.sum_array(count)
    bad = [np.asarray(part, np.int64) for part in comm.all_gather(seen.bad)]
    norm = np.ones(particles.n)
    if corrects_norm:
        norm = norm_corrections(comm, particles, row, power, total, count)
    if (norm != 1).any():
        power /= np.square(norm[row])[:, None]
        inside /= np.square(norm[row])[:, None]
        total = group_sums(comm, power, group, n_group, particles.n)
        least = np.ones(n_group)
        np.minimum.at(least, particles.optics_group, norm)
        amplitude /= least[:, None]
    squares = np.square(inside)
    sums = [group_sums(comm, each, group, n_group, particles.n) for each in (inside, squares)]
    every = np.sort(np.concatenate([np.empty(0, np.int64), *bad]))
    return ImageStatistics(total, count, amplitude, every, norm, np.stack(sums, axis=-1)), seen.cache


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
