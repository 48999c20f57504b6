"""Poses and map of a refinement against the truth of simulated particles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry.rotations import angle_between, conjugate, multiply, quaternion_to_matrix
from pycryo.geometry.symmetry import Symmetry
from pycryo.maps.density import Map
from pycryo.maps.turn import turned

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Poses compared with the truth, but for symmetry and for the frame of the map, which nothing fixes.

    Attributes
    ----------
    error : (n,) float64
        Degrees.
    poses : (n, 4) float64
        Those of the found ones' mates that are next to the truth.
    turn : (4,) float64
        Pose = true pose · turn.
    """

    error: Array
    poses: Array
    turn: Array


def agree(found: Array, truth: Array, group: Symmetry) -> Agreement:
    """Compare poses (n, 4) with the true ones."""
    turn = np.array([1.0, 0, 0, 0])
    for _ in range(8):
        poses = group.nearest(found, multiply(truth, turn))
        difference = multiply(conjugate(truth), poses)
        error = np.rad2deg(angle_between(difference, turn))
        good = difference[error <= max(15.0, float(np.percentile(error, 20)))]
        turn = np.linalg.eigh(good.T @ good)[1][:, -1]
    return Agreement(error, poses, turn)


def displacement(agreement: Agreement, away: Array) -> Array:
    """(3,) place in the found map of what is in the middle of the true one; `away` (n, 2), both in Å."""
    good = agreement.error < 15
    rows = quaternion_to_matrix(agreement.poses[good])[:, :2].reshape(-1, 3)
    return np.asarray(np.linalg.lstsq(rows, away[good].ravel())[0])


def shift_errors(agreement: Agreement, away: Array) -> Array:
    """(n,) Å, but for the displacement of the whole map."""
    common = quaternion_to_matrix(agreement.poses)[:, :2] @ displacement(agreement, away)
    return np.asarray(np.linalg.norm(away - common, axis=1))


def aligned(density: Map, agreement: Agreement, away: Array) -> Map:
    """A map in the frame of the truth; `away` (n, 2) are the true minus the found shifts, Å."""
    centre = displacement(agreement, away) / density.pixel_size
    return turned(density, quaternion_to_matrix(agreement.turn[None]).transpose(0, 2, 1), centre)
