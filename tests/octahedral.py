"""The 24 rotations of a cube, made by hand."""

from itertools import permutations, product

import numpy as np

from pycryo.geometry.rotations import matrix_to_quaternion
from pycryo.geometry.symmetry import Symmetry


def cube_rotations():
    """(24, 3, 3) int32, the identity first."""
    signed = [np.diag(signs)[list(order)] for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
    return np.array([each for each in signed if np.linalg.det(each) > 0], np.int32)


def octahedral():
    """Their group."""
    return Symmetry("O", matrix_to_quaternion(cube_rotations().astype(float)))
