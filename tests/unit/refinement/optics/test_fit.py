"""Fits of phases and magnification from sums, against what the sums were made with."""

from __future__ import annotations

import numpy as np
import pytest

from pycryo.kernels.pixels import half_plane
from pycryo.refinement.optics.fit import even_basis, fit_even, fit_magnification, fit_odd, odd_basis

STEP = 1 / 150  # 1/Å per Fourier px: 100 px of 1.5 Å


@pytest.fixture(scope="module")
def plane():
    pixels = half_plane(100, 45, 1)
    x, y = STEP * pixels.kx, STEP * pixels.ky
    return x, y, 2e4 * np.exp(-np.hypot(x, y) * 25)


def test_bases_are_powers_of_the_frequency(plane, rng):
    x, y, _ = plane
    for basis, powers in ((odd_basis, [1, 1, 3, 3, 3, 3]), (even_basis, [2, 2, 2, 4, 4, 4, 4, 4, 0])):
        np.testing.assert_allclose(basis(2 * x, 2 * y), basis(x, y) * 2.0 ** np.array(powers), rtol=1e-12)
    angle = np.arctan2(y, x)
    k = np.hypot(x, y)
    threefold = np.stack([np.sin(3 * angle) * k**3, np.cos(3 * angle) * k**3], 1)
    np.testing.assert_allclose(odd_basis(x, y)[:, 4:], threefold, atol=1e-15)
    waves = [1, np.cos(2 * angle), np.sin(2 * angle), np.cos(4 * angle), np.sin(4 * angle)]
    np.testing.assert_allclose(even_basis(x, y)[:, 3:8], np.stack([w * k**4 for w in waves], 1), atol=1e-15)


def test_odd_phases_beyond_a_turn_are_found(plane, rng):
    """Coma of 9 rad at the edge wraps; the errors are those that the scatter has."""
    x, y, information = plane
    true = np.array([3.0, -2.0, 250.0, -120.0, 60.0, 90.0])
    assert np.abs(odd_basis(x, y) @ true).max() > 2 * np.pi
    found = []
    for _ in range(200):
        noise = rng.standard_normal((2, len(x))) * np.sqrt(information)
        product = information * np.exp(1j * (odd_basis(x, y) @ true)) + noise[0] + 1j * noise[1]
        found.append(fit_odd(x, y, product, information))
    deviation = np.array([each.value for each in found]) - true
    # Without the reference's noise, which the errors allow for; 200 draws tell them to 5 %.
    expected = found[0].error / np.sqrt(1.5)
    np.testing.assert_allclose(deviation.std(axis=0), expected, rtol=0.2)
    assert (np.abs(deviation.mean(axis=0)) < 4 * expected / np.sqrt(200)).all()


def test_even_phases_are_found(plane, rng):
    x, y, power = plane
    true = np.array([5.0, -3.0, 4.0, 60.0, -20.0, 30.0, 25.0, -45.0, 0.0])
    epsilon = even_basis(x, y) @ true
    sums, n = np.zeros((5, len(x))), 60
    for chi in 500 * rng.uniform(1, 2, (n, 1)) * (x * x + y * y) + 0.1:
        model = power / n  # |P|²/σ² of each image
        product = model * np.sin(chi - epsilon) + np.sqrt(model) * rng.standard_normal(len(x))
        sums += np.sin(chi) * product, np.cos(chi) * product, model, np.cos(2 * chi) * model, np.sin(2 * chi) * model
    found = fit_even(x, y, *sums)
    assert (np.abs(found.value - true) <= 4 * found.error).all()
    assert found.chi_square(slice(3, 8)) > 100


def test_nothing_is_found_in_noise(plane, rng):
    x, y, information = plane
    squares = []
    for _ in range(200):
        noise = rng.standard_normal((2, len(x))) * np.sqrt(information)
        squares.append(fit_odd(x, y, information + noise[0] + 1j * noise[1], information).chi_square(slice(4, 6)))
    # χ² of two, less as the errors allow for the reference's noise.
    assert 0.7 < 1.5 * np.mean(squares) / 2 < 1.3


def test_magnification_is_the_solution_of_its_equations(rng):
    matrix = rng.standard_normal((3, 3))
    hessian, true = matrix @ matrix.T + np.eye(3), np.array([0.01, -0.002, 0.003])
    found = fit_magnification(hessian @ true, hessian)
    np.testing.assert_allclose(found.value, true, rtol=1e-9)
    np.testing.assert_allclose(found.covariance, 1.5 * np.linalg.inv(hessian), rtol=1e-9)
