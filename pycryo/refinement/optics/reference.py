"""The maps that images are compared with to find the optics: each image with the other half's, filtered by the FSC."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.fourier import irfftn, rfftn
from pycryo.geometry.rotations import conjugate, multiply, quaternion_to_matrix
from pycryo.geometry.symmetry import Symmetry
from pycryo.maps.density import Map
from pycryo.maps.fsc import corrected_fsc
from pycryo.maps.masks import auto_mask, fitted_mask
from pycryo.maps.registration import Motion, register

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

# Half-maps are brought into one frame by a motion whose χ² is so many times that of chance.
_LEAST_GAIN, _LEAST_CORRELATION = 5.0, 0.6
# Below it the logarithm of a filter is noise.
_LEAST_FILTER = 0.05


@dataclass(frozen=True, slots=True)
class Frames:
    """How images lie to the maps that they are compared with, and how far they are.

    Attributes
    ----------
    box, pixel_size : int, float
        Of the maps, px and Å.
    motion : Motion or None
        Half-map 2 read at M u + c is like half-map 1 at u.
    r_high : float
        Shells below it are compared.
    fall : (n_shell,) float64
        d ln f / dr of the filter f of the maps, per shell r.
    has_own_scale : bool
        The images did not make the maps, whose scale is known.
    """

    box: int
    pixel_size: float
    motion: Motion | None
    r_high: float
    fall: Array
    has_own_scale: bool = False

    def poses(self, half: int, quaternion: Array, shift: Array, pixel_size: float) -> tuple[Array, Array]:
        """Poses (n, 4), (n, 2) px of images of a half, in the frame of the map that they are compared with."""
        if self.motion is None:
            return quaternion, shift
        turn, move = self.motion.quaternion, self.motion.move
        if half == 0:
            turned = multiply(quaternion, conjugate(turn))
            return turned, shift - (quaternion_to_matrix(turned)[:, :2] @ move) / pixel_size
        return multiply(quaternion, turn), shift + (quaternion_to_matrix(quaternion)[:, :2] @ move) / pixel_size


@dataclass(frozen=True, slots=True)
class Reference:
    """Filtered and masked maps: those which images of each half-set are compared with."""

    maps: tuple[Map, Map]
    frames: Frames


def from_half_maps(first: Map, second: Map, mask: Map | None, group: Symmetry) -> Reference:
    """Each image is compared with the half-map that it is not part of: its own noise is in the other one.

    Half-maps are multiplied by their FSC, which makes them what is expected of the truth.

    Raises
    ------
    InputError
        If the maps differ in size or are the same, the mask cannot be used, or the maps agree nowhere.
    """
    if first.box != second.box or abs(first.pixel_size - second.pixel_size) > 1e-3 * first.pixel_size:
        raise InputError("the half-maps differ in box or pixel size: give the two of one refinement")
    if np.array_equal(first.data, second.data):
        raise InputError("the half-maps are the same: give the two of one refinement")
    mean = Map(np.asarray((first.data + second.data) / 2, np.float32), first.pixel_size)
    soft = auto_mask(mean) if mask is None else fitted_mask(mask, first.box, first.pixel_size)
    curves = corrected_fsc(first.data, second.data, first.pixel_size, soft)
    r_high = min(first.box * first.pixel_size / curves.resolution_0143, first.box / 2 - 1)
    if not r_high > 4:
        raise InputError("the half-maps agree nowhere: give unfiltered half-maps of a refinement that found a map")
    curve = np.clip(curves.corrected, 0, 1)
    curve[int(np.ceil(r_high)) :] = 0
    filtered = [Map(_filtered(each.data, curve) * soft, each.pixel_size) for each in (second, first)]
    diameter = 2 * _radius(soft) * first.pixel_size
    found = register(second, first, group, r_high=min(32.0, r_high), diameter=diameter)
    motion = None
    if (
        found is not None
        and found.is_small
        and found.correlation > _LEAST_CORRELATION
        and found.gain > _LEAST_GAIN * found.n_free
    ):
        motion = found.motion
        log.info("half-maps: a turn of %.2f° and a move of %.2f Å apart", motion.angle, motion.distance)
    return Reference((filtered[0], filtered[1]), Frames(first.box, first.pixel_size, motion, r_high, _fall(curve)))


def from_map(whole: Map, mask: Map | None, resolution: float) -> Reference:
    """One map for all images, up to a resolution, Å.

    Raises
    ------
    InputError
        If the mask cannot be used.
    """
    if not 0 < 4 * resolution <= whole.box * whole.pixel_size:
        raise InputError(f"a resolution of {resolution:g} Å is none of a map of {whole.box * whole.pixel_size:.0f} Å")
    soft = np.float32(1) if mask is None else fitted_mask(mask, whole.box, whole.pixel_size)
    r_high = min(whole.box * whole.pixel_size / resolution, whole.box / 2 - 1)
    curve = (np.arange(whole.box // 2 + 1) < r_high).astype(np.float64)
    each = Map(_filtered(whole.data, curve) * soft, whole.pixel_size)
    return Reference((each, each), Frames(whole.box, whole.pixel_size, None, r_high, np.zeros(len(curve)), True))


def _filtered(data: NDArray[np.float32], curve: Array) -> NDArray[np.float32]:
    """The map with its shells multiplied by `curve` (box // 2 + 1,), beyond which nothing is left."""
    box = len(data)
    line, half = np.fft.fftfreq(box) * box, np.arange(box // 2 + 1)
    radius = np.sqrt(line[:, None, None] ** 2 + line[None, :, None] ** 2 + half**2)
    gain = np.interp(radius, np.arange(len(curve)), curve, right=0.0)
    gain[radius > len(curve) - 1] = 0
    return np.asarray(irfftn(rfftn(data) * gain, box), np.float32)


def _fall(curve: Array) -> Array:
    """d ln f / dr of a filter, as far as noise lets it be known; 0 where it ends."""
    smooth = np.convolve(np.pad(curve, 2, mode="edge"), np.ones(5) / 5, "valid")
    return np.where(curve > 0, np.gradient(np.log(np.maximum(smooth, _LEAST_FILTER))), 0.0)


def _radius(mask: NDArray[np.float32]) -> float:
    """Of a sphere about the centre that holds a mask, px."""
    line = np.square(np.arange(len(mask)) - len(mask) // 2)
    square = line[:, None, None] + line[None, :, None] + line
    return float(np.sqrt(square[mask > 0.5].max(initial=1)))
