"""Rotations of the grid in point groups, and their cosets, against products of matrices."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from octahedral import cube_rotations, octahedral
from scipy.spatial.transform import Rotation

from pycryo.geometry.cosets import coset_representatives, factors, grid_rotations
from pycryo.geometry.rotations import matrix_to_quaternion, quaternion_to_matrix
from pycryo.geometry.symmetry import Symmetry, symmetry

# Rotations of the grid in each group: those about z by multiples of 90°, and about x and y by 180°, and in D4 about the
# diagonals between them.
N_GRID = {"C1": 1, "C2": 2, "C3": 1, "C4": 4, "C6": 2, "C8": 4, "C100": 4, "D1": 2, "D2": 4, "D3": 2}
N_GRID |= {"D4": 8, "D6": 4, "D7": 2, "D12": 8}


def icosahedral():
    """The group of an icosahedron with 2-fold axes along x, y and z, in the order scipy has it."""
    turns = Rotation.create_group("I").as_matrix()
    turns = turns[np.argsort([-np.trace(each) for each in turns])]  # the identity first
    return Symmetry("I", matrix_to_quaternion(turns))


def group_of(name):
    return {"O": octahedral, "I": icosahedral}[name]() if name in "OI" else symmetry(name)


def assert_same_set(found, expected):
    """The same matrices, each once, in any order."""
    assert len(found) == len(expected)
    # Entries differ by rounding, or by more than 0.002 between rotations of C100.
    distance = np.abs(np.asarray(found, float)[:, None] - expected).max(axis=(2, 3))
    assert (np.sort(distance, axis=1)[:, 0] < 1e-9).all()
    assert len(set(distance.argmin(axis=1))) == len(expected)


@pytest.mark.parametrize("name, n", [*N_GRID.items(), ("O", 24), ("I", 12)])
def test_grid_rotations_and_cosets_make_the_group(name, n):
    group = group_of(name)
    rotations = grid_rotations(group)
    assert (len(rotations), rotations.dtype) == (n, np.int32)
    np.testing.assert_array_equal(rotations[0], np.eye(3))
    assert (np.abs(rotations).sum(axis=1) == 1).all()
    poses = coset_representatives(group, rotations)
    np.testing.assert_array_equal(poses[0], group.quaternions[0])
    products = (quaternion_to_matrix(poses)[:, None] @ rotations).reshape(-1, 3, 3)
    assert_same_set(products, group.matrices)


@pytest.mark.parametrize("name, n", [("C1", []), ("C2", [2]), ("C4", [2, 2]), ("D4", [2, 2, 2]), ("O", [2, 2, 2, 3])])
def test_products_of_factors_are_the_group(name, n):
    rotations = grid_rotations(group_of(name))
    sets = factors(rotations)
    assert [len(each) for each in sets] == n
    products = [np.eye(3, dtype=int)]
    for each in sets:
        products = [a @ b for a, b in product(products, each)]
    assert_same_set(products, rotations)


def test_the_cube_by_hand():
    assert_same_set(cube_rotations(), Rotation.create_group("O").as_matrix())
