"""Images inserted at the poses that their file has: F and T of each half.

See docs/method.md, Insertion and reconstruction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry.rotations import euler_to_quaternion, multiply
from pycryo.io.batches import Batch
from pycryo.io.particles import Particles
from pycryo.kernels.backprojector import Accumulators, quantum_for
from pycryo.kernels.entries import Entries
from pycryo.kernels.pixels import half_plane
from pycryo.model.ewald import Ewald
from pycryo.model.insertion import Frame, Insertion, waits
from pycryo.model.owners import Owners
from pycryo.model.symmetrise import Mates, symmetrise
from pycryo.progress import phase
from pycryo.refinement.data.image_statistics import ImageStatistics
from pycryo.refinement.data.partition import Geometry, Partition
from pycryo.refinement.data.prepare import samples_of, weighted_target
from pycryo.refinement.expectation.entries import both_bands, on_both_surfaces
from pycryo.refinement.expectation.rounds import parts, round_count


@dataclass(frozen=True, slots=True)
class FixedWeighting:
    """How images are weighted where nothing is known but their power.

    Attributes
    ----------
    background_radius : float
        Å; the mean of an image is taken outside of it.
    use_ctf : bool
    noise : (n_group, n_shell) float64
        σ² per real component.
    scale : (n_group,) float64
        Grey scales.
    norm : (n_all,) float64
        Divides each image.
    sign : float
        -1 inverts the contrast of the images.
    """

    background_radius: float
    use_ctf: bool
    noise: NDArray[np.float64]
    scale: NDArray[np.float64]
    norm: NDArray[np.float64]
    sign: float = 1.0


@dataclass(frozen=True, slots=True)
class Job:
    """What stays the same for all batches: sampling and limits of the map, weights, mates, bytes for images."""

    frame: Frame
    pixel_size: float
    weighting: FixedWeighting
    mates: Mates
    memory: float
    ewald: Ewald | None = None


def white_noise(statistics: ImageStatistics, particles: Particles) -> NDArray[np.float64]:
    """(n_group, n_shell) σ² per real component: the mean over all shells but the first, of all power."""
    noise = np.ones_like(statistics.power)
    for group, (box, count) in enumerate(zip(particles.optics.box.tolist(), statistics.count.tolist(), strict=True)):
        n_sample = np.count_nonzero(half_plane(box, box / 2).shell)
        if count and n_sample:
            noise[group] = statistics.power[group, 1:].sum() / (2 * count * n_sample)
    return noise


def exact_quanta(
    particles: Particles,
    statistics: ImageStatistics,
    weighting: FixedWeighting,
    model: Geometry,
    padding: int,
    n_entry: int,
) -> tuple[float, float]:
    """Quanta of F and T with which `n_entry` insertions of images are exact, see `pycryo.kernels.backprojector.insert`.

    A voxel collects trilinear weights of at most the 8 samples of a slice around it, or of more where the samples are
    closer than the voxels.
    """
    optics = particles.optics
    density = (
        model.field_of_view * padding / (optics.box * optics.pixel_size)
    )  # padded Fourier px per Fourier px of an image
    per_slice = 8 * np.ceil(np.maximum(1, 1 / density)).max() ** 2
    gain = 1.0
    if weighting.use_ctf:
        reach = 0.5 / particles.pixel_size  # 1/Å
        envelope = np.exp(np.maximum(0, -particles.ctf_b_factor) / 4 * reach**2)
        gain = max(1.0, float((np.abs(particles.ctf_scale) * envelope).max()))
    entries = per_slice * n_entry
    value = float((weighting.scale[:, None] * statistics.amplitude / weighting.noise).max())
    weight = float((weighting.scale[:, None] ** 2 / weighting.noise).max())
    return quantum_for(entries * gain * max(value, 1e-300)), quantum_for(entries * gain**2 * weight)


def insert_particles(partition: Partition, owners: tuple[Owners, ...], job: Job) -> list[Accumulators | None]:
    """F and T of each half, on its owners; None elsewhere. Collective."""
    whole = len(owners) == 1
    comms = [partition.comm] if whole else list(partition.half_comm)
    insertions = [
        None if comm is None else Insertion(comm, each, job.frame) for comm, each in zip(comms, owners, strict=True)
    ]
    waiting = any(comm is not None and waits(comm, each) for comm, each in zip(comms, owners, strict=True))
    n_sample = samples_per_image(partition.particles, job.frame, job.pixel_size)
    n_byte = (12 if job.ewald is None else 24) * n_sample
    n_round = round_count(partition, n_byte if waiting else 0.0, job.memory)
    with phase("inserting images", len(partition.rows)) as advance:
        for number, rows in enumerate(parts(partition, n_round)):
            for insertion in insertions if number else ():
                if insertion is not None:
                    insertion.exchange()
            for insertion, mine in zip(insertions, rows, strict=False):
                for batch in partition.batches(mine):
                    assert insertion is not None
                    insertion.add(_entries(partition.particles, batch, job))
                    advance(len(batch.rows))
    return [
        None if insertion is None else _symmetric(insertion.result(), each, job)
        for insertion, each in zip(insertions, owners, strict=True)
    ]


def _symmetric(sums: Accumulators | None, owners: Owners, job: Job) -> Accumulators | None:
    """F and T with the mates at which images were not inserted. Collective over the owners."""
    if sums is not None:
        symmetrise(sums, owners, job.mates.rotations)
    return sums


def samples_per_image(particles: Particles, frame: Frame, pixel_size: float) -> float:
    """Fourier samples of an image that are inserted, at most."""
    ratio = frame.box * pixel_size / (particles.optics.box * particles.optics.pixel_size)
    return float((np.pi / 2 * np.minimum(frame.r_high / ratio, particles.optics.box / 2) ** 2).max())


def _entries(particles: Particles, batch: Batch, job: Job) -> Entries:
    """Images of one geometry at their poses and those of the symmetry mates that are inserted."""
    rows, optics, frame = batch.rows, particles.optics, job.frame
    group = particles.optics_group[rows]
    box, pixel_size = int(optics.box[group[0]]), float(optics.pixel_size[group[0]])
    ratio = frame.box * job.pixel_size / (box * pixel_size)  # Fourier px of the map per Fourier px of the image
    pixels = half_plane(box, min(frame.r_high / ratio, box / 2))
    weighting = job.weighting
    factor = (weighting.sign / weighting.norm[rows]).astype(np.float32)
    samples = samples_of(batch.images, weighting.background_radius / pixel_size, pixels, factor)
    noise, scale = weighting.noise[group], weighting.scale[group]
    target = weighted_target(
        samples, particles, rows, pixels, noise, scale, use_ctf=weighting.use_ctf, is_bare=job.ewald is not None
    )
    if job.ewald is not None:
        target = both_bands(target, particles, rows, job.ewald)
    n_mate = len(job.mates.poses)
    poses = euler_to_quaternion(particles.rot[rows], particles.tilt[rows], particles.psi[rows])
    image = np.repeat(np.arange(len(rows)), n_mate)
    rotations = target.matrices(multiply(poses[:, None], job.mates.poses).reshape(-1, 4), image)
    # The kernel's phase ramp is in units of the map's box.
    origin = np.stack([particles.origin_x[rows], particles.origin_y[rows]], axis=1) / pixel_size
    entries = Entries(
        target.images,
        target.weights,
        image,
        rotations,
        np.repeat(-origin * (frame.box / box), n_mate, axis=0),
        np.ones(len(rows) * n_mate),
        pixels.kx,
        pixels.ky,
        ratio,
    )
    return entries if job.ewald is None else on_both_surfaces(entries, particles, rows, job.ewald)
