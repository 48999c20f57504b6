"""Sums over the images of each optics group, of which its aberrations and magnification are found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry.aberrations import magnified
from pycryo.geometry.rotations import euler_to_quaternion, from_rotation_vector, quaternion_to_matrix
from pycryo.io.particles import Particles
from pycryo.kernels.backprojector import quantum_for
from pycryo.kernels.pixels import Pixels, half_plane
from pycryo.kernels.projector import FourierVolume, project_slices
from pycryo.kernels.shift import shift
from pycryo.model.microscope import frequencies, magnification, particle_ctf
from pycryo.parallel.comm import Comm
from pycryo.refinement.data.image_statistics import ImageStatistics, group_sums
from pycryo.refinement.data.partition import Partition
from pycryo.refinement.data.prepare import Weighting
from pycryo.refinement.optics.nuisance import N_TAKEN, Nuisance, Taken
from pycryo.refinement.optics.reference import Frames

Array = NDArray[np.float64]

# px by which the outermost sample moves for the derivative by the magnification.
_STEP = 0.25
# Changes of M, one by one.
CHANGES = np.array([[[1.0, 0], [0, 0]], [[0, 1.0], [1.0, 0]], [[0, 0], [0, 1.0]]])
# Samples of images at a time.
_CHUNK_SAMPLES = 1 << 19


@dataclass(frozen=True, slots=True)
class Evidence:
    """Sums over the images X of a group; P are their slices, χ the phase of the CTF, all with the present optics.

    Attributes
    ----------
    pixels : Pixels
    product : (n_pixel,) complex128
        Σ sin χ X·P*/σ².
    cosine : (n_pixel,) float64
        Σ cos χ Re(X·P*)/σ².
    information, power, power_sine : (n_pixel,) float64
        Σ sin² χ |P|²/σ², Σ|P|²/σ², Σ sin 2χ |P|²/σ².
    slope, hessian : (3,), (3, 3) float64
        First and expected second derivatives of the log likelihood by `CHANGES` of the magnification.
    taken : Taken
        What the poses of the images can take of the phases.
    n : int
        Images.
    """

    pixels: Pixels
    product: NDArray[np.complex128]
    cosine: Array
    information: Array
    power: Array
    power_sine: Array
    slope: Array
    hessian: Array
    taken: Taken
    n: int

    @property
    def power_cosine(self) -> Array:
        """Σ cos 2χ |P|²/σ²."""
        return self.power - 2 * self.information

    @property
    def turning(self) -> tuple[Array, Array]:
        """(n_pixel,) slope and information of an antisymmetric phase at 0."""
        return self.product.imag, self.information

    @property
    def sizing(self) -> tuple[Array, Array]:
        """(n_pixel,) slope and information of a symmetric phase at 0."""
        return 0.5 * self.power_sine - self.cosine, 0.5 * (self.power + self.power_cosine)

    @property
    def agrees(self) -> bool:
        """Whether images and slices have anything in common, far beyond chance."""
        return float(self.product.real.sum()) > 10 * float(np.sqrt(self.information.sum()))

    @property
    def gain(self) -> float:
        """Grey scale of the images beyond the one that was taken for them."""
        total = self.information.sum()
        return float(self.product.real.sum() / total) if total > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Compared:
    """What the images are compared with, the same in all passes.

    Attributes
    ----------
    frames : Frames
    volumes : two FourierVolume
        What images of each half are compared with.
    """

    frames: Frames
    volumes: Sequence[FourierVolume]


def gather_evidence(
    partition: Partition,
    particles: Particles,
    statistics: ImageStatistics,
    weighting: Weighting,
    compared: Compared,
) -> dict[int, Evidence]:
    """Sums of each optics group that has usable images. Collective; the same to the last bit on any number of ranks.

    Parameters
    ----------
    partition : Partition
    particles : Particles
        Those of `partition`, with the present optics and defoci.
    statistics : ImageStatistics
    weighting : Weighting
    compared : Compared
    """
    comm = partition.comm
    groups = np.flatnonzero(statistics.count)
    sums = {int(g): _Sums.empty(particles, statistics, weighting, compared, int(g)) for g in groups}
    rows, values = [np.empty(0, np.int64)], [np.empty((0, 9 + N_TAKEN))]
    for half in (0, 1):
        for mine, images in in_pieces(partition, half):
            values.append(_add(sums, particles, mine, images, weighting, compared, half))
            rows.append(mine)
    group = particles.optics_group[np.concatenate(rows)]
    n_group = len(statistics.count)
    parts = np.split(np.concatenate(values), [9], axis=1)
    scalars, taken = (group_sums(comm, part, group, n_group, particles.n) for part in parts)
    return {g: each.total(comm, scalars[g], taken[g], int(statistics.count[g])) for g, each in sums.items()}


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of a group so far: six arrays (6, n_pixel), each addition exact."""

    pixels: Pixels
    quantum: float
    arrays: Array

    @classmethod
    def empty(
        cls,
        particles: Particles,
        statistics: ImageStatistics,
        weighting: Weighting,
        compared: Compared,
        g: int,
    ) -> _Sums:
        optics = particles.optics
        box = int(optics.box[g])
        scale = weighting.field_of_view / (box * optics.pixel_size[g])
        pixels = half_plane(box, min(compared.frames.r_high / scale, box / 2), 1)
        largest = max(float(np.abs(volume.data).max()) for volume in compared.volumes)
        gain = abs(weighting.scale[g]) / weighting.noise[g]
        amplitude = float((gain * statistics.amplitude[g]).max())
        bound = statistics.count[g] * largest * max(amplitude, float((gain * abs(weighting.scale[g])).max()) * largest)
        # Factors of CTFs above 1 are allowed for.
        return cls(pixels, quantum_for(max(16.0 * bound, 1e-300)), np.zeros((6, len(pixels))))

    def add(self, contributions: Array) -> None:
        """(6, n, n_pixel) of n images."""
        self.arrays[:] += (np.rint(contributions / self.quantum) * self.quantum).sum(axis=1)

    def total(self, comm: Comm, scalars: Array, taken: Array, n: int) -> Evidence:
        """Of all ranks. Collective."""
        comm.sum_array(self.arrays)
        re, im, cosine, information, power, power_sine = self.arrays
        hessian = np.zeros((3, 3))
        hessian[np.triu_indices(3)] = scalars[3:]
        hessian += np.triu(hessian, 1).T
        of_phases = Taken.of_sums(taken)
        sums = (re + 1j * im, cosine, information, power, power_sine)
        return Evidence(self.pixels, *sums, scalars[:3], hessian, of_phases, n)


