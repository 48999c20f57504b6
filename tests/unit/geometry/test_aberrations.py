"""Aberrations and magnification against formulas written otherwise, and against known orders."""

import numpy as np
import pytest
from scipy.special import eval_jacobi

from pycryo.geometry.aberrations import (
    even_order,
    even_sum,
    magnified,
    magnified_defocus,
    odd_order,
    odd_sum,
    tilt_phase,
    zernike,
)
from pycryo.geometry.rotations import euler_to_matrix
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.reference.projector import fourier_volume, project_slices

ORDERS = [(n, m) for n in range(9) for m in range(-n, n + 1, 2)]


def polar_zernike(n, m, x, y):
    """R is (-1)^((n-m)/2) ρ^m P^(m,0)(1 - 2ρ²), P of Jacobi."""
    rho, angle = np.hypot(x, y), np.arctan2(y, x)
    order = abs(m)
    half = (n - order) // 2
    radial = (-1) ** half * rho**order * eval_jacobi(half, order, 0, 1 - 2 * rho**2)
    return radial * (np.cos(m * angle) if m >= 0 else np.sin(order * angle))


@pytest.mark.parametrize("n, m", ORDERS)
def test_zernike_is_the_polar_form(n, m, rng):
    x, y = rng.uniform(-0.8, 0.8, (2, 200))  # ρ beyond 1 too
    expected = polar_zernike(n, m, x, y)
    # Terms of R up to 1e4 at ρ = 1.1 cancel.
    np.testing.assert_allclose(zernike(n, m, x, y), expected, atol=1e-10, rtol=1e-10)


def test_zernike_of_low_orders_are_known():
    x, y = np.array([0.3]), np.array([0.2])
    square = 0.3**2 + 0.2**2
    for (n, m), expected in {
        (0, 0): 1.0,
        (1, -1): 0.2,
        (1, 1): 0.3,
        (2, -2): 2 * 0.3 * 0.2,
        (2, 0): 2 * square - 1,
        (2, 2): 0.3**2 - 0.2**2,
        (3, -3): 3 * 0.3**2 * 0.2 - 0.2**3,
        (3, -1): (3 * square - 2) * 0.2,
        (3, 1): (3 * square - 2) * 0.3,
        (3, 3): 0.3**3 - 3 * 0.3 * 0.2**2,
        (4, 0): 6 * square**2 - 6 * square + 1,
    }.items():
        assert zernike(n, m, x, y)[0] == pytest.approx(expected, abs=1e-15)


def test_orders_of_the_coefficients():
    odd = [(1, -1), (1, 1), (3, -3), (3, -1), (3, 1), (3, 3), (5, -5), (5, -3), (5, -1), (5, 1)]
    even = [(0, 0), (2, -2), (2, 0), (2, 2), (4, -4), (4, -2), (4, 0), (4, 2), (4, 4), (6, -6)]
    assert [odd_order(i) for i in range(10)] == odd
    assert [even_order(i) for i in range(10)] == even


@pytest.mark.parametrize("total, order", [(odd_sum, odd_order), (even_sum, even_order)])
def test_sums_take_the_coefficients_in_order(total, order, rng):
    x, y = rng.uniform(-0.5, 0.5, (2, 50))
    coefficients = rng.normal(size=12)
    expected = sum(c * polar_zernike(*order(i), x, y) for i, c in enumerate(coefficients))
    np.testing.assert_allclose(total(tuple(coefficients), x, y), expected, atol=1e-12)
    np.testing.assert_array_equal(total((), x, y), np.zeros(50))


def test_sums_are_odd_and_even(rng):
    x, y = rng.uniform(-0.5, 0.5, (2, 50))
    coefficients = rng.normal(size=9)
    np.testing.assert_allclose(odd_sum(coefficients, -x, -y), -odd_sum(coefficients, x, y), atol=1e-12)
    np.testing.assert_allclose(even_sum(coefficients, -x, -y), even_sum(coefficients, x, y), atol=1e-12)


def test_tilt_is_coma_and_its_part_of_order_1(rng):
    """ρ² x is (Z(3, 1) + 2 Z(1, 1)) / 3, ρ² y the same of m = -1."""
    x, y = rng.uniform(-0.5, 0.5, (2, 50))
    tilt, cs, wavelength = np.array([0.7, -1.3]), 2.7, 0.0197
    strength = -2 * np.pi * cs * 1e7 * wavelength**2 * 1e-3
    along_x, along_y = strength * tilt / 3
    coefficients = [2 * along_y, 2 * along_x, 0, along_y, along_x, 0]
    found = tilt_phase(tilt, cs, wavelength, x, y)
    np.testing.assert_allclose(found, odd_sum(coefficients, x, y), rtol=1e-12, atol=1e-12)
    # By hand: 1 mrad along x, 2.7 mm, 0.0197 Å at x = 0.25/Å is -2π · 2.7e7 · 0.0197² · 0.25³ · 1e-3.
    one = tilt_phase(np.array([1.0, 0.0]), 2.7, 0.0197, np.array([0.25]), np.array([0.0]))
    assert one[0] == pytest.approx(-1.0287, abs=1e-4)


def test_magnified_slices_are_read_at_the_magnified_frequencies(rng):
    """The twin of the projector with kx, ky replaced by M k is the twin with matrices changed by M."""
    volume = fourier_volume(rng.normal(size=(12, 12, 12)), 2, 6)
    matrices = euler_to_matrix(*rng.uniform(-180, 180, (3, 4)))
    magnification = np.array([[1.04, 0.03], [-0.02, 0.97]])
    pixels = half_plane(12, 5)
    moved = magnification @ np.stack([pixels.kx, pixels.ky])
    expected = project_slices(volume, matrices, moved[0], moved[1], 2)
    found = project_slices(volume, magnified(matrices, magnification), pixels.kx, pixels.ky, 2)
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())
    turned = project_slices(volume, magnified(matrices, magnification.T), pixels.kx, pixels.ky, 2)
    assert np.abs(turned - expected).max() > 0.01 * np.abs(expected).max()


def test_magnified_takes_one_magnification_or_one_for_each(rng):
    matrices = euler_to_matrix(*rng.uniform(-180, 180, (3, 3)))
    before = matrices.copy()
    each = np.eye(2) + rng.normal(scale=0.02, size=(3, 2, 2))
    together = magnified(matrices, each)
    for i in range(3):
        np.testing.assert_array_equal(together[i], magnified(matrices[i], each[i]))
    np.testing.assert_array_equal(matrices, before)
    np.testing.assert_array_equal(magnified(matrices, np.eye(2)), before)
    np.testing.assert_array_equal(together[:, 2], before[:, 2])


def defocus_times_square(u, v, angle, x, y):
    """Δf(θ)·|k|² of docs/conventions.md."""
    turned = np.arctan2(y, x) - np.radians(angle)
    return (u * np.cos(turned) ** 2 + v * np.sin(turned) ** 2) * (x**2 + y**2)


def test_magnified_defocus_is_that_at_the_magnified_frequency(rng):
    u, v, angle = rng.uniform(-2000, 30000, 20), rng.uniform(-2000, 30000, 20), rng.uniform(-180, 180, 20)
    magnification = np.array([[1.03, 0.02], [-0.01, 0.98]])
    found = magnified_defocus(u, v, angle, magnification)
    for k in rng.uniform(-0.5, 0.5, (30, 2)):
        expected = defocus_times_square(u, v, angle, *(magnification @ k))
        np.testing.assert_allclose(defocus_times_square(*found, *k), expected, rtol=1e-10, atol=1e-8)
