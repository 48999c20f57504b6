"""Where the axes of a point group lie in a map (docs/conventions.md has the group's own orientation).

The map's transform is read on central slices of a few views and compared with the same slices after rotations of the
group: both are equal if the rotations are about the map's axes. What looks the same from everywhere, the map's
rotational average, is left out, and shells count by their amplitude rather than their power, so that a shape without
the symmetry has a low correlation however round it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.fourier import irfftn, rfftn
from pycryo.geometry.frames import (
    best_apart,
    frame_grid,
    least_turn,
    normaliser_of,
    single_axis,
    some_turns,
    turns_without_inverses,
)
from pycryo.geometry.grids import rotation_grid
from pycryo.geometry.rotations import conjugate, from_rotation_vector, multiply, quaternion_to_matrix
from pycryo.geometry.symmetry import Symmetry, symmetry
from pycryo.kernels.pixels import Pixels, half_plane
from pycryo.kernels.projector import FourierVolume, fourier_volume, project_slices
from pycryo.maps.density import Map, resample
from pycryo.maps.masks import auto_mask

Array = NDArray[np.float64]

# Fourier px of the search over all directions, and of the refinement by default.
_COARSE = 10.0
_FINE = 20.0
# Grid of the search, radians: a rotation of the group moves the samples at 10 px by 1.6 px at the most per step.
_STEP = 0.08
# Of the transform that slices are read from.
_PADDING = 3
# Views, and rotations of the group, of the search; then of the refinement.
_N_VIEW = 24
_N_TURN, _N_TURN_FINE = 4, 12
# Step of slopes, in units of one radian of phase at the rim.
_DIFFERENCE = 0.05
# Shells with less than this share of the strongest one's power are not raised further.
_LEAST_POWER = 1e-6
# Best frames of the search that are refined.
_N_BEST = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a group's axes are in a map.

    Attributes
    ----------
    quaternion : (4,) float64
        Its matrix M takes directions of the convention to those in the map.
    centre : (3,) float64
        Point on all axes, (x, y, z), px of the map from its centre voxel; for a single axis the one nearest to that.
    correlation : float
        Of the map with itself turned, to the resolution looked at; mean over the group's rotations.
    weakest : float
        The same of the rotation with the lowest one: a group of which the map has only a part has a low one.
    before : float
        `correlation` about the convention's axes through the centre voxel, that is of the map as it is.
    resolution : float
        What was looked at, Å.
    """

    quaternion: Array
    centre: Array
    correlation: float
    weakest: float
    before: float
    resolution: float

    @property
    def matrix(self) -> Array:
        """(3, 3) M."""
        return quaternion_to_matrix(self.quaternion)


