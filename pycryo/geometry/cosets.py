"""The rotations of a point group that map a cubic grid onto itself, and the cosets they leave."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry.symmetry import Symmetry

_ON_GRID = 1e-9
_SAME = 1e-6


def grid_rotations(group: Symmetry) -> NDArray[np.int32]:
    """(n, 3, 3) rotations of a group whose entries are all 0, 1 or -1, the identity first: a subgroup."""
    matrices = group.matrices
    nearest = np.rint(matrices)
    return np.asarray(nearest[np.abs(matrices - nearest).max(axis=(1, 2)) < _ON_GRID], np.int32)


def coset_representatives(group: Symmetry, subgroup: NDArray[np.int32]) -> NDArray[np.float64]:
    """(n, 4) quaternions h, the identity first, with which every rotation of the group is h·p once, p in the subgroup.

    Parameters
    ----------
    group : Symmetry
    subgroup : (m, 3, 3) int32
        Matrices of some of its rotations, which are a group.
    """
    matrices = group.matrices
    chosen: list[int] = []
    left = np.ones(len(group), bool)
    while left.any():
        chosen.append(int(left.argmax()))
        coset = matrices[chosen[-1]] @ subgroup
        left &= ~(np.abs(matrices[:, None] - coset).max(axis=(2, 3)) < _SAME).any(axis=1)
    return group.quaternions[chosen]


def factors(subgroup: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """Sets of rotations, each with the identity first, whose products h₁·h₂·... are every rotation of the group once.

    A sum over the group is a chain of sums over them, of fewer terms in all: 2 + 2 + 2 instead of 8 for D4,
    2 + 2 + 2 + 3 instead of 24 for O.

    Parameters
    ----------
    subgroup : (m, 3, 3) int32
        A group, the identity first.
    """
    table = _products(subgroup)
    have, sets = {0}, []
    while len(have) < len(subgroup):
        larger = min((_generated(table, have | {t}) for t in range(len(subgroup)) if t not in have), key=len)
        steps, covered = [0], have
        while covered != larger:
            steps.append(min(larger - covered))
            covered = covered | {int(table[h, steps[-1]]) for h in have}
        sets.append(subgroup[steps])
        have = larger
    return sets


def _products(subgroup: NDArray[np.int32]) -> NDArray[np.int64]:
    """(m, m) number of the product of each two rotations."""
    products = subgroup[:, None] @ subgroup
    return np.asarray((products[:, :, None] == subgroup).all(axis=(3, 4)).argmax(axis=2))


def _generated(table: NDArray[np.int64], some: set[int]) -> set[int]:
    """The group that some rotations, among them the identity, generate."""
    while True:
        numbers = sorted(some)
        more = set(table[np.ix_(numbers, numbers)].ravel().tolist())
        if more == some:
            return some
        some = more
