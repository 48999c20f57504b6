"""Images to the weighted Fourier samples that the kernels take (docs/method.md, Model and likelihood)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pycryo.fourier import rfft2
from pycryo.geometry.aberrations import magnified
from pycryo.geometry.rotations import quaternion_to_matrix
from pycryo.io.particles import Particles
from pycryo.kernels.pixels import Pixels, half_plane
from pycryo.kernels.shells import image_shells
from pycryo.model.microscope import are_premultiplied, magnification, particle_ctf, turn_phases, unflip
from pycryo.refinement.data._background import weigh as multiply_weights
from pycryo.refinement.data._background import without_background
from pycryo.threads import get_threads

# px; width of the rim between what is inside a circle and what is around it.
_RIM = 4.0
# px that a core transforms at a time.
_CHUNK = 1 << 17
# Share of the image that tells what is around a particle.
_LEAST_AROUND = 0.1


@dataclass(frozen=True, slots=True)
class Target:
    """Images of one geometry, weighted for comparison and insertion.

    Attributes
    ----------
    pixels : Pixels
    images : (n, 2, n_pixel) float32
        X̃ = s·CTF·X/σ², without the phase errors of antisymmetric aberrations.
    weights : (n, n_pixel) float32
        W = s²·CTF²/σ².
    magnification : (n, 2, 2) float64 or None
        Slices of an image are read at M k; None: at k.
    is_premultiplied : bool
        The images were multiplied by their CTF before: the noise in X̃ is the same, that in the images is not.
    """

    pixels: Pixels
    images: NDArray[np.float32]
    weights: NDArray[np.float32]
    magnification: NDArray[np.float64] | None = None
    is_premultiplied: bool = False

    def __len__(self) -> int:
        return len(self.images)

    def between(self, r_low: float, r_high: float) -> Target:
        """The samples with r_low ≤ |k| < r_high."""
        keep = self.pixels.index(r_low, r_high)
        if len(keep) == len(self.pixels):
            return self
        pixels = Pixels(self.pixels.box, *(getattr(self.pixels, name)[keep] for name in ("kx", "ky", "shell")))
        images, weights = (self.pixels.columns(each, keep) for each in (self.images, self.weights))
        return replace(self, pixels=pixels, images=images, weights=weights)

    def with_ctf(self, transfer: NDArray[np.float32]) -> Target:
        """Images that were weighted as if the CTF were 1, with the CTF (n, n_pixel)."""
        return replace(self, images=self.images * transfer[:, None], weights=self.weights * np.square(transfer))

    def matrices(self, quaternions: NDArray[np.float64], images: NDArray[np.int64]) -> NDArray[np.float64]:
        """(..., 3, 3) of rotations (..., 4), as slices of the images numbered `images` (...) are read."""
        found = quaternion_to_matrix(quaternions)
        return found if self.magnification is None else magnified(found, self.magnification[images])


def transform(images: NDArray[np.float32], background_radius: float) -> NDArray[np.complex64]:
    """Half-plane transforms (n, N, N//2+1) with the origin at the centre pixel.

    The mean outside `background_radius` px is subtracted first (of the whole image, if nothing is outside).
    """
    images = np.ascontiguousarray(images, np.float32)
    return _transform(without_background(images, _surroundings(images.shape[-1], background_radius), get_threads()))


@lru_cache(maxsize=16)
def _surroundings(box: int, radius: float) -> NDArray[np.int32]:
    """Numbers of the pixels more than `radius` px from the centre; of all, if there are none."""
    line = np.arange(box) - box // 2
    beyond = np.hypot(line[:, None], line) > radius
    around = np.flatnonzero(beyond if beyond.any() else ~beyond).astype(np.int32)
    around.flags.writeable = False
    return around


def samples_of(
    images: NDArray[np.float32], background_radius: float, pixels: Pixels, factor: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """(n, 2, n_pixel) samples of the `transform` of images (n, N, N), each times its `factor` (n,)."""
    samples = np.empty((len(images), 2, len(pixels)), np.float32)
    for some in _chunks(len(images), pixels.box):
        pixels.take(transform(images[some], background_radius), out=samples[some])
        if factor is not None:
            samples[some] *= factor[some, None, None]
    return samples


def _transform(images: NDArray[np.float32]) -> NDArray[np.complex64]:
    return rfft2(images, workers=get_threads())


def particle_power(images: NDArray[np.float32], radius: float, n_shell: int) -> NDArray[np.float64]:
    """(n, n_shell) Σ|X|² of what is within `radius` px of the centre, less what the surroundings would have there.

    0 if the surroundings are less than `_LEAST_AROUND` of the image.
    """
    box = images.shape[-1]
    line = np.arange(box) - box // 2
    ramp = np.clip((np.hypot(line[:, None], line) - radius) / _RIM, 0, 1)
    inside = (0.5 + 0.5 * np.cos(np.pi * ramp)).astype(np.float32)
    around = 1 - inside
    area_inside, area_around = np.square(inside).sum(), np.square(around).sum()
    if area_around < _LEAST_AROUND * box * box:
        return np.zeros((len(images), n_shell))
    pixels, share = half_plane(box, box / 2), area_inside / area_around
    result = np.empty((len(images), n_shell))
    for some in _chunks(len(images), box):
        few = images[some]
        mean = (few * around).sum(axis=(1, 2), dtype=np.float64) / around.sum(dtype=np.float64)
        centred = few - mean.astype(np.float32)[:, None, None]
        # Where the origin is makes no difference to the power.
        samples = (pixels.take(_transform(centred * window)) for window in (inside, around))
        within, beyond = (image_shells(each, each, pixels.shell, n_shell)[:, :, 1] for each in samples)
        result[some] = within - share * beyond
    return result


def _chunks(n: int, box: int) -> Iterator[slice]:
    """Images few enough to stay in the caches of the cores that transform them."""
    size = max(1, _CHUNK // box**2) * get_threads()
    return (slice(first, first + size) for first in range(0, n, size))


def weigh(
    samples: NDArray[np.float32],
    pixels: Pixels,
    transfer: NDArray[np.float32] | None,
    noise: NDArray[np.float64],
    scale: NDArray[np.float64],
    *,
    is_premultiplied: bool = False,
) -> Target:
    """Weight Fourier samples by CTF and noise.

    Parameters
    ----------
    samples : (n, 2, n_pixel) float32
        X; overwritten.
    transfer : (n, n_pixel) float32 or None
        CTF; overwritten. None: 1.
    noise : (n, n_shell) float64
        σ² per real component and shell, of each image before it was multiplied by anything.
    scale : (n,) float64
        Grey scale s of each image relative to the map.
    is_premultiplied : bool
        X were multiplied by the CTF.
    """
    weights = np.ones((len(samples), len(pixels)), np.float32) if transfer is None else transfer
    gain, amplitude = (1 / noise).astype(np.float32), scale.astype(np.float32)
    multiply_weights(samples, gain, pixels.shell, weights, amplitude, is_premultiplied, get_threads())
    return Target(pixels, samples, weights, is_premultiplied=is_premultiplied)


def weighted_target(
    samples: NDArray[np.float32],
    particles: Particles,
    rows: NDArray[np.int64],
    pixels: Pixels,
    noise: NDArray[np.float64],
    scale: NDArray[np.float64],
    *,
    use_ctf: bool,
    is_bare: bool = False,
) -> Target:
    """Fourier samples of the images `rows`, of one geometry, weighted for what the microscope did to them.

    `samples` (n, 2, n_pixel) are overwritten, `noise` (n, n_shell) and `scale` (n,) are as for `weigh`. `is_bare`:
    weighted as if the CTF were 1, which the images still have.
    """
    turn_phases(samples, particles.optics, particles.optics_group[rows], pixels, sign=-1)
    if use_ctf:
        unflip(samples, particles, rows, pixels)
    transfer = particle_ctf(particles, rows, pixels) if use_ctf and not is_bare else None
    multiplied = use_ctf and are_premultiplied(particles, rows)
    target = weigh(samples, pixels, transfer, noise, scale, is_premultiplied=multiplied)
    return replace(target, magnification=magnification(particles, rows))


@dataclass(frozen=True, slots=True)
class Weighting:
    """What images are weighted with in an iteration.

    Attributes
    ----------
    noise : (n_group, n_shell) float64
        σ² per real component of each optics group.
    scale : (n_group,) float64
        Grey scales.
    norm : (n_all,) float64
        Divides each image.
    sign : float
        -1 inverts the contrast of the images.
    use_ctf : bool
    background_radius : float
        Å; the mean of an image is taken outside of it.
    field_of_view : float
        Of the model, Å.
    """

    noise: NDArray[np.float64]
    scale: NDArray[np.float64]
    norm: NDArray[np.float64]
    sign: float
    use_ctf: bool
    background_radius: float
    field_of_view: float

    def model_scale(self, particles: Particles, rows: NDArray[np.int64]) -> float:
        """Fourier px of the model per Fourier px of the images `rows` (of one geometry)."""
        optics, group = particles.optics, particles.optics_group[rows[0]]
        return float(self.field_of_view / (optics.box[group] * optics.pixel_size[group]))

    def target(
        self,
        particles: Particles,
        rows: NDArray[np.int64],
        images: NDArray[np.float32],
        r_high: float,
        *,
        is_bare: bool = False,
    ) -> Target:
        """Weighted samples below `r_high` (Fourier px of the model) of a batch; `is_bare`: as if the CTF were 1."""
        group = particles.optics_group[rows]
        box = images.shape[-1]
        radius = self.background_radius / particles.optics.pixel_size[group[0]]
        pixels = half_plane(box, min(r_high / self.model_scale(particles, rows), box / 2))
        samples = samples_of(images, radius, pixels, (self.sign / self.norm[rows]).astype(np.float32))
        return weighted_target(
            samples,
            particles,
            rows,
            pixels,
            self.noise[group],
            self.scale[group],
            use_ctf=self.use_ctf,
            is_bare=is_bare,
        )