@dataclass(frozen=True, slots=True)
class Aligned:
    """Images of one geometry and half, centred, and their slices.

    Attributes
    ----------
    pixels : Pixels
    images : (n, 2, n_pixel) float64
        s·X/σ² without the phase errors that are known.
    weights : (n, n_pixel) float64
        s²/σ².
    slices : (n, 2, n_pixel) float64
    sine, cosine : (n, n_pixel) float64
        Of the phase of the CTF.
    quaternion, shift : (n, 4), (n, 2) float64
        Poses in the map, px.
    matrices : (n, 3, 3) float64
    scale : float
        Fourier px of the map per Fourier px of the images.
    volume : FourierVolume
    present : (n, 2, 2) float64
        Magnification.
    """

    pixels: Pixels
    images: Array
    weights: Array
    slices: Array
    sine: Array
    cosine: Array
    quaternion: Array
    shift: Array
    matrices: Array
    scale: float
    volume: FourierVolume
    present: Array

    def read(self, turned: Array, change: Array | float = 0.0) -> Array:
        """Slices of other matrices, with the magnification changed."""
        matrices = magnified(turned, (np.eye(2) + change) @ self.present)
        return project_slices(self.volume, matrices, self.pixels.kx, self.pixels.ky, scale=self.scale).astype(
            np.float64
        )


def align(
    particles: Particles,
    rows: NDArray[np.int64],
    images: NDArray[np.float32],
    weighting: Weighting,
    compared: Compared,
    half: int,
) -> Aligned:
    """Images `rows` of one geometry and half, with the slices of the map that they are compared with."""
    scale = weighting.model_scale(particles, rows)
    target = weighting.target(particles, rows, images, compared.frames.r_high, is_bare=True)
    target = target.between(1, compared.frames.r_high / scale)
    pixels, pixel_size = target.pixels, float(particles.pixel_size[rows[0]])
    poses = euler_to_quaternion(particles.rot[rows], particles.tilt[rows], particles.psi[rows])
    sits = -np.stack([particles.origin_x[rows], particles.origin_y[rows]], axis=1) / pixel_size
    quaternion, moves = compared.frames.poses(half, poses, sits, pixel_size)
    centred = shift(target.images, pixels.kx, pixels.ky, moves[:, None], pixels.box)[:, 0].astype(np.float64)
    matrices = quaternion_to_matrix(quaternion)
    found = magnification(particles, rows)
    present = np.broadcast_to(np.eye(2), (len(rows), 2, 2)) if found is None else found
    volume, read = compared.volumes[half], magnified(matrices, present)
    slices = project_slices(volume, read, pixels.kx, pixels.ky, scale=scale).astype(np.float64)
    sine, cosine = (particle_ctf(particles, rows, pixels, quarter_turns=turns).astype(np.float64) for turns in (0, 1))
    weights = target.weights.astype(np.float64)
    return Aligned(pixels, centred, weights, slices, sine, cosine, quaternion, moves, matrices, scale, volume, present)


