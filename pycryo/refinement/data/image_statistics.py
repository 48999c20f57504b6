"""What one pass over all images tells: power spectra, norms, unusable images."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pycryo.io.batches import Batch
from pycryo.io.particles import Particles
from pycryo.kernels.backprojector import quantum_for
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.shells import image_shells
from pycryo.model.microscope import are_premultiplied, mean_square_ctf
from pycryo.parallel.comm import Comm
from pycryo.progress import phase
from pycryo.refinement.data.left_out import LeftOut, gathered, names_of, sort_out
from pycryo.refinement.data.mend import Mends, mended_counts
from pycryo.refinement.data.norm import norm_corrections
from pycryo.refinement.data.outliers import N_BAND, Judged, judge, levels
from pycryo.refinement.data.partition import Partition, by_row
from pycryo.refinement.data.prepare import particle_power, samples_of
from pycryo.report.verdict import ODD_LEVEL

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
    left_out : LeftOut
        The images that cannot be used.
    norm : (n_all,) float64
        Divides each image, see `pycryo.refinement.data.norm`.
    particle : (n_group, n_shell, 2) float64
        Sums over the same images, and sums of the squares, of `particle_power`, norm corrected; 0 if it was not asked
        for.
    n_mended : mapping of str to int
        Images with hot pixels ("pixels") and with a ramp ("ramp") that was taken out.
    judged : Judged or None
        How strong the images are.
    """

    power: NDArray[np.float64]
    count: NDArray[np.int64]
    amplitude: NDArray[np.float64]
    left_out: LeftOut
    norm: NDArray[np.float64]
    particle: NDArray[np.float64]
    n_mended: Mapping[str, int] = field(default_factory=dict)
    judged: Judged | None = None

    @property
    def bad(self) -> NDArray[np.int64]:
        """(n_bad,) rows of the images that cannot be used."""
        return self.left_out.rows

    @property
    def twin(self) -> NDArray[np.int64]:
        """(n_all,) the first row whose image has the same pixels."""
        return np.arange(len(self.norm)) if self.judged is None else self.judged.twin


