"""Particle images with known truth: random poses, CTF, white noise, junk among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.geometry.aberrations import magnified
from pycryo.geometry.rotations import euler_to_matrix
from pycryo.kernels.pixels import Pixels, half_plane
from pycryo.kernels.projector import FourierVolume, fourier_volume, project_slices
from pycryo.kernels.shift import shift
from pycryo.maps.density import Map
from pycryo.model.ewald import curvature
from pycryo.model.microscope import image_ctf, turn_phases
from pycryo.progress import track
from pycryo.simulation.options import SimulateOptions

# Kinds of images in `Truth.junk`.
PARTICLE, EMPTY, OFF_CENTRE, ICE = range(4)
# Images that the scale of the signal is measured on.
SCALE_IMAGES = 256
# Of a batch of images.
BATCH_PIXELS = 2**22


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of each simulated image; RELION's conventions and units.

    Attributes
    ----------
    angles : (n, 3) float64
        rot, tilt, psi, degrees; uniform over all rotations.
    origin : (n, 2) float64
        rlnOrigin x, y, px: the particle sits at minus that.
    defocus_u, defocus_v : (n,) float64
        Å.
    defocus_angle : (n,) float64
        Degrees.
    model : (n,) int64
        Which of the maps, from 0.
    junk : (n,) int64
        PARTICLE, or what the image shows instead: EMPTY noise only, OFF_CENTRE a particle of inverted contrast far from
        the centre, ICE a bright blob.
    half : (n,) int64
        Half-set, 1 or 2.
    """

    angles: NDArray[np.float64]
    origin: NDArray[np.float64]
    defocus_u: NDArray[np.float64]
    defocus_v: NDArray[np.float64]
    defocus_angle: NDArray[np.float64]
    model: NDArray[np.int64]
    junk: NDArray[np.int64]
    half: NDArray[np.int64]


def draw_truth(options: SimulateOptions, n_model: int = 1) -> Truth:
    """Draw what the images show, from the seed alone."""
    n = options.n
    rng = np.random.Generator(np.random.Philox(key=[options.seed, 0]))
    angles = np.stack(
        [rng.uniform(-180, 180, n), np.degrees(np.arccos(rng.uniform(-1, 1, n))), rng.uniform(-180, 180, n)], axis=1
    )
    mean = rng.uniform(options.defocus_min, options.defocus_max, n)
    difference = rng.uniform(0, options.astigmatism, n)
    return Truth(
        angles=angles,
        origin=rng.normal(0, options.shift_sd, (n, 2)),
        defocus_u=mean + difference / 2,
        defocus_v=mean - difference / 2,
        defocus_angle=rng.uniform(0, 180, n),
        model=rng.integers(0, n_model, n),
        junk=np.where(rng.uniform(size=n) < options.junk, rng.integers(EMPTY, ICE + 1, n), PARTICLE),
        half=rng.permutation(n) % 2 + 1,
    )


