"""Rotations, symmetry and grids against scipy and first principles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pycryo.errors import InputError
from pycryo.geometry.grids import rotation_count, rotation_grid, rotation_step, shift_grid
from pycryo.geometry.rotations import (
    angle_between,
    conjugate,
    euler_to_matrix,
    euler_to_quaternion,
    from_rotation_vector,
    matrix_to_quaternion,
    multiply,
    quaternion_to_euler,
    quaternion_to_matrix,
    to_rotation_vector,
)
from pycryo.geometry.symmetry import symmetry

angles = st.floats(-720, 720)


@given(angles, angles, angles)
def test_euler_is_relions(rot, tilt, psi):
    expected = Rotation.from_euler("ZYZ", [rot, tilt, psi], degrees=True).inv().as_matrix()
    np.testing.assert_allclose(euler_to_matrix(rot, tilt, psi)[0], expected, atol=1e-12)  # ~ 2^-53 · 720°/57° · 10


@given(angles, st.one_of(angles, st.sampled_from([0.0, 180.0])), angles)
def test_euler_round_trip(rot, tilt, psi):
    quaternion = euler_to_quaternion(rot, tilt, psi)
    back = quaternion_to_euler(quaternion)
    assert 0 <= back[1] <= 180
    # arccos near 1 loses half the digits: 1e-7 rad for 1e-15 in the cosine
    assert angle_between(euler_to_quaternion(*back), quaternion).max() < 1e-7


def test_matrices_and_vectors_round_trip(rng):
    quaternion = rng.standard_normal((1000, 4))
    quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
    same = lambda q: 1 - np.abs(np.sum(q * quaternion, axis=1)).min()  # noqa: E731
    assert same(matrix_to_quaternion(quaternion_to_matrix(quaternion))) < 1e-14
    assert same(from_rotation_vector(to_rotation_vector(quaternion))) < 1e-14
    np.testing.assert_allclose(
        quaternion_to_matrix(quaternion), Rotation.from_quat(quaternion[:, [1, 2, 3, 0]]).as_matrix(), atol=1e-14
    )
    product = quaternion_to_matrix(multiply(quaternion[:500], quaternion[500:]))
    np.testing.assert_allclose(
        product, quaternion_to_matrix(quaternion[:500]) @ quaternion_to_matrix(quaternion[500:]), atol=1e-14
    )
    identity = multiply(quaternion, conjugate(quaternion))
    np.testing.assert_allclose(identity, np.tile([1.0, 0, 0, 0], (1000, 1)), atol=1e-15)


@pytest.mark.parametrize("name, order", [("C1", 1), ("c7", 7), ("D2", 4), ("D7", 14)])
def test_groups_are_closed(name, order):
    group = symmetry(name)
    assert len(group) == order
    products = group.equivalents(group.quaternions).reshape(-1, 4)
    overlap = np.abs(products @ group.quaternions.T)
    np.testing.assert_allclose(overlap.max(axis=1), 1, atol=1e-14)


@pytest.mark.parametrize("name", ["", "C0", "E3", "C", "D-1", "C1.5", "Icosahedral"])
def test_unknown_symmetry_is_refused(name):
    with pytest.raises(InputError, match="unknown"):
        symmetry(name)


@pytest.mark.parametrize("name", ["C1", "C4", "D2", "D3"])
def test_grid_covers_the_asymmetric_unit(name, rng):
    group = symmetry(name)
    grid = rotation_grid(1000, group, turn=from_rotation_vector(rng.standard_normal(3)))
    assert abs(len(grid) - 1000) < 100
    target = rng.standard_normal((300, 4))
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    overlap = np.abs(group.equivalents(target).reshape(-1, 4) @ grid.T).max(axis=1).reshape(300, -1).max(axis=1)
    # The deepest hole of a good covering of spacing h is below 1.2 h.
    assert np.rad2deg(2 * np.arccos(overlap)).max() < np.rad2deg(1.2 * rotation_step(1000, group))


def test_count_and_step_are_inverse():
    group = symmetry("D2")
    assert rotation_count(rotation_step(5000, group), group) == 5000


@given(st.floats(0, 8), st.floats(0.5, 4))
def test_shift_grid(radius, step):
    grid = shift_grid(radius, step)
    np.testing.assert_array_equal(grid[0], 0)
    assert np.hypot(*grid.T).max() <= radius + 1e-9
    if len(grid) > 1:
        distances = np.linalg.norm(grid[:, None] - grid[None], axis=-1) + 1e9 * np.eye(len(grid))
        assert distances.min() == pytest.approx(step)


def test_nearest_equivalent(rng):
    group = symmetry("D2")
    anchor = from_rotation_vector(rng.standard_normal((50, 3)))
    close = multiply(from_rotation_vector(0.1 * rng.standard_normal((50, 3))), anchor)
    hidden = multiply(close, group.quaternions[rng.integers(0, 4, 50)])
    found = group.nearest(hidden, anchor)
    np.testing.assert_allclose(found, close * np.sign(np.sum(close * anchor, axis=1, keepdims=True)), atol=1e-14)
