"""Proposals of rotations and shifts: they are drawn from the density that they state."""

from __future__ import annotations

from math import gamma, pi

import numpy as np
import pytest
import scipy.stats
from scipy.spatial.transform import Rotation

from pycryo.filter._sampling import move_shifts, rotation_proposal_density, shift_proposal_density, turn_rotations
from pycryo.filter.draws import Draws
from pycryo.filter.proposals import Cloud, Widths, propose

# The integral of `rotation_proposal_density` over SO(3) with the Haar measure of total mass 1: d³v = π²(1 + v²)² dμ for
# v = tan(ω/2), and the density leaves out the factor Γ(7/2)/(Γ(2)(4π)^(3/2)) of Student's t.
ROTATION_CONSTANT = (4 * pi) ** 1.5 / gamma(3.5) / pi**2


def scalar_first(rotation: Rotation) -> np.ndarray:
    """(..., 4) quaternions (w, x, y, z) of scipy's (x, y, z, w)."""
    return np.roll(rotation.as_quat(), 1, axis=-1)


def to_rotation(quaternion: np.ndarray) -> Rotation:
    return Rotation.from_quat(np.roll(quaternion.reshape(-1, 4), -1, axis=-1))


def density(points, centres, scale):
    """Of one class."""
    classes = (np.zeros(each.shape[:2], np.int32) for each in (points, centres))
    pick = np.arange(centres.shape[1])[None]
    return rotation_proposal_density(points, centres, pick, np.array([scale]), *classes, 1.0, 0.0, 1)


@pytest.mark.parametrize("scale", [0.2, 0.5, 2.0])
def test_rotation_density_integrates_to_its_constant_over_uniform_rotations(scale):
    rng = np.random.default_rng(1)
    points = scalar_first(Rotation.random(200_000, rng=rng))[None]
    centres = scalar_first(Rotation.random(3, rng=rng))[None]
    value = np.exp(density(points, centres, scale))[0]
    error = value.std() / np.sqrt(value.size)
    assert error < 0.02 * ROTATION_CONSTANT
    assert abs(value.mean() - ROTATION_CONSTANT) < 5 * error  # 5 standard errors


@pytest.mark.parametrize("scale", [1e-4, 3e-3, 0.05, 0.5])
def test_rotation_density_integrates_to_its_constant_at_every_scale(scale):
    """Importance sampling: rotations whose tan(ω/2) is Cauchy distributed about two centres, an axis a sign apart."""
    rng = np.random.default_rng(2)
    centres = Rotation.random(2, rng=rng)
    cauchy = scipy.stats.multivariate_t(np.zeros(3), scale**2 * np.eye(3), df=1)
    which = rng.integers(0, 2, 40_000)
    v = cauchy.rvs(len(which), random_state=rng)
    points = Rotation.from_quat(np.concatenate([v, np.ones((len(v), 1))], axis=1)) * centres[which]
    drawn = np.zeros(len(v))
    for centre in centres:
        x, y, z, w = (points * centre.inv()).as_quat().T
        tangent = np.stack([x, y, z], axis=1) / np.where(np.abs(w) < 1e-9, 1e-9, w)[:, None]
        drawn += 0.5 * cauchy.pdf(tangent) * pi**2 * (1 + np.square(tangent).sum(1)) ** 2
    signs = rng.choice([-1.0, 1.0], (len(v), 1))
    value = density((scalar_first(points) * signs)[None], -scalar_first(centres)[None], scale)
    ratio = np.exp(value[0]) / drawn
    error = ratio.std() / np.sqrt(len(v))
    assert error < 0.01 * ROTATION_CONSTANT
    assert abs(ratio.mean() - ROTATION_CONSTANT) < 5 * error  # 5 standard errors


@pytest.mark.parametrize("threads", [1, 3])
def test_rotation_density_of_picked_centres_and_classes(threads, rng):
    n, a, b = 3, 5, 4
    points, centres = (scalar_first(Rotation.random(n * m, rng=rng)).reshape(n, m, 4) for m in (a, b))
    pick = np.array([[0, 1, 2, 3, 3], [1, 1, 1, 1, 1], [0, 0, 2, 3, 3]])
    scale, same, other = np.array([1e-3, 0.1, 3.0]), 0.9, 0.05
    class_of_point, class_of_centre = rng.integers(0, 3, (n, a), np.int32), rng.integers(0, 3, (n, b), np.int32)
    found = rotation_proposal_density(
        points, centres, pick, scale, class_of_point, class_of_centre, same, other, threads
    )
    picked, class_of_picked = (
        np.take_along_axis(centres, pick[..., None], 1),
        np.take_along_axis(class_of_centre, pick, 1),
    )
    square = np.square(np.einsum("nai,nci->nac", points, picked))
    tangent = (1 - square) / square
    kernels = (1 + tangent / (4 * scale[:, None, None] ** 2)) ** -3.5 * (1 + tangent) ** 2
    kernels *= np.where(class_of_point[:, :, None] == class_of_picked[:, None], same, other)
    # Double arithmetic of a few terms.
    np.testing.assert_allclose(found, np.log(kernels.mean(axis=2)) - 3 * np.log(scale)[:, None], rtol=1e-12)


