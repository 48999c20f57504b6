"""The transform between its samples against the sum that defines it."""

from __future__ import annotations

import numpy as np
import pytest

from pycryo.maps.spline_transform import SplineTransform


def twin(data, at):
    """The definition and its slopes, in float64."""
    box = len(data)
    z, y, x = (np.indices(data.shape) - box // 2).reshape(3, -1)
    u = np.stack([x, y, z], axis=1)
    waves = np.exp(-2j * np.pi / box * (at @ u.T)) * data.ravel()
    return waves.sum(axis=1), -2j * np.pi / box * waves @ u


def lump(rng, box):
    """Noise within half of the box."""
    z, y, x = np.indices((box,) * 3) - box // 2
    return rng.standard_normal((box,) * 3) * (x**2 + y**2 + z**2 < (box / 4) ** 2)


@pytest.mark.parametrize("box", [15, 16])
def test_between_the_samples(box, rng):
    data, r_high = lump(rng, box), 5.0
    at = rng.standard_normal((200, 3))
    at *= r_high * rng.random((200, 1)) / np.linalg.norm(at, axis=1, keepdims=True)
    at[0] = [0, 0, r_high]
    values, slopes = SplineTransform(data, r_high).read(at)
    expected, expected_slopes = twin(data, at)
    # Cubic splines: an error of the fourth power of 1/12 wave per sample, the slopes' of the third.
    np.testing.assert_allclose(values, expected, atol=1e-3 * np.abs(expected).max())
    np.testing.assert_allclose(slopes, expected_slopes, atol=4e-3 * np.abs(expected_slopes).max())


@pytest.mark.parametrize("box", [15, 16])
def test_samples_are_exact(box, rng):
    data = rng.standard_normal((box,) * 3)
    at = np.array([[0, 0, 0], [1, -2, 3], [-4, 0, 1 / 3], [2 / 3, -1 / 3, -5]])
    values, _ = SplineTransform(data, 6.0).read(at)
    np.testing.assert_allclose(values, twin(data, at)[0], atol=1e-9 * box**1.5)


def test_no_frequencies(rng):
    values, slopes = SplineTransform(rng.standard_normal((8, 8, 8)), 0.5).read(np.zeros((0, 3)))
    assert values.shape == (0,)
    assert slopes.shape == (0, 3)
