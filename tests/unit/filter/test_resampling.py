"""Resampling of weighted points, and weights made flatter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycryo.filter._weights import flatten_weights as flatten_with_threads
from pycryo.filter._weights import merge_repeats
from pycryo.filter.resampling import flatten_weights, resample


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 1, exclude_max=True), st.integers(0, 40))
def test_resampled_counts_are_within_one_of_the_share(weights, offset, count):
    weight = np.array([weights])
    if weight.sum() < 1e-3:
        weight[:] = 1
    weight /= weight.sum()
    index = resample(weight, np.array([offset]), count)
    assert index.shape == (1, count)
    assert (np.diff(index[0]) >= 0).all()
    times = np.bincount(index[0], minlength=len(weights))
    # A tooth of the comb on the border of a weight falls on either side by rounding.
    assert np.abs(times - count * weight[0]).max() < 1 + 1e-9


def test_resampling_is_unbiased_over_the_offset():
    weight = np.array([0.07, 0.0, 0.41, 0.13, 0.39])
    offsets = (np.arange(1000) + 0.5) / 1000
    index = resample(np.tile(weight, (1000, 1)), offsets, 7)
    # The count of each point is a step function of its two borders; a grid of 1000 offsets places each to 1/1000.
    np.testing.assert_allclose(np.bincount(index.ravel(), minlength=5) / 1000, 7 * weight, atol=2e-3)


def test_resampling_of_a_sum_below_one_leaves_none_out():
    index = resample(np.array([[0.1, 0.1, 0.2], [0.0, 0.0, 3.0]]), np.array([0.5, 0.999]), 4)
    np.testing.assert_array_equal(index, [[0, 1, 2, 2], [2, 2, 2, 2]])


def effective_size(weight: np.ndarray) -> np.ndarray:
    return weight.sum(1) ** 2 / np.square(weight).sum(1)


@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0, 300.0])
def test_flattened_weights_reach_the_effective_size(spread, rng):
    log_weight = spread * rng.standard_normal((50, 64))
    weight = flatten_weights(log_weight, 12.0)
    np.testing.assert_allclose(weight.sum(1), 1, rtol=1e-14)
    size, plain = effective_size(weight), effective_size(np.exp(log_weight - log_weight.max(1, keepdims=True)))
    assert (size >= 12.0).all()
    kept = plain >= 12.0
    np.testing.assert_allclose(size[kept], plain[kept], rtol=1e-12)
    assert (size[~kept] < 12.0 * 1.01 + 1e-9).all()
    power = np.ptp(np.log(weight), axis=1) / np.ptp(log_weight, axis=1)
    assert (power <= 1 + 1e-9).all()
    # All weights are one power of the plain ones.
    expected = log_weight - log_weight.max(1, keepdims=True)
    np.testing.assert_allclose(np.log(weight / weight.max(1, keepdims=True)), power[:, None] * expected, atol=1e-9)


def test_flattened_weights_of_few_points_reach_half_of_them():
    weight = flatten_weights(np.array([[0.0, -50.0, -100.0, -150.0]]), 12.0)
    # Half of 4 points.
    assert 2.0 <= effective_size(weight)[0] < 2.02 + 1e-9


@pytest.mark.parametrize("spread", [1e4, 1e6])
def test_flattened_weights_of_a_very_sharp_posterior(spread, rng):
    """As of images without noise: the size is reached by flattening, not by forgetting the scores."""
    size = effective_size(flatten_weights(spread * rng.standard_normal((20, 768)), 12.0))
    assert (size >= 12.0).all()
    assert (size < 12.0 * 1.01 + 1e-9).all()


def test_points_of_no_probability_get_no_weight():
    log_weight = np.array([[0.0, -1.0, -np.inf, -0.5] * 8, [0.0, -1e5, -np.inf, -2e5] * 8])
    weight = flatten_weights(log_weight, 4.0)
    np.testing.assert_allclose(weight.sum(1), 1, rtol=1e-14)
    np.testing.assert_array_equal(weight[:, 2::4], 0)


def test_points_far_below_the_heaviest_get_no_weight():
    """exp(-60) of the heaviest one's is beyond the last bit of the sum."""
    weight = flatten_weights(np.array([[0.0, -61.0, -59.0, 0.0]]), 2.0)
    np.testing.assert_array_equal(weight > 0, [[True, False, True, True]])


def test_equal_weights_and_weights_that_cannot_be_flattened():
    np.testing.assert_array_equal(flatten_weights(np.full((2, 8), -3.0), 12.0), 0.125)
    # Half of 8 points would have to count, and only two can: the smallest power there is.
    weight = flatten_weights(np.array([[0.0, -2.0, *[-np.inf] * 6]]), 12.0)
    np.testing.assert_allclose(weight, [[0.5, 0.5, *[0] * 6]], atol=1e-8)


def test_flattened_weights_of_an_image_depend_on_nothing_else(rng):
    log_weight = np.array([[0.1], [3.0], [300.0], [1e5], [1.0]]) * rng.standard_normal((5, 64))
    together = flatten_with_threads(log_weight, 12.0, 1)
    np.testing.assert_array_equal(flatten_with_threads(log_weight, 12.0, 3), together)
    for i in range(5):
        np.testing.assert_array_equal(flatten_weights(log_weight[i : i + 1], 12.0)[0], together[i])


def test_repeated_draws_count_at_their_first_place():
    merged = merge_repeats(np.array([[0, 0, 3, 7, 7, 7], [1, 2, 3, 4, 5, 6], [9, 9, 9, 9, 9, 9]]))
    expected = np.array([[2, 0, 1, 3, 0, 0], [1] * 6, [6, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(merged, expected / 6)
