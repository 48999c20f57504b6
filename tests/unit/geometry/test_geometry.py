"""Rotations, symmetry and grids against scipy and first principles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pycryo.errors import InputError
from pycryo.geometry.grids import nearest_rotations, rotation_count, rotation_grid, rotation_step, shift_grid
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


@pytest.mark.parametrize(
    "name, order",
    [("C1", 1), ("c7", 7), ("D2", 4), ("D7", 14), ("T", 12), ("o", 24)]
    + [(name, 60) for name in ("I", "I1", "I2", "I3", "I4")],
)
def test_groups_are_closed(name, order):
    group = symmetry(name)
    assert len(group) == order
    products = group.equivalents(group.quaternions).reshape(-1, 4)
    overlap = np.abs(products @ group.quaternions.T)
    np.testing.assert_allclose(overlap.max(axis=1), 1, atol=1e-14)
    inverses = np.abs(conjugate(group.quaternions) @ group.quaternions.T)
    np.testing.assert_allclose(inverses.max(axis=1), 1, atol=1e-14)
    np.testing.assert_allclose(group.quaternions[0], [1, 0, 0, 0], atol=1e-14)
    # Nothing twice: the turns of D7, the closest of all, are 360/7 degrees apart, half of that on quaternions.
    apart = np.abs(group.quaternions @ group.quaternions.T) - 2 * np.eye(order)
    assert apart.max() < np.cos(np.pi / 7) + 1e-9


# Axes as RELION and XMIPP document them: order, x, y, z.
AXES = {
    "C4": [(4, 0, 0, 1)],
    "D3": [(3, 0, 0, 1), (2, 1, 0, 0)],
    "T": [(3, 0, 0, 1), (2, 0, 0.816496, 0.577350)],
    "O": [(3, 0.5773502, 0.5773502, 0.5773502), (4, 0, 0, 1)],
    "I1": [(2, 1, 0, 0), (5, 0.850650807, 0, -0.525731114), (3, 0.934172364, 0.356822076, 0)],
    "I2": [(2, 0, 0, 1), (5, 0.525731114, 0, 0.850650807), (3, 0, 0.356822076, 0.934172364)],
    "I3": [(2, -0.525731114, 0, 0.850650807), (5, 0, 0, 1), (3, -0.491123478, 0.356822076, 0.794654475)],
    "I4": [
        (2, 0.525731114, 0, 0.850650807),
        (5, 0.894427193, 0, 0.447213591),
        (3, 0.491123478, 0.356822076, 0.794654475),
    ],
}


@pytest.mark.parametrize("name", AXES)
def test_axes_are_relions(name):
    group = symmetry(name)
    for order, *axis in AXES[name]:
        turn = from_rotation_vector(np.array(axis) * (2 * np.pi / order))
        # Six decimals of an axis: 1e-6 rad, half its square in the cosine.
        assert np.abs(group.quaternions @ turn).max() > 1 - 1e-11
    np.testing.assert_array_equal(symmetry("I").quaternions, symmetry("I2").quaternions)


def test_i1_is_i2_after_a_quarter_turn():
    one, two = (Rotation.from_matrix(symmetry(name).matrices) for name in ("I1", "I2"))
    quarter = Rotation.from_euler("z", 90, degrees=True)
    away = [(one * (quarter * turn * quarter.inv()).inv()).magnitude().min() for turn in two]
    assert max(away) < 1e-7  # arccos near 1 loses half the digits


@pytest.mark.parametrize("name", ["", "C0", "E3", "C", "D-1", "C1.5", "Icosahedral", "I5", "T1", "O2", "Oh"])
def test_unknown_symmetry_is_refused(name):
    with pytest.raises(InputError, match="unknown"):
        symmetry(name)


@pytest.mark.parametrize("name", ["C1", "C4", "D2", "D3", "T", "O", "I1", "I3"])
def test_grid_covers_the_asymmetric_unit(name, rng):
    group = symmetry(name)
    grid = multiply(from_rotation_vector(rng.standard_normal(3)), rotation_grid(1000, group))
    assert abs(len(grid) - 1000) < 100
    target = rng.standard_normal((300, 4))
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    overlap = np.abs(group.equivalents(target).reshape(-1, 4) @ grid.T).max(axis=1).reshape(300, -1).max(axis=1)
    # The deepest hole of a good covering of spacing h is below 1.2 h.
    assert np.rad2deg(2 * np.arccos(overlap)).max() < np.rad2deg(1.2 * rotation_step(1000, group))


def test_count_and_step_are_inverse():
    group = symmetry("D2")
    assert rotation_count(rotation_step(5000, group), group) == 5000


@pytest.mark.parametrize("name", ["C1", "D2", "T", "O", "I2", "I4"])
def test_grid_is_even(name, rng):
    """All mates of the grid together: as many rotations in each part of SO(3), of the whole as one of C1 has."""
    group = symmetry(name)
    count = rotation_count(0.12, symmetry("C1")) // len(group)
    grid = multiply(from_rotation_vector(rng.standard_normal(3)), rotation_grid(count, group))
    assert rotation_step(len(grid), group) == pytest.approx(0.12, rel=0.02)
    everything = group.equivalents(grid).reshape(-1, 4)
    centres = rng.standard_normal((200, 4))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    found = (np.abs(centres @ everything.T) > np.cos(0.25)).sum(axis=1)
    # A ball of radius w = 0.5 rad holds (w - sin w)/π of SO(3), 299 of 45 700 points. Those within half a step of its
    # surface, some 200, are in or out as if by chance: a standard deviation of 7, and four of them.
    expected = len(everything) * (0.5 - np.sin(0.5)) / np.pi
    assert np.abs(found - expected).max() < 28
    assert abs(found.mean() - expected) < 3


@pytest.mark.parametrize("name", ["I1", "D100"])
def test_grid_is_never_empty(name):
    for count in range(1, 21):
        assert len(rotation_grid(count, symmetry(name))) >= 1


@given(st.floats(0, 8), st.floats(0.5, 4))
def test_shift_grid(radius, step):
    grid = shift_grid(radius, step)
    np.testing.assert_array_equal(grid[0], 0)
    assert np.hypot(*grid.T).max() <= radius + 1e-9
    if len(grid) > 1:
        distances = np.linalg.norm(grid[:, None] - grid[None], axis=-1) + 1e9 * np.eye(len(grid))
        assert distances.min() == pytest.approx(step)


@pytest.mark.parametrize("name", ["C1", "D2", "I2"])
def test_nearest_equivalent(name, rng):
    group = symmetry(name)
    anchor = from_rotation_vector(rng.standard_normal((50, 3)))
    close = multiply(from_rotation_vector(0.1 * rng.standard_normal((50, 3))), anchor)
    hidden = multiply(close, group.quaternions[rng.integers(0, len(group), 50)])
    found = group.nearest(hidden, anchor)
    np.testing.assert_allclose(found, close * np.sign(np.sum(close * anchor, axis=1, keepdims=True)), atol=1e-14)


@pytest.mark.parametrize("name", ["C1", "C5", "D2", "O"])
@pytest.mark.parametrize("count", [1, 60, 700])
def test_nearest_rotations(name, count, rng):
    """Those of smallest angle, of all turned by all mates; of a grid and of rotations anywhere."""
    group = symmetry(name)
    grid = rotation_grid(count, group)
    for others in (rotation_grid(300, group), Rotation.random(200, random_state=7).as_quat(scalar_first=True)):
        mates = multiply(grid[:, None], group.quaternions)
        angle = angle_between(others[:, None, None], mates).min(axis=2)
        found = nearest_rotations(grid, others, group)
        np.testing.assert_allclose(angle[np.arange(len(others)), found], angle.min(axis=1), rtol=0, atol=1e-7)


@pytest.mark.parametrize("rotations, others", [((0, 1), (np.nan, 1)), ((np.nan, 1), (0, 1)), ((), (0, 1))])
def test_nearest_rotations_of_none(rotations, others):
    """What is not a number is near to nothing."""
    grids = [np.array([[1.0, each, 0, 0] for each in some]).reshape(-1, 4) for some in (rotations, others)]
    with pytest.raises(ValueError, match="expected"):
        nearest_rotations(*grids, symmetry("C1"))