@dataclass(slots=True)
class _Pass:
    """What was read so far of this rank's images."""

    n_shell: int
    cache: dict[int, NDArray[np.float32]] | None
    amplitude: dict[tuple[int, int], NDArray[np.float64]] = field(default_factory=dict)
    bad: dict[str, list[int]] = field(default_factory=dict)
    levels: list[NDArray[np.float64]] = field(default_factory=list)
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    power: list[NDArray[np.float64]] = field(default_factory=list)
    inside: list[NDArray[np.float64]] = field(default_factory=list)

    @np.errstate(over="ignore", invalid="ignore")  # odd images may be too strong for their squares
    def add(self, particles: Particles, batch: Batch, background_radius: float, *, finds_particle: bool) -> None:
        """Measure the usable images of a batch; `background_radius` in Å."""
        usable = sort_out(batch, self.bad)
        good, images = batch.rows[usable], batch.images[usable]
        if not len(good):
            return
        if self.cache is not None:
            self.cache.update(by_row(good, images))
        box, group = images.shape[-1], particles.optics_group[good]
        pixels = half_plane(box, box / 2)
        radius = background_radius / particles.optics.pixel_size[group[0]]
        samples = samples_of(images, radius, pixels)
        # A copy: a view would keep all three sums of each image.
        power = image_shells(samples, samples, pixels.shell, self.n_shell)[:, :, 1].copy()
        self.levels.append(levels(power, box))
        inside = particle_power(images, radius, self.n_shell) if finds_particle else np.zeros_like(power)
        if are_premultiplied(particles, good):
            multiplied = mean_square_ctf(particles, good, pixels, self.n_shell)
            power, inside = power / multiplied, inside / multiplied
        self.rows.append(good)
        self.power.append(power)
        if finds_particle:
            self.inside.append(inside)
        square = np.square(samples).sum(1)
        kind = _strength(self.levels[-1])
        for g, strength in np.unique(np.stack([group, kind], axis=1), axis=0).tolist():
            largest = square[(group == g) & (kind == strength)].max(axis=0)
            known = self.amplitude.setdefault((g, strength), np.zeros(self.n_shell))
            np.maximum.at(known, pixels.shell, np.sqrt(largest))

    def without(self, rows: NDArray[np.int64]) -> None:
        """Forget some images."""
        if not len(rows):
            return
        if self.cache is not None:
            for row in rows.tolist():
                self.cache.pop(row, None)
        keep = [~np.isin(part, rows) for part in self.rows]
        self.rows = [part[kept] for part, kept in zip(self.rows, keep, strict=True)]
        for parts in (self.levels, self.power, self.inside):
            parts[:] = [part[kept] for part, kept in zip(parts, keep, strict=False)]

    def largest(self, comm: Comm, group: NDArray[np.int32], n_group: int) -> NDArray[np.float64]:
        """(n_group, n_shell) largest |X| of images as strong as those of `group` (n,) that are kept. Collective."""
        result = np.zeros((n_group, self.n_shell))
        kind = _strength(np.concatenate([np.empty((0, N_BAND)), *self.levels]))
        for g, strength in set(zip(group.tolist(), kind.tolist(), strict=True)):
            np.maximum(result[g], self.amplitude[g, strength], out=result[g])
        comm.max_array(result)
        return result

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
    judged: Judged | None = None,
) -> tuple[ImageStatistics, dict[int, NDArray[np.float32]] | None]:
    """Read every image once: find the unusable and odd ones and measure the power spectra of the others. Collective.

    Parameters
    ----------
    partition : Partition
        Dealt without knowledge of bad images.
    background_radius : float
        Å; the mean of an image is taken outside of it.
    keep : bool
        Return the images, by row, too.
    corrects_norm : bool
        Else every `norm` is 1, but of images on another grey scale than most of their group.
    finds_particle : bool
        Measure the power of the particle alone.
    judged : Judged, optional
        What is known of the same images, of which the odd ones are not in the partition.
    """
    particles, comm = partition.particles, partition.comm
    n_group, n_shell = len(particles.optics.box), int(particles.optics.box.max()) // 2 + 1
    seen, mends = _Pass(n_shell, {} if keep else None), Mends()
    with phase("measuring images", len(partition.rows)) as advance:
        for half in (0, 1):
            for batch in partition.batches(partition.rows_of(half), mends):
                seen.add(particles, batch, background_radius, finds_particle=finds_particle)
                advance(len(batch.rows))
    left_out = gathered(comm, seen.bad)
    if judged is None:
        every = np.concatenate([np.empty((0, N_BAND)), *seen.levels])
        judged = judge(comm, particles, np.concatenate([np.empty(0, np.int64), *seen.rows]), every)
        seen.without(judged.odd)
        left_out = left_out.also(ODD_LEVEL, judged.odd)
    row = np.concatenate([np.empty(0, np.int64), *seen.rows])
    group = particles.optics_group[row]
    power, amplitude = seen.spectra(seen.power), seen.largest(comm, group, n_group)
    inside = seen.spectra(seen.inside) if finds_particle else np.zeros_like(power)
    total = group_sums(comm, power, group, n_group, particles.n)
    count = np.bincount(group, minlength=n_group).astype(np.int64)
    comm.sum_array(count)
    norm = judged.level
    if corrects_norm:
        common = judged.is_common[row]
        usual = group_sums(comm, power[common], group[common], n_group, particles.n)
        norm = norm_corrections(comm, particles, row, power, usual, judged.is_common)
    norm = norm * judged.group_level[particles.optics_group]
    if (norm != 1).any():
        power /= np.square(norm[row])[:, None]
        inside /= np.square(norm[row])[:, None]
        total = group_sums(comm, power, group, n_group, particles.n)
        least = np.ones(n_group)
        np.minimum.at(least, particles.optics_group, norm)
        amplitude /= least[:, None]
    squares = np.square(inside)
    sums = [group_sums(comm, each, group, n_group, particles.n) for each in (inside, squares)]
    n_mended = mended_counts(comm, mends, left_out.rows)
    statistics = ImageStatistics(total, count, amplitude, left_out, norm, np.stack(sums, axis=-1), n_mended, judged)
    return statistics, seen.cache


def _strength(found: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) kind of images with `levels` (n, N_BAND): within one amplitudes differ by a factor of 4 at the most."""
    return np.floor(np.log2(found[:, -1]) / 2).astype(np.int64)


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
        log.warning("left out %d particles with a defocus of 0 or none: %s", len(rows), names_of(particles, rows))
    return rows