@dataclass(frozen=True, slots=True)
class Simulator:
    """Makes any images of a data set; a particle's image depends on its index only, not on the batch it is in.

    Attributes
    ----------
    options : SimulateOptions
    truth : Truth
    maps : tuple of Map
        The models on the scale of the images, whose noise has variance 1.
    """

    options: SimulateOptions
    truth: Truth
    maps: tuple[Map, ...]
    _volumes: tuple[FourierVolume, ...]
    _pixels: Pixels

    @classmethod
    def from_maps(cls, maps: Sequence[Map], options: SimulateOptions) -> Simulator:
        """Draw the truth and scale the maps so that the images' mean signal-to-noise ratio is ``options.snr``.

        Parameters
        ----------
        maps : sequence of Map
            One or more of the same box and pixel size.
        options : SimulateOptions

        Raises
        ------
        InputError
            If the maps differ in size or are all zero.
        """
        box, pixel_size = maps[0].box, maps[0].pixel_size
        if any(each.box != box or each.pixel_size != pixel_size for each in maps):
            raise InputError("the models to simulate from must have the same box and pixel size")
        pixels = half_plane(box, box / 2)
        volumes = tuple(fourier_volume(each.data, padding=options.padding, r_high=box / 2) for each in maps)
        trial = cls(options, draw_truth(options, len(maps)), tuple(maps), volumes, pixels)
        variance = trial._signal_variance()
        if not (np.isfinite(variance) and variance > 0):
            raise InputError("nothing to simulate from: the map's projections are 0 or not finite")
        scale = np.float32(np.sqrt(options.snr / variance))
        return cls(
            options,
            trial.truth,
            tuple(Map(each.data * scale, pixel_size) for each in maps),
            tuple(FourierVolume(v.data * scale, v.box, v.padding, v.r_high) for v in volumes),
            pixels,
        )

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(len(rows), box, box) float32 images of the particles `rows`: signal and noise of variance 1."""
        signal = self._signal(rows)
        for row, image in zip(rows, signal, strict=True):
            rng = np.random.Generator(np.random.Philox(key=[self.options.seed, int(row) + 1]))
            self._spoil(image, int(self.truth.junk[row]), rng)
            image += rng.standard_normal(image.shape, dtype=np.float32)
        return signal

    def batches(self, size: int) -> Iterator[NDArray[np.float32]]:
        """All images in order, at most `size` at a time."""
        for start in range(0, self.options.n, size):
            yield self.images(np.arange(start, min(start + size, self.options.n)))

    def _signal(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(len(rows), box, box) projections of the particles with CTF and shift."""
        truth, options, pixels = self.truth, self.options, self._pixels
        optics, group = options.optics(pixels.box, self.maps[0].pixel_size), np.zeros(len(rows), np.int32)
        rotations = magnified(euler_to_matrix(*truth.angles[rows].T), optics.magnification[group])
        bend = options.ewald_hand * curvature(optics, group)
        transfer = [
            image_ctf(
                optics,
                group,
                pixels,
                defocus_u=truth.defocus_u[rows],
                defocus_v=truth.defocus_v[rows],
                defocus_angle=truth.defocus_angle[rows],
                phase_shift=phase_shift,
            )[:, None]
            for phase_shift in ((0.0, 90.0) if options.ewald_hand else (0.0,))
        ]
        slices = self._slices(rows, rotations, -bend)
        if options.ewald_hand:
            other = self._slices(rows, rotations, bend)
            both, difference = 0.5 * transfer[0] * (slices + other), 0.5 * transfer[1] * (slices - other)
            slices = both + np.stack([difference[:, 1], -difference[:, 0]], axis=1)
        else:
            slices *= transfer[0]
        turn_phases(slices, optics, group, pixels, sign=1)
        moved = shift(slices, pixels.kx, pixels.ky, truth.origin[rows, None], pixels.box)
        return pixels.to_images(moved[:, 0])

    def _slices(
        self, rows: NDArray[np.int64], rotations: NDArray[np.float64], bend: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """(len(rows), 2, n_pixel) of the particles' models, on surfaces of the curvature `bend`."""
        pixels = self._pixels
        slices = np.empty((len(rows), 2, len(pixels)), np.float32)
        for index, volume in enumerate(self._volumes):
            mine = self.truth.model[rows] == index
            slices[mine] = project_slices(volume, rotations[mine], pixels.kx, pixels.ky, curvature=bend[mine])
        return slices

    def _signal_variance(self) -> float:
        """Mean over images of the variance of the signal."""
        rows = np.arange(min(self.options.n, SCALE_IMAGES))
        variances = [
            self._signal(part).var(axis=(1, 2), dtype=float) for part in np.array_split(rows, len(rows) // 32 + 1)
        ]
        return float(np.concatenate(variances).mean())

    def _spoil(self, signal: NDArray[np.float32], junk: int, rng: np.random.Generator) -> None:
        """Turn the signal of a particle into that of junk, in place."""
        if junk == PARTICLE:
            return
        box = len(signal)
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.5) * box
        x, y = distance * np.cos(angle), distance * np.sin(angle)
        if junk == OFF_CENTRE:
            signal[:] = np.roll(-1.5 * signal, (round(y), round(x)), (0, 1))
            return
        strength = 3 * np.sqrt(float(signal.var()))
        signal[:] = 0
        if junk == ICE:
            at = np.arange(box) - box // 2
            sd = rng.uniform(0.05, 0.15) * box
            blob = np.exp(-((at - x) ** 2) / (2 * sd**2)) * np.exp(-((at - y) ** 2) / (2 * sd**2))[:, None]
            signal += (strength * blob / blob.std()).astype(np.float32)


def tracked(simulator: Simulator) -> Iterator[NDArray[np.float32]]:
    """All images in order, some at a time, as a phase of `pycryo.progress`."""
    size = max(1, BATCH_PIXELS // simulator.maps[0].box ** 2)
    return track(simulator.batches(size), simulator.options.n, "simulating images", len)
