"""Proposals of the particle filter: rotations and shifts from heavy-tailed kernels about the support points."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.filter._sampling import move_shifts, rotation_proposal_density, shift_proposal_density, turn_rotations
from pycryo.filter.draws import Draws, student
from pycryo.filter.resampling import resample
from pycryo.filter.support import Array, Rows, Support
from pycryo.threads import get_threads

Classes = NDArray[np.int32]

# Share of the proposals whose class is drawn anew.
_SWITCH = 0.1
_SWITCH_STREAM = 1 << 51


@dataclass(frozen=True, slots=True)
class Widths:
    """Scales of the proposal kernels of n images.

    Attributes
    ----------
    rotation : (n,) float64
        Radians per axis.
    shift : (n,) float64
        px per axis.
    least_rotation, least_shift : float
        They never become narrower than this.
    """

    rotation: Array
    shift: Array
    least_rotation: float
    least_shift: float

    def of(self, rows: Rows) -> Widths:
        """Those of some images."""
        return replace(self, rotation=self.rotation[rows], shift=self.shift[rows])

    def towards(self, rotation: Array, shift: Array, shrink: float) -> Widths:
        """Narrowed to `rotation` and `shift`, by a factor `shrink` at most."""
        return replace(
            self,
            rotation=np.clip(rotation, np.maximum(shrink * self.rotation, self.least_rotation), self.rotation),
            shift=np.clip(shift, np.maximum(shrink * self.shift, self.least_shift), self.shift),
        )


@dataclass(frozen=True, slots=True)
class Cloud:
    """Points that proposals are drawn about: rotations with their classes, and shifts, weighted each for itself.

    Attributes
    ----------
    rotations : (n, a, 4) float64
    classes : (n, a) int32
    weight_rotation : (n, a) float64
    shifts : (n, b, 2) float64
    weight_shift : (n, b) float64
    """

    rotations: Array
    classes: Classes
    weight_rotation: Array
    shifts: Array
    weight_shift: Array

    @classmethod
    def about(cls, support: Support) -> Cloud:
        """The rotations and the shifts of support points."""
        return cls(support.quaternion, support.class_index, support.weight, support.shift, support.weight)


@dataclass(frozen=True, slots=True)
class Proposals:
    """Rotations and shifts of n images, to be scored as pairs.

    Attributes
    ----------
    rotations : (n, R, 4) float64
    classes : (n, R) int32
    shifts : (n, T, 2) float64
    density_rotation, density_shift : (n, R), (n, T) float64
        Logs of the densities that they are drawn from, up to a constant.
    """

    rotations: Array
    classes: Classes
    shifts: Array
    density_rotation: Array
    density_shift: Array

    def of(self, rows: Rows) -> Proposals:
        """Those of some images."""
        return Proposals(*(getattr(self, field.name)[rows] for field in fields(self)))


def propose(cloud: Cloud, widths: Widths, draws: Draws, n_rotation: int, n_shift: int, n_class: int) -> Proposals:
    """Draw `n_rotation` rotations with classes and `n_shift` shifts of each image."""
    key = draws.stream
    offset = draws.uniform(2)
    pick_r = resample(cloud.weight_rotation, np.ascontiguousarray(offset[:, 0]), n_rotation)
    pick_t = resample(cloud.weight_shift, np.ascontiguousarray(offset[:, 1]), n_shift)
    scale_r = 0.5 * widths.rotation
    rotations = turn_rotations(cloud.rotations, pick_r, student(draws.at(key + 1), n_rotation, 3), scale_r)
    shifts = move_shifts(cloud.shifts, pick_t, student(draws.at(key + 2), n_shift, 2), widths.shift)
    classes, other = np.zeros(pick_r.shape, np.int32), _SWITCH / n_class
    if n_class > 1:
        classes = np.take_along_axis(cloud.classes, pick_r, axis=1)
        draw = draws.at(_SWITCH_STREAM + key).uniform(n_rotation)
        drawn = np.minimum(draw / other, n_class - 1).astype(np.int32)
        classes = np.where(draw < _SWITCH, drawn, classes)
    same = 1 - (n_class - 1) * other
    density_r = rotation_proposal_density(
        rotations, cloud.rotations, pick_r, scale_r, classes, cloud.classes, same, other, get_threads()
    )
    density_t = shift_proposal_density(shifts, cloud.shifts, pick_t, widths.shift)
    return Proposals(rotations, classes, shifts, density_r, density_t)
