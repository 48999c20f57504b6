"""Counter-based draws: uniform, normal, Student."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
import scipy.stats

from pycryo.filter import _sampling
from pycryo.filter._sampling import uniform
from pycryo.filter.draws import Draws, normal, student


@pytest.mark.parametrize("seed, stream, particle", [(0, 0, 0), (1, 2, 3), (2**63 + 5, 2**64 - 1, 2**40 + 7)])
def test_uniform_is_numpys_philox(seed, stream, particle):
    ours = uniform(seed, stream, np.array([particle]), 11)[0]
    # NumPy counts up before its first draw, so it never shows the block of counter 0 unless it starts at the maximum.
    start = np.array(
        [2**64 - 1, particle - 1 if particle else 2**64 - 1] + [0 if particle else 2**64 - 1] * 2, np.uint64
    )
    raw = np.random.Philox(counter=start, key=np.array([seed, stream], np.uint64)).random_raw(12)
    np.testing.assert_array_equal(ours, ((raw >> np.uint64(11)) + 0.5)[:11] * 2.0**-53)
    later = np.random.Philox(counter=[0, particle, 0, 0], key=np.array([seed, stream], np.uint64)).random_raw(4)
    np.testing.assert_array_equal(ours[4:8], ((later >> np.uint64(11)) + 0.5) * 2.0**-53)


def test_uniform_depends_on_its_arguments_only():
    ids = np.array([7, 0, 123456789, 7, 3])
    together = uniform(5, 9, ids, 10)
    for row, particle in zip(together, ids, strict=True):
        np.testing.assert_array_equal(uniform(5, 9, np.array([particle]), 10)[0], row)
        np.testing.assert_array_equal(uniform(5, 9, np.array([particle]), 3)[0], row[:3])
    assert not np.isin(uniform(6, 9, ids, 10), together).any()
    assert not np.isin(uniform(5, 10, ids, 10), together).any()


@pytest.mark.parametrize("n, count", [(0, 4), (3, 0), (0, 0)])
def test_uniform_of_nothing(n, count):
    assert uniform(1, 1, np.arange(n), count).shape == (n, count)


def test_uniform_is_uniform():
    draws = uniform(11, 12, np.arange(2000), 9)
    assert draws.min() > 0
    assert draws.max() < 1
    # One test in 1e4 would fail by chance, the seed is fixed.
    assert scipy.stats.kstest(draws.ravel(), "uniform").pvalue > 1e-4
    # Correlations of 2000 pairs have the standard deviation 2000^-1/2 = 0.022; 5 of them.
    assert np.abs(np.corrcoef(draws.T) - np.eye(9)).max() < 0.112


@pytest.mark.parametrize("count", [1, 2, 7])
def test_normal_is_normal(count):
    draws = normal(3, 4, np.arange(6000), count)
    assert draws.shape == (6000, count)
    # One test in 1e4 would fail by chance, the seed is fixed.
    assert scipy.stats.kstest(draws.ravel(), "norm").pvalue > 1e-4
    # Standard deviations over 6000 draws: mean 0.013, variance √2·0.013, fourth moment √96·0.013, correlation 0.013.
    for power, expected, error in ((1, 0, 1), (2, 1, 2**0.5), (4, 3, 96**0.5)):
        np.testing.assert_allclose((draws**power).mean(axis=0), expected, atol=5 * error * 0.013)
    if count > 1:
        assert np.abs(np.corrcoef(draws.T) - np.eye(count)).max() < 5 * 0.013


@pytest.mark.parametrize("count", [1, 2, 7])
def test_normal_of_uniform_draws(count):
    ids, pairs = np.array([5, 0, 2**40]), (count + 1) // 2
    u = uniform(3, 4, ids, 2 * pairs)
    radius, angle = np.sqrt(-2 * np.log(u[:, :pairs])), 2 * pi * u[:, pairs:]
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :count]
    np.testing.assert_allclose(normal(3, 4, ids, count), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count, dimension", [(1, 1), (5, 2), (6, 3), (0, 3)])
def test_student_of_normal_draws(count, dimension, threads):
    ids = np.array([5, 0, 2**40, 7])
    u = uniform(3, 9, ids, 2 * count)
    chi_square = -2 * np.log(u[:, :count] * u[:, count:])
    expected = normal(3, 4, ids, count * dimension).reshape(4, count, dimension) * np.sqrt(4 / chi_square)[..., None]
    np.testing.assert_allclose(_sampling.student(3, 4, 9, ids, count, dimension, threads), expected, rtol=1e-12)


@pytest.mark.parametrize("dimension", [2, 3])
def test_student_is_students(dimension):
    draws = student(Draws(3, 5, np.arange(2000)), 5, dimension)
    assert draws.shape == (2000, 5, dimension)
    # Every component is Student t; |x|²/d is F distributed; the direction is uniform. One in 1e4 by chance.
    for component in np.moveaxis(draws, -1, 0):
        assert scipy.stats.kstest(component.ravel(), "t", args=(4,)).pvalue > 1e-4
    square = np.square(draws).sum(-1)
    assert scipy.stats.kstest(square.ravel() / dimension, "f", args=(dimension, 4)).pvalue > 1e-4
    direction = draws / np.sqrt(square)[..., None]
    if dimension == 3:
        assert scipy.stats.kstest(direction[..., 2].ravel(), "uniform", args=(-1, 2)).pvalue > 1e-4
    azimuth = np.arctan2(direction[..., 1], direction[..., 0])
    assert scipy.stats.kstest(azimuth.ravel(), "uniform", args=(-pi, 2 * pi)).pvalue > 1e-4
    # The five draws of an image have nothing in common; of 2000 pairs 2000^-1/2 = 0.022.
    assert np.abs(np.corrcoef(np.log(square).T) - np.eye(5)).max() < 5 * 0.022


@pytest.mark.parametrize("draw", [lambda ids: normal(1, 2, ids, 9), lambda ids: student(Draws(1, 2, ids), 9, 3)])
def test_draws_depend_on_the_particle_only(draw):
    ids = np.arange(100, 117)
    together = draw(ids)
    for i in range(len(ids)):
        np.testing.assert_array_equal(draw(ids[i : i + 1])[0], together[i])
