"""Poses of mirrored and turned maps, by points and by a transform in SciPy's terms."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pycryo.geometry.frame_changes import AXES, expanded, keeps_group, mirror, mirrored_angle, turned_pose
from pycryo.geometry.symmetry import symmetry
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.projector import fourier_volume, project_slices
from pycryo.maps.density import Map
from pycryo.maps.turn import mirrored

N = 30


@pytest.fixture
def angles(rng):
    tilts = np.concatenate([[0.0, 180.0, 90.0], rng.uniform(0, 180, N - 3)])
    return rng.uniform(-180, 180, N), tilts, rng.uniform(-180, 180, N)


def matrices(rot, tilt, psi):
    return Rotation.from_euler("ZYZ", np.stack([rot, tilt, psi], axis=1), degrees=True).inv().as_matrix()


def of_mirrored(angles, axis):
    return tuple(mirrored_angle(name, each, axis) for name, each in zip(("rot", "tilt", "psi"), angles, strict=True))


@pytest.mark.parametrize("axis", AXES)
def test_mirrored_points_are_seen_where_they_were(angles, axis, rng):
    """At the opposite height."""
    points = rng.normal(size=(7, 3))
    before = np.einsum("nij,pj->npi", matrices(*angles), points)
    after = np.einsum("nij,pj->npi", matrices(*of_mirrored(angles, axis)), points @ mirror(axis))
    np.testing.assert_allclose(after, before * [1, 1, -1], atol=1e-12)
    rot, tilt, psi = of_mirrored(angles, axis)
    assert ((rot >= -180) & (rot < 180) & (psi >= -180) & (psi < 180) & (tilt >= 0) & (tilt <= 180)).all()


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("box", [24, 25])
def test_slices_of_the_mirrored_map_are_those_of_the_map(angles, axis, box, rng):
    """Of the kernels that refinement and reconstruction use; the margin of an even box is no part of its mirror."""
    data = np.zeros((box,) * 3, np.float32)
    data[4:-3, 4:-3, 4:-3] = rng.standard_normal((box - 7,) * 3)
    pixels = half_plane(box, box / 2 - 1, 1)

    def slices(volume, poses):
        padded = fourier_volume(volume, padding=2, r_high=box / 2 - 1)
        return project_slices(padded, matrices(*poses), pixels.kx, pixels.ky)

    before = slices(data, angles)
    after = slices(mirrored(Map(data, 1.0), axis).data, of_mirrored(angles, axis))
    np.testing.assert_allclose(after, before, atol=2e-5 * np.abs(before).max())
    assert np.abs(slices(data, of_mirrored(angles, axis)) - before).max() > 0.1 * np.abs(before).max()


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("box", [6, 7])
def test_mirrored_twice_is_the_map(axis, box, rng):
    source = Map(rng.standard_normal((box,) * 3).astype(np.float32), 2.0)
    once = mirrored(source, axis)
    np.testing.assert_array_equal(mirrored(once, axis).data, source.data)
    middle = box // 2
    place = {"x": (0, 0, 1), "y": (0, 1, 0), "z": (1, 0, 0)}[axis]
    there, here = (tuple(middle + sign * 2 * each for each in place) for sign in (1, -1))
    assert once.data[there] == source.data[here]


def test_groups_that_a_mirror_keeps():
    kept = {name: {axis for axis in AXES if keeps_group(axis, symmetry(name))} for name in ("C1", "C5", "D3", "T")}
    assert kept == {"C1": {*AXES}, "C5": {*AXES}, "D3": {*AXES}, "T": {"x"}}
    assert {axis for axis in AXES if keeps_group(axis, symmetry("I3"))} == {"y"}
    for name in ("O", "I1", "I2"):
        assert keeps_group("z", symmetry(name))


@pytest.mark.parametrize("is_magnified", [False, True])
def test_turned_poses_see_the_same_transform(angles, rng, is_magnified):
    """Of points; W(u) = V(M u + c) has the point p of V at Mᵀ (p - c)."""
    points, centre = rng.normal(0, 20, (5, 3)), rng.normal(0, 5, 3)
    frame = Rotation.random(random_state=3).as_matrix()
    origin = rng.normal(0, 3, (N, 2))
    matrix = np.eye(2) + is_magnified * rng.normal(0, 0.03, (N, 2, 2))
    k = rng.normal(0, 0.05, (11, 2))

    def transform(points, angles, origin):
        at = np.einsum("nij,pj->npi", matrices(*angles), points)[..., :2]
        undistorted = np.einsum("nij,kj->nki", matrix, k)
        phase = np.einsum("npi,nki->npk", at, undistorted) - np.einsum("ni,ki->nk", origin, k)[:, None]
        return np.exp(-2j * np.pi * phase).sum(axis=1)

    new, moved = turned_pose(angles, origin, frame, centre, matrix if is_magnified else None)
    np.testing.assert_allclose(
        transform((points - centre) @ frame, new, moved), transform(points, angles, origin), atol=1e-9
    )


def test_expanded_poses(angles):
    group = symmetry("D3")
    found = matrices(*expanded(angles, group)).reshape(N, 6, 3, 3)
    expected = matrices(*angles)[:, None] @ group.matrices
    np.testing.assert_allclose(found, expected, atol=1e-12)
