"""Poses after the map has been mirrored or turned: of the same images, which stay as they are.

See docs/conventions.md, Rotations.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry.rotations import (
    euler_to_quaternion,
    matrix_to_quaternion,
    multiply,
    quaternion_to_euler,
    quaternion_to_matrix,
)
from pycryo.geometry.symmetry import Symmetry

Array = NDArray[np.float64]
Axis = Literal["x", "y", "z"]

AXES: tuple[Axis, ...] = ("z", "x", "y")


def mirror(axis: Axis) -> Array:
    """(3, 3) the matrix that changes the sign of a coordinate."""
    return np.diag([-1.0 if each == axis else 1.0 for each in "xyz"])


def mirrored_angle(name: Literal["rot", "tilt", "psi"], angle: Array, axis: Axis) -> Array:
    """One of RELION's angles (n,), degrees, of the pose at which the mirrored map shows the same image.

    A point v of the map is at M v in the mirrored one, M the mirror. With A' = Mz A M it is seen at the same x and y of
    the image as before, at the opposite height: the sign of the Ewald sphere's hand changes, shifts and all that the
    microscope does to images stay. For z that is (rot + 180°, tilt, psi + 180°), for x (-rot, 180° - tilt, psi), for y
    (180° - rot, 180° - tilt, psi): each angle by itself, so that priors of single angles can be mirrored as well.
    """
    if name == "tilt":
        return angle if axis == "z" else 180 - angle
    if name == "psi":
        return _wrapped(angle + 180) if axis == "z" else angle
    return _wrapped({"z": angle + 180, "x": -angle, "y": 180 - angle}[axis])


def _wrapped(angle: Array) -> Array:
    """In [-180, 180) degrees."""
    return np.asarray((angle + 180) % 360 - 180)


def keeps_group(axis: Axis, group: Symmetry) -> bool:
    """Whether a map of the group has its axes where the group's convention has them after it was mirrored, too."""
    turned = mirror(axis) @ group.matrices @ mirror(axis)
    away = np.abs(turned[:, None] - group.matrices).max(axis=(2, 3)).min(axis=1)
    return bool((away < 1e-6).all())


def turned_pose(
    angles: tuple[Array, Array, Array], origin: Array, frame: Array, centre: Array, magnification: Array | None = None
) -> tuple[tuple[Array, Array, Array], Array]:
    """Poses for the map ``W(u) = V(frame u + centre)`` of those for V.

    A point u of W is seen at A (frame u + centre): A' = A frame, and the origin moves by -A centre.

    Parameters
    ----------
    angles : three (n,) float64
        RELION's rot, tilt and psi, degrees.
    origin : (n, 2) float64
        RELION's origins x and y, Å.
    frame : (3, 3) float64
        A rotation.
    centre : (3,) float64
        x, y, z, Å from the origin of V.
    magnification : (n, 2, 2) float64, optional
        Matrices M of the optics groups: shifts are those of the recorded image.

    Returns
    -------
    angles, origin
        As they came.
    """
    poses = euler_to_quaternion(*angles)
    seen = quaternion_to_matrix(poses)[:, :2] @ centre
    if magnification is not None:
        seen = np.einsum("nji,nj->ni", magnification, seen)
    return quaternion_to_euler(multiply(poses, matrix_to_quaternion(frame))), origin - seen


def expanded(angles: tuple[Array, Array, Array], group: Symmetry) -> tuple[Array, Array, Array]:
    """Angles (n · group,) of all poses that see the same image of a symmetric map; those of an image together."""
    mates = group.equivalents(euler_to_quaternion(*angles))
    return quaternion_to_euler(mates.reshape(-1, 4))
