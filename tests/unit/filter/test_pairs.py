"""Pairs of rotations and shifts: the best one, marginals, draws and spreads against dense arrays."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from pycryo.filter import _points, _weights
from pycryo.filter.pairs import Pairs
from pycryo.filter.resampling import flatten_weights, resample

N, R, T = 5, 7, 4


def some_pairs(rng: np.random.Generator, spread: float) -> tuple[Pairs, np.ndarray]:
    """Pairs and their log densities, (n, R, T) float64."""
    of_pair = (spread * rng.standard_normal((N, R, T))).astype(np.float32)
    of_rotation, of_shift = spread * rng.standard_normal((N, R)), spread * rng.standard_normal((N, T))
    return Pairs(of_pair, of_rotation, of_shift), of_pair + of_rotation[:, :, None] + of_shift[:, None]


def test_best_pair(rng):
    pairs, dense = some_pairs(rng, 3.0)
    rotation, shift, value = pairs.best()
    np.testing.assert_array_equal(rotation * T + shift, dense.reshape(N, -1).argmax(axis=1))
    np.testing.assert_array_equal(value, dense.max(axis=(1, 2)))
    # The first of equals.
    alike = Pairs(np.zeros((1, R, T), np.float32), np.zeros((1, R)), np.array([[0.0, 1.0, 1.0, 0.0]]))
    assert [each.item() for each in alike.best()] == [0, 1, 1.0]


def test_densities_are_divided_out(rng):
    pairs, dense = some_pairs(rng, 1.0)
    by_rotation, by_shift = rng.standard_normal((N, R)), rng.standard_normal((N, T))
    ratio = pairs.over(by_rotation, by_shift)
    found = ratio.of_pair + ratio.of_rotation[:, :, None] + ratio.of_shift[:, None]
    np.testing.assert_allclose(found, dense - by_rotation[:, :, None] - by_shift[:, None], atol=1e-14)


@pytest.mark.parametrize("spread", [0.1, 3.0, 1e4])
@pytest.mark.parametrize("min_effective", [0.0, 9.0])
def test_marginals_are_sums_of_weights(spread, min_effective, rng):
    pairs, dense = some_pairs(rng, spread)
    classes, its_class = rng.integers(0, 3, (N, R), np.int32), np.arange(N, dtype=np.int32) % 3
    found = pairs.marginals(classes, its_class, min_effective)
    if min_effective:
        weight = flatten_weights(dense.reshape(N, -1), min_effective).reshape(N, R, T)
    else:
        weight = np.exp(dense - dense.max(axis=(1, 2), keepdims=True))
        weight /= weight.sum(axis=(1, 2), keepdims=True)
    # Weights are double sums of 28 numbers, or powers found from the same double arithmetic.
    np.testing.assert_allclose(found.rotation, weight.sum(axis=2), atol=1e-12)
    np.testing.assert_allclose(found.shift, weight.sum(axis=1), atol=1e-12)
    alike = weight * (classes == its_class[:, None])[:, :, None]
    np.testing.assert_allclose(found.shift_alike, alike.sum(axis=1), atol=1e-12)
    np.testing.assert_allclose(found.rotation.sum(axis=1), 1, rtol=1e-14)


@pytest.mark.parametrize("spread", [0.1, 3.0, 300.0])
def test_draws_are_those_of_dense_weights(spread, rng):
    pairs, dense = some_pairs(rng, spread)
    offset = rng.random(N)
    drawn = pairs.draw(offset, 11)
    top = dense.max(axis=(1, 2))
    weight = np.exp(dense - top[:, None, None]).reshape(N, -1)
    np.testing.assert_array_equal(drawn.index, resample(weight, offset, 11))
    np.testing.assert_allclose(drawn.log_mean, top + np.log(weight.mean(axis=1)), rtol=1e-13)
    weight /= weight.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(drawn.p_max, weight.max(axis=1), rtol=1e-13)
    np.testing.assert_allclose(drawn.effective, 1 / np.square(weight).sum(axis=1), rtol=1e-13)


def test_an_image_depends_on_nothing_else(rng):
    pairs, _ = some_pairs(rng, 20.0)
    classes, its_class, offset = np.zeros((N, R), np.int32), np.zeros(N, np.int32), rng.random(N)
    arrays = pairs.of_pair, pairs.of_rotation, pairs.of_shift
    marginals = _weights.pair_marginals(*arrays, classes, its_class, 9.0, 1)
    drawn = _weights.draw_pairs(*arrays, offset, 6, 1)
    for one, other in zip(_weights.pair_marginals(*arrays, classes, its_class, 9.0, 3), marginals, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(_weights.draw_pairs(*arrays, offset, 6, 3), drawn, strict=True):
        np.testing.assert_array_equal(one, other)
    some = np.array([False, True, False, False, True])
    few = pairs.of(some)
    for one, other in zip(astuple(few.marginals(classes[some], its_class[some], 9.0)), marginals, strict=True):
        np.testing.assert_array_equal(one, other[some])
    np.testing.assert_array_equal(few.draw(offset[some], 6).index, drawn[0][some])


@pytest.mark.parametrize("reach", [1.0, np.inf])
def test_spreads_are_weighted_standard_deviations(reach, rng):
    quaternion = rng.standard_normal((N, R, 4))
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    centre, shifts, centre_t = quaternion[:, 0].copy(), rng.standard_normal((N, T, 2)), rng.standard_normal((N, 2))
    weight_r, weight_t = rng.random((N, R)), rng.random((N, T))
    weight_r[:, 1] = 0
    classes, its_class = rng.integers(0, 2, (N, R), np.int32), rng.integers(0, 2, N, np.int32)
    classes[:, 0] = its_class
    angle = 2 * np.arccos(np.minimum(np.abs(np.einsum("nri,ni->nr", quaternion, centre)), 1))
    distance = np.linalg.norm(shifts - centre_t[:, None], axis=-1)
    near_r, near_t = weight_r * (angle < 2 * reach) * (classes == its_class[:, None]), weight_t * (distance < reach)
    variance_r = (near_r * np.square(angle)).sum(axis=1) / near_r.sum(axis=1) / 3
    variance_t = (near_t * np.square(distance)).sum(axis=1) / np.maximum(near_t.sum(axis=1), 1e-300) / 2
    found_r = _points.rotation_spread(weight_r, quaternion, classes, its_class, centre, np.full(N, 2 * reach))
    found_t = _points.shift_spread(weight_t, shifts, centre_t, np.full(N, reach))
    # The angle of a rotation to itself is √ε.
    np.testing.assert_allclose(found_r, np.sqrt(variance_r), atol=1e-7)
    np.testing.assert_allclose(found_t, np.sqrt(variance_t), rtol=1e-13)


def test_drawn_pairs_are_copied_to_their_rows(rng):
    rotations, shifts = rng.standard_normal((N, R, 4)), rng.standard_normal((N, T, 2))
    classes, index = rng.integers(0, 3, (N, R), np.int32), rng.integers(0, R * T, (N, 6))
    rows = np.array([7, 2, 0, 5, 3])
    quaternion, shift, class_index = np.full((8, 6, 4), 9.0), np.full((8, 6, 2), 9.0), np.full((8, 6), 9, np.int32)
    _points.place_pairs(index, rotations, shifts, classes, rows, quaternion, shift, class_index)
    each, (r, t) = np.arange(N)[:, None], np.divmod(index, T)
    np.testing.assert_array_equal(quaternion[rows], rotations[each, r])
    np.testing.assert_array_equal(shift[rows], shifts[each, t])
    np.testing.assert_array_equal(class_index[rows], classes[each, r])
    others = np.setdiff1d(np.arange(8), rows)
    assert (quaternion[others] == 9).all()
    assert (class_index[others] == 9).all()
    with pytest.raises(ValueError, match="expected room for 6 points"):
        _points.place_pairs(index, rotations, shifts, classes, rows, quaternion[:, :5].copy(), shift, class_index)
