"""Rotations as RELION Euler angles, matrices and unit quaternions.

The matrix A of a pose takes volume vectors to the image frame (docs/conventions.md, Rotations): its rows are the
image's x, y and viewing axes in the volume. Quaternions are (w, x, y, z) of A; q and -q are the same rotation.
``multiply(d, q)`` turns the pose in the image frame (axes 1, 2 out of plane, axis 3 in plane); ``multiply(q, s)`` with
a symmetry operator s leaves the projection unchanged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.arguments import numbers, rotations
from pycryo.errors import InputError
from pycryo.geometry import _turns

Array = NDArray[np.float64]


def euler_to_matrix(rot: ArrayLike, tilt: ArrayLike, psi: ArrayLike) -> Array:
    """Matrices A = Rz(psi)ᵀ Ry(tilt)ᵀ Rz(rot)ᵀ from RELION's ZYZ angles (docs/conventions.md).

    Parameters
    ----------
    rot, tilt, psi : (n,) array_like, or float
        Degrees.

    Returns
    -------
    (n, 3, 3) float64

    Raises
    ------
    InputError
        If an angle is not finite.

    Examples
    --------
    >>> pycryo.euler_to_matrix([0, 90], [0, 0], [0, 0]).round(3) + 0.0
    array([[[ 1.,  0.,  0.],
            [ 0.,  1.,  0.],
            [ 0.,  0.,  1.]],
    <BLANKLINE>
           [[ 0.,  1.,  0.],
            [-1.,  0.,  0.],
            [ 0.,  0.,  1.]]])
    """
    given = {"rot": rot, "tilt": tilt, "psi": psi}
    angles = {name: np.atleast_1d(numbers(name, angle, np.float64, finite=True)) for name, angle in given.items()}
    n = max(len(angle) for angle in angles.values())
    for name, angle in angles.items():
        if angle.shape not in ((n,), (1,)):
            raise InputError(f"{name}: expected a number or shape ({n},), as the other angles, got {angle.shape}")
    return quaternion_to_matrix(euler_to_quaternion(*np.broadcast_arrays(*angles.values())))


def matrix_to_euler(matrix: Any) -> tuple[Array, Array, Array]:
    """RELION's ZYZ angles of matrices A (docs/conventions.md).

    Parameters
    ----------
    matrix : (n, 3, 3) array_like, or scipy.spatial.transform.Rotation

    Returns
    -------
    rot, tilt, psi : (n,) float64
        Degrees.

    Raises
    ------
    InputError
        If a matrix is no rotation.

    Examples
    --------
    >>> from scipy.spatial.transform import Rotation
    >>> rot, tilt, psi = pycryo.matrix_to_euler(pycryo.euler_to_matrix([10, 20], [30, 40], [50, 60]))
    >>> rot.round(3).tolist(), tilt.round(3).tolist(), psi.round(3).tolist()
    ([10.0, 20.0], [30.0, 40.0], [50.0, 60.0])
    >>> pycryo.matrix_to_euler(Rotation.identity())[1].tolist()
    [0.0]
    """
    return quaternion_to_euler(matrix_to_quaternion(rotations("matrix", matrix)))


def euler_to_quaternion(rot: ArrayLike, tilt: ArrayLike, psi: ArrayLike) -> Array:
    """(n, 4) quaternions of `euler_to_matrix`."""
    a, b, c = (np.deg2rad(np.atleast_1d(np.asarray(angle, np.float64))) / 2 for angle in (rot, tilt, psi))
    cos, sin = np.cos(b), np.sin(b)
    return np.stack([cos * np.cos(a + c), -sin * np.sin(c - a), -sin * np.cos(c - a), -cos * np.sin(a + c)], axis=-1)


def quaternion_to_euler(quaternion: Array) -> tuple[Array, Array, Array]:
    """RELION's (rot, tilt, psi) in degrees, tilt in [0, 180], of (..., 4) quaternions."""
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    tilt = 2 * np.arctan2(np.hypot(x, y), np.hypot(w, z))
    total, difference = 2 * np.arctan2(-z, w), 2 * np.arctan2(-x, -y)  # psi + rot, psi - rot; arctan2(0, 0) = 0
    rot, psi = (total - difference) / 2, (total + difference) / 2
    return _degrees(rot), np.rad2deg(tilt), _degrees(psi)


def _degrees(angle: Array) -> Array:
    """Degrees in [-180, 180)."""
    return np.asarray(np.rad2deg((angle + np.pi) % (2 * np.pi) - np.pi))


def quaternion_to_matrix(quaternion: Array) -> Array:
    """(..., 3, 3) rotation matrices of (..., 4) unit quaternions."""
    quaternion = np.asarray(quaternion, np.float64)
    flat = np.ascontiguousarray(quaternion.reshape(-1, 4))
    return _turns.matrices(flat).reshape(*quaternion.shape[:-1], 3, 3)


def matrix_to_quaternion(matrix: Array) -> Array:
    """(..., 4) unit quaternions, w ≥ 0, of (..., 3, 3) rotation matrices (Shepperd's method)."""
    m = np.asarray(matrix, np.float64)
    diagonal = np.einsum("...ii->...i", m)
    trace = diagonal.sum(-1)
    squares = np.stack([trace, *(2 * diagonal[..., i] - trace for i in range(3))], axis=-1) + 1  # 4·(w², x², y², z²)
    products = np.empty((*trace.shape, 4, 4))
    for i in range(4):
        products[..., i, i] = squares[..., i]
    for (i, j), value in {
        (0, 1): m[..., 2, 1] - m[..., 1, 2],
        (0, 2): m[..., 0, 2] - m[..., 2, 0],
        (0, 3): m[..., 1, 0] - m[..., 0, 1],
        (1, 2): m[..., 1, 0] + m[..., 0, 1],
        (1, 3): m[..., 0, 2] + m[..., 2, 0],
        (2, 3): m[..., 2, 1] + m[..., 1, 2],
    }.items():
        products[..., i, j] = products[..., j, i] = value
    largest = squares.argmax(-1)
    quaternion = np.take_along_axis(products, largest[..., None, None], axis=-2)[..., 0, :]
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    return np.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def multiply(left: Array, right: Array) -> Array:
    """Product of (..., 4) quaternions: the rotation `right`, then `left`."""
    a, b, c, d = np.moveaxis(left, -1, 0)
    w, x, y, z = np.moveaxis(right, -1, 0)
    return np.stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        axis=-1,
    )


def conjugate(quaternion: Array) -> Array:
    """Inverse rotation."""
    return np.asarray(quaternion * np.array([1.0, -1.0, -1.0, -1.0]))


def from_rotation_vector(vector: Array) -> Array:
    """(..., 4) quaternions of rotation vectors (..., 3), radians."""
    half = np.linalg.norm(vector, axis=-1, keepdims=True) / 2
    return np.concatenate([np.cos(half), vector / 2 * np.sinc(half / np.pi)], axis=-1)


def to_rotation_vector(quaternion: Array) -> Array:
    """(..., 3) rotation vectors, radians, length ≤ π, of (..., 4) unit quaternions."""
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    half = np.arctan2(sine, quaternion[..., :1])
    return np.asarray(quaternion[..., 1:] * (2 / np.maximum(np.sinc(half / np.pi), 1e-12)))


def angle_between(a: Array, b: Array) -> Array:
    """Angle in radians of the rotation that takes pose `b` to pose `a` ((..., 4) quaternions)."""
    cosine = np.abs(np.sum(a * b, axis=-1))
    return np.asarray(2 * np.arccos(np.clip(cosine, 0.0, 1.0)))
