"""What the particle filter knows of each image's pose."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry.rotations import multiply

Array = NDArray[np.float64]
# Some images: a slice of them is no copy.
Rows = NDArray[np.int64] | NDArray[np.bool_] | slice

# About the step of the finest scan.
_BROAD = np.deg2rad(10.0)


@dataclass(frozen=True, slots=True)
class Support:
    """Weighted support points of n images, m each.

    Attributes
    ----------
    quaternion : (n, m, 4) float64
    shift : (n, m, 2) float64
        Where the particle sits, px (minus RELION's origin).
    weight : (n, m) float64
        Sum 1 per image; 0 marks an unused point.
    class_index : (n, m) int32
        Number of the reference, from 0.
    """

    quaternion: Array
    shift: Array
    weight: Array
    class_index: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Posterior:
    """p(pose | image) of n images, as the filter leaves it.

    Attributes
    ----------
    support : Support
        Points drawn from the posterior.
    mode_quaternion, mode_shift : (n, 4), (n, 2) float64
        Pose of highest joint posterior density: the mean of the points next to the best one.
    mode_class : (n,) int32
        Its class.
    class_probability : (n, n_class) float64
        Posterior of the classes.
    spread_rotation : (n,) float64
        Standard deviation per axis about the mode, radians.
    spread_shift : (n,) float64
        The same of the shift, px.
    p_max : (n,) float64
        Weight of the heaviest point of the last phase (rlnMaxValueProbDistribution).
    n_significant : (n,) float64
        Effective sample size of the last phase (rlnNrOfSignificantSamples).
    log_evidence : (n,) float64
        log of the mean likelihood ratio of signal to noise only, over the prior.
    n_slices : (n,) int64
        Slices that this image was compared with in the phases.
    n_phases : (n,) int64
        Phases after those of the single modes.
    defocus_change, spread_defocus : (n,) float64
        Mean and standard deviation of what is added to U and V, Å; 0 before they are searched.
    """

    support: Support
    mode_quaternion: Array
    mode_shift: Array
    mode_class: NDArray[np.int32]
    class_probability: Array
    spread_rotation: Array
    spread_shift: Array
    p_max: Array
    n_significant: Array
    log_evidence: Array
    n_slices: NDArray[np.int64]
    n_phases: NDArray[np.int64]
    defocus_change: Array
    spread_defocus: Array

    def __len__(self) -> int:
        return len(self.p_max)


# Rows of a table of particles and the posteriors of these particles.
RowsPosterior = tuple[NDArray[np.int64], Posterior]


def axis_spreads(posterior: Posterior) -> tuple[Array, Array]:
    """(n,) standard deviations of the rotations about their mode, radians: in the image plane, and per tilt axis."""
    inverse = posterior.mode_quaternion * [1, -1, -1, -1]
    turn = multiply(posterior.support.quaternion, inverse[:, None])
    sine = np.linalg.norm(turn[..., 1:], axis=-1)
    # Of the rotation vector to the components x, y, z of the quaternion; 2 for small angles.
    ratio = 2 * np.arctan2(sine, np.abs(turn[..., 0])) / np.maximum(sine, 1e-300)
    square = np.square(turn[..., 1:] * ratio[..., None]) * posterior.support.weight[..., None]
    x, y, z = square.sum(axis=1).T
    return np.sqrt(z), np.sqrt((x + y) / 2)


def is_broad(spread_rotation: Array) -> NDArray[np.bool_]:
    """Of which images the posterior is so broad that support points of a local search would not hold all of it.

    `spread_rotation` is in radians. A second mode, 90° away, with 4 % of the probability makes as much.
    """
    return np.asarray(spread_rotation > _BROAD)


def concatenate(parts: list[Posterior]) -> Posterior:
    """Posteriors of several batches as one."""
    support = Support(
        *(np.concatenate([getattr(part.support, field.name) for part in parts]) for field in fields(Support))
    )
    rest = (np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Posterior)[1:])
    return Posterior(support, *rest)
