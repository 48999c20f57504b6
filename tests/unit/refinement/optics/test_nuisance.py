"""What poses can take of derivatives by the optics, against normal equations of all parameters at once, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from pycryo.refinement.optics.fit import Fitted, even_basis, odd_basis, without_poses
from pycryo.refinement.optics.nuisance import N_TAKEN, Nuisance, Taken

N, N_PIXEL, N_POSE = 3, 60, 4


@pytest.fixture
def scene(rng):
    """Frequencies, slices, CTFs, weights, residuals and derivatives of a few images."""
    at = rng.uniform(-0.4, 0.4, (2, N_PIXEL))
    slices, left = rng.normal(size=(2, N, 2, N_PIXEL))
    chi = rng.uniform(0, 6, (N, N_PIXEL))
    weights = rng.uniform(0.5, 2, (N, N_PIXEL))
    mine, theirs = list(rng.normal(size=(3, N, 2, N_PIXEL))), list(rng.normal(size=(N_POSE, N, 2, N_PIXEL)))
    return at, slices, np.sin(chi), np.cos(chi), weights, left, mine, theirs


def flat(samples):
    return samples.transpose(1, 2, 0).reshape(-1, samples.shape[0])


def schur(some, pose, residual, weight):
    """Slope and second derivatives that are left of `some` columns when those of `pose` are at their best."""
    all_of = np.concatenate([some, pose], axis=1)
    second, first = all_of.T @ (weight[:, None] * all_of), all_of.T @ residual
    k = some.shape[1]
    solved = np.linalg.solve(second[k:, k:], np.concatenate([second[k:, :k], first[k:, None]], axis=1))
    return first[:k] - second[:k, k:] @ solved[:, k], second[:k, :k] - second[:k, k:] @ solved[:, :k]


def test_magnification_without_poses(scene):
    _, _, sine, _, weights, left, mine, theirs = scene
    slope, second = Nuisance(mine, theirs, sine[:, None] * left, sine**2 * weights).without()
    upper, right = np.triu_indices(3)
    for i in range(N):
        columns = [np.stack([sine[i] * each[i] for each in some]) for some in (mine, theirs)]
        expected = schur(*(flat(each) for each in columns), left[i].ravel(), np.tile(weights[i], 2))
        np.testing.assert_allclose(slope[i], expected[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(second[i], expected[1][upper, right], rtol=1e-4, atol=1e-4)


def test_phases_without_poses(scene):
    """Derivatives of sin χ exp(iφ) P and sin(χ - ε) P by φ and ε."""
    at, slices, sine, cosine, weights, left, mine, theirs = scene
    some = np.array([True, False, True])
    found = Nuisance(mine, theirs, sine[:, None] * left, sine**2 * weights)
    rows = found.of_phases(some, tuple(at), slices[some], sine[some], cosine[some], weights[some])
    assert rows.shape == (2, N_TAKEN)
    odd, even = odd_basis(*at)[:, 2:], even_basis(*at)
    for row, i in zip(rows, np.flatnonzero(some), strict=True):
        taken = Taken.of_sums(row)
        pose = flat(np.stack([sine[i] * each[i] for each in theirs]))
        turned = sine[i] * np.stack([-slices[i, 1], slices[i, 0]])
        sized = -cosine[i] * slices[i]
        for model, basis, first, second in (
            (turned, odd, taken.odd, taken.odd_second),
            (sized, even, taken.even, taken.even_second),
        ):
            columns = flat(np.stack([model * each for each in basis.T]))
            whole = columns.T @ (np.tile(weights[i], 2)[:, None] * columns), columns.T @ left[i].ravel()
            slope, rest = schur(columns, pose, left[i].ravel(), np.tile(weights[i], 2))
            np.testing.assert_allclose(first, whole[1] - slope, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(second, whole[0] - rest, rtol=1e-4, atol=1e-5)


def test_an_image_alone_gives_the_same_bits(scene):
    at, slices, sine, cosine, weights, left, mine, theirs = scene
    everything = Nuisance(mine, theirs, sine[:, None] * left, sine**2 * weights)
    rows = everything.of_phases(np.ones(N, bool), tuple(at), slices, sine, cosine, weights)
    for i in range(N):
        one = slice(i, i + 1)
        parts = [[each[one] for each in some] for some in (mine, theirs)]
        alone = Nuisance(*parts, (sine[:, None] * left)[one], (sine**2 * weights)[one])
        row = alone.of_phases(np.ones(1, bool), tuple(at), slices[one], sine[one], cosine[one], weights[one])
        np.testing.assert_array_equal(row[0], rows[i])
        for one_part, part in zip(alone.without(), everything.without(), strict=True):
            np.testing.assert_array_equal(one_part[0], part[i])


def test_shifts_that_hide_a_beam_tilt_are_seen_through(rng):
    """Each image has the shift that is best without the tilt, which differs with its weights."""
    at = rng.uniform(-0.4, 0.4, (2, 400))
    basis, tilt, n = odd_basis(*at), np.array([0.0, 0.0, 1.5, -1.0, 0.4, 0.2]), 20
    # Images that tell low frequencies, and others that tell high ones.
    information = rng.uniform(0.5, 1.5, (n, 400)) * np.exp(rng.uniform(-20, 20, (n, 1)) * np.square(at).sum(axis=0))
    slopes, first, second = [], np.zeros(4), np.zeros((4, 4))
    for weight in information:
        normal = basis.T @ (weight[:, None] * basis)
        shift = np.linalg.solve(normal[:2, :2], normal[:2] @ tilt)
        left = weight * (basis @ tilt - basis[:, :2] @ shift)
        slopes.append(left)
        solved = np.linalg.solve(normal[:2, :2], normal[:2, 2:])
        first += solved.T @ (basis[:, :2].T @ left)
        second += normal[2:, :2] @ solved
    slope, total = np.sum(slopes, axis=0), information.sum(axis=0)
    normal = basis.T @ (total[:, None] * basis)
    plain = np.linalg.solve(normal, basis.T @ slope)
    before = Fitted(np.zeros(6), np.eye(6))
    found = without_poses(before, basis, slope, (total, total), (first, second), n_common=2)
    assert abs(plain[2] / tilt[2] - 1) > 0.05
    np.testing.assert_allclose(found.value[2:], tilt[2:], rtol=1e-6)
    large = Fitted(np.full(6, 100.0), np.eye(6))
    assert without_poses(large, basis, slope, (total, total), (first, second), n_common=2) is large


@pytest.mark.parametrize(("gain", "step"), [(1.5, 1.0), (0.8, 1.0), (-1.0, -1.0), (4.0, 4.0)])
def test_second_derivatives_that_are_seen_tell_the_step(rng, gain, step):
    """Images that show `gain` times what is expected; if that is unlikely, what is expected."""
    basis, tilt = even_basis(*rng.uniform(-0.4, 0.4, (2, 300)))[:, :8], rng.normal(0, 0.1, 8)
    expected = rng.uniform(0.5, 1.5, 300)
    seconds, nothing = (expected, gain * expected), (np.zeros(8), np.zeros((8, 8)))
    found = without_poses(
        Fitted(np.zeros(8), np.eye(8)), basis, gain * expected * (basis @ tilt), seconds, nothing, n_common=0
    )
    np.testing.assert_allclose(found.value, step * tilt, rtol=1e-4, atol=1e-8)
    information = basis.T @ (expected[:, None] * basis)
    np.testing.assert_allclose(found.covariance @ information, 1.5 * np.eye(8), atol=1e-4)