def in_pieces(partition: Partition, half: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """This rank's images of a half, a few at a time."""
    for batch in partition.batches(partition.rows_of(half)):
        size = max(1, _CHUNK_SAMPLES // batch.images[0].size)
        for start in range(0, len(batch.rows), size):
            yield batch.rows[start : start + size], batch.images[start : start + size]


def _add(
    sums: dict[int, _Sums],
    particles: Particles,
    rows: NDArray[np.int64],
    images: NDArray[np.float32],
    weighting: Weighting,
    compared: Compared,
    half: int,
) -> Array:
    """Add images of one geometry and half to the sums; returns (n, 9 + N_TAKEN) derivatives of each.

    Those by the magnification, and what poses take of those by phases.
    """
    here = align(particles, rows, images, weighting, compared, half)
    pixels, middle, matrices, slices = here.pixels, here.slices, here.matrices, here.read
    centred, weights, group = here.images, here.weights, particles.optics_group[rows]
    step = _STEP / max(1.0, float(np.hypot(pixels.kx, pixels.ky).max()))
    slopes = [slices(matrices, step * change) - slices(matrices, -step * change) for change in CHANGES]
    for turn in quaternion_to_matrix(from_rotation_vector(step * np.eye(3))):
        slopes.append(slices(turn @ matrices) - slices(turn.T @ matrices))
    slopes = [each / (2 * step) for each in slopes]
    for k in (pixels.kx, pixels.ky):  # a shift by a px multiplies by exp(-2πi k / box)
        turns = 2 * np.pi / pixels.box * k
        slopes.append(np.stack([turns * middle[:, 1], -turns * middle[:, 0]], axis=1))
    # Grey scale and decay of the image relative to the reference's: a steeper fall looks like a larger particle.
    slopes += [middle, np.square(step * np.hypot(pixels.kx, pixels.ky)) * middle]
    sine, cosine = here.sine, here.cosine
    re = (centred * middle).sum(axis=1)
    im = centred[:, 1] * middle[:, 0] - centred[:, 0] * middle[:, 1]
    power = weights * np.square(middle).sum(axis=1)
    contributions = np.stack([sine * re, sine * im, cosine * re, sine * sine * power, power, 2 * sine * cosine * power])
    for g in np.unique(group):
        sums[int(g)].add(contributions[:, group == g])
    left = sine[:, None] * (centred - (sine * weights)[:, None] * middle)
    found = Nuisance(slopes[:3], slopes[3:], left, sine * sine * weights)
    slope, hessian = found.without()
    slope -= ((sine * sine * power)[:, None] @ _noise_slopes(pixels, here.scale, compared.frames.fall).T)[:, 0]
    taken = np.empty((len(rows), N_TAKEN))
    for g in np.unique(group):
        mine, at = group == g, frequencies(particles.optics, int(g), pixels)
        taken[mine] = found.of_phases(mine, at, middle[mine], sine[mine], cosine[mine], weights[mine])
    return np.concatenate([slope, hessian, taken], axis=1)


def _noise_slopes(pixels: Pixels, scale: float, fall: Array) -> Array:
    """(3, n_pixel) what the reference's noise adds to the derivatives by `CHANGES`, per |P|²·sin² χ/σ².

    Noise and its slope are alike: the filter f, which makes a map and its noise what is expected of the truth, does so
    for the map, but not for its slope, of which ½ |P|² · d ln f / dr remains.
    """
    k = np.stack([pixels.kx, pixels.ky]).astype(np.float64)
    radius = np.hypot(*k)
    here = np.interp(scale * radius, np.arange(len(fall)), fall)
    outward = np.einsum("ak,iab,bk->ik", k / radius, CHANGES, k)
    return np.asarray(0.5 * scale * here * outward)
