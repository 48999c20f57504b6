"""The signal-to-noise ratio that F and T tell, on voxels that are drawn."""

import numpy as np
import pytest

from pycryo.model.measured_ssnr import measured_ssnr

N_BLOCK, N_SHELL, N_VOXEL, DEFAULT, LIMITS = 8, 24, 3000, 60.0, (1.0, 300.0)


def drawn(rng, signal, noise, evenness):
    """Sums of voxels F = T V + √(N T) · noise, T of a gamma distribution of the shape `evenness`, mean 2."""
    sums = np.zeros((6, N_BLOCK, N_SHELL))
    for shell in range(N_SHELL):
        shape = N_BLOCK, N_VOXEL
        weight = rng.gamma(evenness, 2 / evenness, shape)
        part = rng.standard_normal((4, *shape)) / np.sqrt(2)
        density = np.sqrt(signal[shell]) * (part[0] + 1j * part[1])
        value = weight * density + np.sqrt(noise[shell] * weight) * (part[2] + 1j * part[3])
        power = np.abs(value) ** 2
        for number, each in enumerate([np.ones(shape), weight, weight**2, weight**3, power, power * weight]):
            sums[number, :, shell] = each.sum(axis=1)
    return sums


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_ratio_of_signal_and_noise(scale, rng):
    expected = np.geomspace(10, 1.5, N_SHELL)
    sums = drawn(rng, scale * expected / 2, np.full(N_SHELL, scale), 1.5)
    found = measured_ssnr(sums, DEFAULT, LIMITS)
    # Two standard errors nearer to the default; the last shells have the ratio of the last that can be told.
    inner = slice(2, -3)
    assert np.all(found[inner] > 0.85 * expected[inner])
    assert np.all(found[inner] < 3 * expected[inner])
    np.testing.assert_array_equal(found[-3:], found[-4])


def test_limits(rng):
    signal = np.full(N_SHELL, 1.0)
    np.testing.assert_array_equal(measured_ssnr(drawn(rng, signal, np.full(N_SHELL, 50.0), 1.5), DEFAULT, LIMITS), 1.0)
    without = measured_ssnr(drawn(rng, signal, np.zeros(N_SHELL), 1.5), DEFAULT, LIMITS)
    assert np.all((without >= DEFAULT) & (without <= 300))


def test_even_weights_are_within_the_limits(rng):
    """Nothing can be told, and nothing depends on it."""
    found = measured_ssnr(drawn(rng, np.full(N_SHELL, 1.0), np.full(N_SHELL, 2.0), 1e6), DEFAULT, LIMITS)
    assert np.all((found >= 1) & (found <= 300))


def test_shells_without_voxels_or_weights(rng):
    sums = drawn(rng, np.full(N_SHELL, 4.0), np.full(N_SHELL, 1.0), 1.5)
    sums[:, :, -4:] = 0
    sums[1:, :, :2] = 0
    found = measured_ssnr(sums, DEFAULT, LIMITS)
    np.testing.assert_array_equal(found[[0, 1, -4, -3, -2, -1]], DEFAULT)
    assert np.all(found[6:-8] < DEFAULT)
    np.testing.assert_array_equal(measured_ssnr(np.zeros_like(sums), DEFAULT, LIMITS), DEFAULT)
    np.testing.assert_array_equal(measured_ssnr(sums[:, :1], DEFAULT, LIMITS), DEFAULT)
