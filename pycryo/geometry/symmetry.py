"""Point groups Cn, Dn, T, O and I in RELION's orientations (docs/conventions.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.arguments import instance
from pycryo.errors import InputError
from pycryo.geometry import _turns
from pycryo.geometry.rotations import conjugate, from_rotation_vector, multiply, quaternion_to_matrix

Array = NDArray[np.float64]

GROUPS = "Cn, Dn, T, O, I1, I2 (= I), I3 or I4"

_GOLDEN = (1 + np.sqrt(5)) / 2
# Turns about y that bring a 5-fold axis of I2, one on either side of z, onto z.
_FIVEFOLD_TILT = np.arctan(1 / _GOLDEN)


@dataclass(frozen=True, slots=True)
class Symmetry:
    """A point group.

    Attributes
    ----------
    name : str
        "C1", "D2", ...
    quaternions : (n, 4) float64
        Its rotations, the identity first. The map obeys V(S r) = V(r); poses q and q·s give the same projection.
    """

    name: str
    quaternions: Array

    def __len__(self) -> int:
        return len(self.quaternions)

    @property
    def matrices(self) -> Array:
        """(n, 3, 3) rotation matrices."""
        return quaternion_to_matrix(self.quaternions)

    def equivalents(self, quaternion: Array) -> Array:
        """(..., n, 4): all poses that give the same projection as (..., 4) `quaternion`."""
        return multiply(quaternion[..., None, :], self.quaternions)

    def in_asymmetric_unit(self, quaternion: Array) -> NDArray[np.bool_]:
        """Whether a pose (..., 4) is, of its equivalents, the one nearest to the identity."""
        # The first component of q·s is the scalar product of q and the conjugate of s.
        closeness = np.abs(np.einsum("...i,ni->...n", quaternion, conjugate(self.quaternions)))
        return np.asarray(closeness[..., 0] >= closeness.max(axis=-1) - 1e-12)

    def nearest(self, quaternion: Array, anchor: Array) -> Array:
        """The equivalent of each pose (..., 4) that is nearest to `anchor` (..., 4), with positive scalar product."""
        shape = np.broadcast_shapes(quaternion.shape, anchor.shape)
        if anchor.ndim == quaternion.ndim == 3 and anchor.shape[1] == 1:
            anchors = anchor[:, 0]  # one for all poses of an image
            poses = quaternion
        else:
            anchors = np.broadcast_to(anchor, shape).reshape(-1, 4)
            poses = np.broadcast_to(quaternion, shape).reshape(-1, 1, 4)
        found = _turns.nearest_mates(np.ascontiguousarray(poses), np.ascontiguousarray(anchors), self.quaternions)
        return found.reshape(shape)


def symmetry(name: str) -> Symmetry:
    """A point group by its name.

    Parameters
    ----------
    name : str
        Cn, Dn (n up to 999), T, O, I1 to I4, or I, which is I2; upper or lower case.

    Returns
    -------
    Symmetry

    Raises
    ------
    InputError
        For any other name.

    Examples
    --------
    >>> group = pycryo.symmetry("D2")
    >>> len(group), group.matrices.shape
    (4, (4, 3, 3))
    """
    instance("name", name, str, GROUPS)
    match = re.fullmatch(r"(?:([CD])([1-9]\d{0,2})|T|O|I([1-4]?))", name.strip().upper())
    if match is None:
        raise InputError(f"symmetry '{name}' is unknown: use {GROUPS}")
    full = "I2" if match[0] == "I" else match[0]
    if match[1]:
        return Symmetry(full, _dihedral(int(match[2])) if match[1] == "D" else _cyclic(int(match[2])))
    return Symmetry(full, _polyhedral(full))


def _cyclic(n: int) -> Array:
    """(n, 4) turns about z."""
    half = np.pi * np.arange(n) / n
    return np.stack([np.cos(half), 0 * half, 0 * half, np.sin(half)], axis=-1)


def _dihedral(n: int) -> Array:
    """(2n, 4): turns about z, and the same after half a turn about x."""
    turns = _cyclic(n)
    return np.concatenate([turns, multiply(turns, np.array([0.0, 1.0, 0.0, 0.0]))])


def _polyhedral(name: str) -> Array:
    """(12, 24 or 60, 4) rotations of T, O or I1 to I4."""
    z = (0.0, 0.0, 1.0)
    if name == "T":
        return _closure(_axis(3, z), _axis(2, (0.0, np.sqrt(2.0), 1.0)))
    if name == "O":
        return _closure(_axis(4, z), _axis(3, (1.0, 1.0, 1.0)))
    # I2 has 2-fold axes along x, y and z; the others are the same turned.
    group = _closure(_axis(2, z), _axis(5, (1.0, 0.0, _GOLDEN)))
    turns = {"I1": (0, 0, np.pi / 2), "I2": (0, 0, 0), "I3": (0, -_FIVEFOLD_TILT, 0), "I4": (0, _FIVEFOLD_TILT, 0)}
    turn = from_rotation_vector(np.array(turns[name], np.float64))
    return multiply(multiply(turn, group), conjugate(turn))


def _axis(order: int, direction: tuple[float, float, float]) -> Array:
    """The rotation by 360° / `order` about a direction of any length."""
    return from_rotation_vector(np.array(direction) * (2 * np.pi / order / np.linalg.norm(direction)))


def _closure(*generators: Array) -> Array:
    """(n, 4) all products of the generators, the identity first."""
    group = np.array([[1.0, 0.0, 0.0, 0.0]])
    number = 0
    while number < len(group):
        for generator in generators:
            product = multiply(group[number], generator)
            # Rotations of these groups are 36° apart or more in the quaternions' sphere: a cosine of 0.81.
            if np.abs(group @ product).max() < 0.99:
                group = np.concatenate([group, product[None]])
        number += 1
    return group