def find_axes(source: Map, group: Symmetry, *, resolution: float | None = None) -> Frame:
    """Find the axes of a group in a map.

    Of frames that are equally right (D2 has six, a single axis any turn about it) the one that turns the map least.

    Parameters
    ----------
    source : Map
        White density on a darker background.
    group : Symmetry
        Of two rotations or more.
    resolution : float, optional
        Å; what is finer is left out. Default: 1/20 of the field of view, at least 3 px.

    Returns
    -------
    Frame

    Raises
    ------
    InputError
        If the group is C1, the resolution not positive or too coarse for 6 Fourier px, the map smaller than 16 px or
        without density.
    """
    if len(group) < 2:
        raise InputError(f"{group.name} has no axes to be found")
    if source.box < 16:
        raise InputError(f"the map has {source.box} px, too few to find axes in: at least 16")
    r_high = _limit(source, resolution)
    work = _masked(source, r_high)
    start = _centre_of_mass(work)
    coarse = _Comparison.of(_prepared(work, start), group, min(_COARSE, r_high), _N_TURN)
    frames = frame_grid(group, _STEP)
    parts = np.array_split(frames, -(-len(frames) // 64))
    scores = np.concatenate([coarse.score(part, np.zeros((len(part), 3))) for part in parts])
    best = best_apart(frames, scores, group, _N_BEST, 3 * _STEP)
    tried = [_refined(coarse, group, frame, np.zeros(3)) for frame in best]
    _, frame, centre = max(tried, key=lambda each: each[0])
    start += centre
    fine = _Comparison.of(_prepared(work, start), group, r_high, _N_TURN_FINE)
    _, frame, centre = _refined(fine, group, frame, np.zeros(3))
    whole = replace(fine, turns=turns_without_inverses(group))
    identity = np.array([1.0, 0.0, 0.0, 0.0])
    after, before = whole.correlations(np.stack([frame, identity]), np.stack([centre, -start]))
    frame = normaliser_of(group).nearest(frame, identity)
    centre = (centre + start) * work.pixel_size / source.pixel_size
    if (axis := single_axis(group)) is not None:
        direction = quaternion_to_matrix(frame)[:, axis]
        frame, centre = least_turn(direction, axis), centre - (centre @ direction) * direction
    reached = source.box * source.pixel_size / r_high
    return Frame(frame, centre, float(after.mean()), float(after.min()), float(before.mean()), reached)


def _limit(source: Map, resolution: float | None) -> float:
    """Fourier px up to which the map is looked at."""
    field = source.box * source.pixel_size
    if resolution is None:
        return min(_FINE, source.box / 3)
    if not 0 < resolution <= field / 6:
        raise InputError(
            f"the resolution is {resolution} Å; it must be positive and at most a sixth of the box, {field / 6:.0f} Å"
        )
    return min(field / resolution, source.box / 2)


def _masked(source: Map, r_high: float) -> Map:
    """The molecule alone, in a small map that reaches to `r_high`."""
    box = min(source.box, 2 * int(np.ceil(1.25 * r_high)))
    field = source.box * source.pixel_size
    work = resample(source, box, field / box)
    mask = auto_mask(work, resolution=max(field / r_high, 3 * work.pixel_size))
    return Map(work.data * mask, work.pixel_size)


def _centre_of_mass(work: Map) -> Array:
    """(x, y, z), px from the centre voxel: all axes pass through it."""
    mass = np.maximum(work.data, 0).ravel().astype(np.float64)
    if not mass.sum() > 0:
        raise InputError("the map has no density above 0: it must be white on dark")
    at = np.indices(work.data.shape).reshape(3, -1)[::-1] - work.box // 2
    return np.asarray(at @ mass / mass.sum())


def _prepared(work: Map, centre: Array) -> Map:
    """A map with `centre`, px of it, brought to the centre voxel, without its rotational average, levelled."""
    from scipy import ndimage

    spectrum = np.fft.fftn(work.data)
    moved = np.fft.ifftn(ndimage.fourier_shift(spectrum, -centre[::-1])).real.astype(np.float32)
    return Map(_levelled(_without_average(moved)), work.pixel_size)


def _without_average(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """A map minus its mean at each distance from the centre voxel, linear between whole px."""
    line = np.square(np.arange(len(data)) - len(data) // 2)
    radius = np.sqrt(line[:, None, None] + line[:, None] + line).ravel()
    inner = radius.astype(np.int64)
    outer_share = radius - inner
    index, share = np.concatenate([inner, inner + 1]), np.concatenate([1 - outer_share, outer_share])
    mean = np.bincount(index, share * np.tile(data.ravel(), 2)) / np.maximum(np.bincount(index, share), 1e-9)
    average = (1 - outer_share) * mean[inner] + outer_share * mean[inner + 1]
    return np.asarray(data - average.reshape(data.shape), np.float32)


def _levelled(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """A map whose shells have the square root of their amplitudes, in the end: powers as amplitudes were."""
    spectrum = rfftn(data)
    line = np.fft.fftfreq(len(data), 1 / len(data)) ** 2
    shell = np.sqrt(line[:, None, None] + line[:, None] + line[: spectrum.shape[2]]).round().astype(np.int64)
    power = np.bincount(shell.ravel(), np.square(np.abs(spectrum)).ravel()) / np.bincount(shell.ravel())
    factor = np.maximum(power, max(_LEAST_POWER * float(power.max()), 1e-300)) ** -0.25
    return np.asarray(irfftn(spectrum * factor[shell], len(data)), np.float32)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Slices of a map that rotations of the group are judged by.

    `views` (v, 4), the `samples` (v, 2, n_pixel) there, and the `turns` (t, 4) of the group.
    """

    volume: FourierVolume
    pixels: Pixels
    views: Array
    samples: NDArray[np.float32]
    turns: Array

    @classmethod
    def of(cls, work: Map, group: Symmetry, r_high: float, n_turn: int) -> _Comparison:
        volume = fourier_volume(work.data, padding=_PADDING, r_high=r_high)
        pixels = half_plane(work.box, r_high, 1)
        views = rotation_grid(_N_VIEW, symmetry("C1"))
        samples = project_slices(volume, quaternion_to_matrix(views), pixels.kx, pixels.ky)
        return cls(volume, pixels, views, samples, some_turns(group, n_turn))

    def score(self, frames: Array, centres: Array) -> Array:
        """(n,) mean correlation for frames (n, 4) whose axes meet in `centres` (n, 3), px of the map."""
        return np.asarray(self.correlations(frames, centres).mean(axis=1))

    def correlations(self, frames: Array, centres: Array) -> Array:
        """(n, t) correlation of the map with itself after each of the turns about these frames' axes."""
        turns = multiply(multiply(frames[:, None], self.turns), conjugate(frames)[:, None])
        seen = quaternion_to_matrix(multiply(self.views, turns[:, :, None]))
        other = project_slices(self.volume, seen.reshape(-1, 3, 3), self.pixels.kx, self.pixels.ky)
        other = other.reshape(*turns.shape[:2], -1)
        power = np.matmul(other[..., None, :], other[..., None])[..., 0, 0]
        if centres.any():
            product = self._product(other.reshape(*seen.shape[:3], 2, -1), seen, centres)
        else:
            product = (other @ self.samples.ravel()).astype(np.float64)
        own = float(np.square(self.samples).sum(dtype=np.float64))
        return np.asarray(product / np.sqrt(np.maximum(power.astype(np.float64) * own, 1e-300)))

    def _product(self, other: NDArray[np.float32], seen: Array, centres: Array) -> Array:
        """(n, t) scalar products of `samples` and others (n, t, v, 2, n_pixel) of maps with `centres` in the middle."""
        kx, ky = self.pixels.kx, self.pixels.ky
        move = (seen - quaternion_to_matrix(self.views))[..., :2, :] @ centres[:, None, None, :, None]
        angle = (2 * np.pi / self.pixels.box) * move[..., 0]  # (n, t, v, 2), x and y
        line = np.arange(-int(np.abs(ky).max(initial=0)), int(kx.max(initial=0)) + 1)
        ramp = np.exp(1j * angle[..., None] * line).astype(np.complex64)
        phase = ramp[..., 0, :][..., kx - line[0]] * ramp[..., 1, :][..., ky - line[0]]
        here = self.samples[:, 0] - 1j * self.samples[:, 1]
        phase *= here
        real = np.einsum("ntvp,ntvp->nt", phase.real, other[..., 0, :], dtype=np.float64)
        return np.asarray(real - np.einsum("ntvp,ntvp->nt", phase.imag, other[..., 1, :], dtype=np.float64))


def _refined(comparison: _Comparison, group: Symmetry, frame: Array, centre: Array) -> tuple[float, Array, Array]:
    """The best score near a frame and centre, with its frame and centre."""
    from scipy.optimize import minimize

    axis = single_axis(group)
    free = np.array([each for each in range(3) if each != axis])
    matrix = quaternion_to_matrix(frame)

    def at(values: Array) -> tuple[Array, Array]:
        """Frames and centres for (n, 2 · free) turns in units of 1/r_high, then moves of box/(2π r_high)."""
        turn, move = np.zeros((2, len(values), 3))
        turn[:, free], move[:, free] = np.split(values / comparison.volume.r_high, 2, axis=1)
        length = comparison.pixels.box / (2 * np.pi)
        return multiply(frame, from_rotation_vector(turn)), centre + length * move @ matrix.T

    def loss(values: Array) -> float:
        return -float(comparison.score(*at(values[None]))[0])

    def slope(values: Array) -> Array:
        aside = _DIFFERENCE * np.eye(len(values))
        ahead, behind = np.split(comparison.score(*at(np.concatenate([values + aside, values - aside]))), 2)
        return np.asarray((behind - ahead) / (2 * _DIFFERENCE))

    found = minimize(loss, np.zeros(2 * len(free)), jac=slope, method="BFGS", options={"gtol": 1e-3, "maxiter": 20})
    frames, centres = at(found.x[None])
    return -float(found.fun), frames[0], centres[0]
