"""Point groups Cn and Dn in RELION's orientation: n-fold axis along z, 2-fold axis of Dn along x."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.geometry.rotations import matrix_to_quaternion, multiply, quaternion_to_matrix


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
    quaternions: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.quaternions)

    @property
    def matrices(self) -> NDArray[np.float64]:
        """(n, 3, 3) rotation matrices."""
        return quaternion_to_matrix(self.quaternions)

    def equivalents(self, quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., n, 4): all poses that give the same projection as (..., 4) `quaternion`."""
        return multiply(quaternion[..., None, :], self.quaternions)

    def in_asymmetric_unit(self, quaternion: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether a pose (..., 4) is, of its equivalents, the one nearest to the identity."""
        closeness = np.abs(self.equivalents(quaternion)[..., 0])
        return np.asarray(closeness[..., 0] >= closeness.max(axis=-1) - 1e-12)

    def nearest(self, quaternion: NDArray[np.float64], anchor: NDArray[np.float64]) -> NDArray[np.float64]:
        """The equivalent of each pose (..., 4) that is nearest to `anchor` (..., 4), with positive scalar product."""
        candidates = self.equivalents(quaternion)
        product = np.sum(candidates * anchor[..., None, :], axis=-1)
        best = np.abs(product).argmax(axis=-1)[..., None]
        chosen = np.take_along_axis(candidates, best[..., None], axis=-2)[..., 0, :]
        return chosen * np.where(np.take_along_axis(product, best, axis=-1) < 0, -1.0, 1.0)


def symmetry(name: str) -> Symmetry:
    """The point group `name`: Cn or Dn, any case.

    Raises
    ------
    InputError
        For any other name.
    """
    match = re.fullmatch(r"([CD])([1-9]\d{0,2})", name.strip().upper())
    if match is None:
        raise InputError(f"symmetry '{name}' is unknown: use C1, C2, ... or D1, D2, ...")
    family, order = match.group(1), int(match.group(2))
    angle = 2 * np.pi * np.arange(order) / order
    matrices = np.zeros((order, 3, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle)
    matrices[:, 1, 0], matrices[:, 0, 1] = np.sin(angle), -np.sin(angle)
    matrices[:, 2, 2] = 1
    if family == "D":
        matrices = np.concatenate([matrices, matrices @ np.diag([1.0, -1.0, -1.0])])
    return Symmetry(f"{family}{order}", matrix_to_quaternion(matrices))
