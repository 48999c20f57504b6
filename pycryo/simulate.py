"""Particle images with known truth: random poses, CTF, white noise, junk among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.fourier import irfft2
from pycryo.geometry.aberrations import magnified
from pycryo.geometry.rotations import euler_to_matrix
from pycryo.io.aberrations import group_values
from pycryo.io.optics import OpticsGroups
from pycryo.kernels.pixels import Pixels, half_plane
from pycryo.kernels.projector import FourierVolume, fourier_volume, project_slices
from pycryo.kernels.shift import shift
from pycryo.maps.density import Map
from pycryo.model.ewald import curvature
from pycryo.model.microscope import image_ctf, turn_phases
from pycryo.threads import get_threads

# Options that are lists -> their columns of an optics table.
_LISTED = {
    "beam_tilt": ("rlnBeamTiltX", "rlnBeamTiltY"),
    "odd_zernike": ("rlnOddZernike",),
    "even_zernike": ("rlnEvenZernike",),
    "magnification": ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11"),
}
# Kinds of images in `Truth.junk`.
PARTICLE, EMPTY, OFF_CENTRE, ICE = range(4)
# Images that the scale of the signal is measured on.
SCALE_IMAGES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """What a simulated data set shall be like; each field is an option of ``pycryo simulate``."""

    n: int = field(default=1000, metadata={"help": "number of particles"})
    snr: float = field(default=0.05, metadata={"help": "variance of the signal / variance of the noise, whole box"})
    defocus_min: float = field(default=8000.0, metadata={"help": "smallest mean defocus, Å"})
    defocus_max: float = field(default=25000.0, metadata={"help": "largest mean defocus, Å"})
    astigmatism: float = field(default=200.0, metadata={"help": "largest difference of the two defoci, Å"})
    voltage: float = field(default=300.0, metadata={"help": "kV"})
    spherical_aberration: float = field(default=2.7, metadata={"help": "mm"})
    amplitude_contrast: float = field(default=0.1, metadata={"help": "fraction of amplitude contrast"})
    shift_sd: float = field(default=3.0, metadata={"help": "standard deviation of the shifts along x and y, px"})
    junk: float = field(default=0.0, metadata={"help": "fraction of images without a centred particle"})
    padding: int = field(default=3, metadata={"help": "padding of the projected transform: more is more exact"})
    beam_tilt: str = field(default="", metadata={"help": "beam tilt X,Y, mrad"})
    odd_zernike: str = field(default="", metadata={"help": "antisymmetric aberrations, as rlnOddZernike: A,B,..."})
    even_zernike: str = field(default="", metadata={"help": "symmetric aberrations, as rlnEvenZernike: A,B,..."})
    magnification: str = field(default="", metadata={"help": "magnification matrix, as rlnMagMat00 to 11: A,B,C,D"})
    ewald_hand: int = field(default=0, metadata={"help": "images of thick particles (Ewald sphere), by hand: 1, -1"})
    seed: int = field(default=1, metadata={"help": "seed of everything random"})

    def __post_init__(self) -> None:
        checks = (
            ("n", self.n >= 1, "at least 1"),
            ("snr", 0 < self.snr < np.inf, "positive"),
            ("defocus-min", self.defocus_min <= self.defocus_max, "at most --defocus-max"),
            ("astigmatism", self.astigmatism >= 0, "0 or more"),
            ("voltage", self.voltage > 0, "positive"),
            ("amplitude-contrast", 0 <= self.amplitude_contrast <= 1, "between 0 and 1"),
            ("shift-sd", self.shift_sd >= 0, "0 or more"),
            ("junk", 0 <= self.junk < 1, "at least 0 and less than 1"),
            ("padding", self.padding >= 1, "at least 1"),
            ("ewald-hand", self.ewald_hand in (0, 1, -1), "0, 1 or -1"),
            ("seed", self.seed >= 0, "0 or more"),
        )
        for name, good, rule in checks:
            if not good:
                raise InputError(f"--{name} must be {rule}, not {getattr(self, name.replace('-', '_'))}")
        for name, count in (("beam_tilt", 2), ("odd_zernike", None), ("even_zernike", None), ("magnification", 4)):
            found = self.numbers(name)
            if found and count not in (None, len(found)):
                raise InputError(f"--{name.replace('_', '-')} takes {count} numbers, not {len(found)}")

    def numbers(self, name: str) -> list[float]:
        """The numbers of an option that is a list."""
        text = getattr(self, name)
        try:
            return [float(part) for part in text.split(",") if part.strip()]
        except ValueError:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} must be numbers separated by commas, not {text!r}") from None

    def optics_columns(self) -> dict[str, list[str]]:
        """The columns of an optics table, of one group, that say what is wrong with the lenses."""
        columns = {}
        for name, labels in _LISTED.items():
            if numbers := self.numbers(name):
                if len(labels) == 1:
                    columns[labels[0]] = ["[" + ",".join(repr(number) for number in numbers) + "]"]
                else:
                    columns |= {label: [repr(number)] for label, number in zip(labels, numbers, strict=True)}
        return columns

    def optics(self, box: int, pixel_size: float) -> OpticsGroups:
        """The one group of the images."""
        return OpticsGroups(
            ("opticsGroup1",),
            np.ones(1, np.int32),
            np.array([pixel_size]),
            np.array([box]),
            np.array([self.voltage]),
            np.array([self.spherical_aberration]),
            np.array([self.amplitude_contrast]),
            **group_values(Path(), {k: np.array(v, object) for k, v in self.optics_columns().items()}, 1),
        )


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
        return _to_images(pixels, moved[:, 0])

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


def _to_images(pixels: Pixels, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, box, box) float32 images of Fourier samples (n, 2, n_pixel) whose origin is the centre pixel."""
    box = pixels.box
    images = irfft2(pixels.put(samples), box, workers=get_threads())
    return np.asarray(np.fft.fftshift(images, axes=(1, 2)), np.float32)