def test_turned_rotations(rng):
    """The tangent of half the angle is the length of `tangent` times the scale."""
    n, a, c = 3, 4, 6
    rotations = scalar_first(Rotation.random(n * a, rng=rng)).reshape(n, a, 4)
    tangent = rng.normal(0, 2, (n, c, 3))
    pick, scale = rng.integers(0, a, (n, c)), np.array([1e-3, 0.2, 5.0])
    turned = turn_rotations(rotations, pick, tangent, scale)
    half = scale[:, None, None] * tangent
    length = np.linalg.norm(half, axis=-1, keepdims=True)
    turn = Rotation.from_rotvec((half / length * 2 * np.arctan(length)).reshape(-1, 3))
    expected = turn * to_rotation(np.take_along_axis(rotations, pick[..., None], 1))
    # Roundings of quaternions, and of angles that are made of them.
    assert (to_rotation(turned) * expected.inv()).magnitude().max() < 1e-14
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), 1, rtol=1e-15)


def test_moved_shifts(rng):
    shifts, pick, tangent, scale = (
        rng.random((3, 4, 2)),
        rng.integers(0, 4, (3, 6)),
        rng.random((3, 6, 2)),
        rng.random(3),
    )
    expected = np.take_along_axis(shifts, pick[..., None], 1) + tangent * scale[:, None, None]
    np.testing.assert_allclose(move_shifts(shifts, pick, tangent, scale), expected, rtol=1e-15)


def test_shift_density_is_students(rng):
    n, a, b = 3, 5, 4
    points, centres, scale = rng.normal(0, 3, (n, a, 2)), rng.normal(0, 3, (n, b, 2)), np.array([1e-3, 0.7, 20.0])
    pick = np.array([[0, 1, 2, 3, 3], [1, 1, 1, 1, 1], [0, 0, 2, 3, 3]])
    expected = np.empty((n, a))
    for i in range(n):
        kernels = [scipy.stats.multivariate_t(c, scale[i] ** 2 * np.eye(2), df=4).pdf(points[i]) for c in centres[i]]
        expected[i] = np.log(np.mean(np.array(kernels)[pick[i]], axis=0))
    # Γ(3)/(Γ(2)·4π) is left out; the rest is double arithmetic of a few terms.
    constant = np.log(2 / (4 * pi))
    np.testing.assert_allclose(shift_proposal_density(points, centres, pick, scale) + constant, expected, rtol=1e-12)


def test_proposals_are_drawn_from_their_density():
    """1/density makes the draws uniform: the measure of balls about a centre and of discs comes out."""
    n = 4000
    centre_r, centre_t = scalar_first(Rotation.random(2, rng=np.random.default_rng(3))), np.array([[0, 0], [3.0, -1]])
    tile = lambda array: np.tile(array, (n, *[1] * array.ndim))  # noqa: E731
    weight, scale_r, scale_t = tile(np.array([0.5, 0.5])), 0.3, 1.5
    cloud = Cloud(tile(centre_r), np.zeros((n, 2), np.int32), weight, tile(centre_t), weight)
    widths = Widths(np.full(n, scale_r), np.full(n, scale_t), 0.0, 0.0)
    drawn = propose(cloud, widths, Draws(4, 8, np.arange(n)), 8, 8, 1)
    rotations, shifts = drawn.rotations, drawn.shifts
    assert rotations.shape == (n, 8, 4)
    assert shifts.shape == (n, 8, 2)
    assert drawn.density_rotation.shape == drawn.density_shift.shape == (n, 8)
    log_density = drawn.density_rotation[:, :, None] + drawn.density_shift[:, None]
    np.testing.assert_allclose(np.linalg.norm(rotations, axis=-1), 1, atol=1e-14)  # a few roundings of 1e-16
    inverse = np.exp(-log_density) * ROTATION_CONSTANT * 2 * pi  # 2π = 4π/Γ(3): the constant of the shifts
    angle = (to_rotation(rotations) * to_rotation(centre_r[:1]).inv()).magnitude().reshape(n, 8)
    distance = np.linalg.norm(shifts - centre_t[0], axis=-1)
    for reach_r, reach_t in ((0.2, 1.0), (0.5, 3.0), (1.0, 6.0)):
        inside = (angle < reach_r)[:, :, None] & (distance < reach_t)[:, None]
        per_image = (inverse * inside).mean(axis=(1, 2))
        expected = (reach_r - np.sin(reach_r)) / pi * pi * reach_t**2
        error = per_image.std() / np.sqrt(n)
        assert error < 0.1 * expected
        assert abs(per_image.mean() - expected) < 5 * error  # 5 standard errors
