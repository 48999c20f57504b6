"""The adjoint of a map's padded transform: against its sum in float64, and as a pair with `fourier_volume`."""

import numpy as np
import pytest

import pycryo
from pycryo.kernels import adjoint_volume, fourier_volume


@pytest.mark.parametrize(("box", "padding", "r_high"), [(8, 2, 4), (9, 1, 4.5), (8, 1, 4), (6, 3, 2.0)])
def test_pair(box, padding, r_high, rng):
    """Σ m·F*(w) = Re Σ conj(F m)·w, also where the radius reaches around the padded box."""
    density = rng.normal(size=(box, box, box))
    transform = fourier_volume(density, padding=padding, r_high=r_high).dense.astype(complex)
    other = rng.normal(size=transform.shape) + 1j * rng.normal(size=transform.shape)
    left, right = (transform.conj() * other).real, density * adjoint_volume(other, box, padding=padding)
    # The transform is made of float32 numbers: 2⁻²⁴ of each, added with random signs.
    tolerance = 10 * 2.0**-24 * np.sqrt(np.sum(np.square(np.abs(transform * other))))
    assert left.sum() == pytest.approx(right.sum(), abs=tolerance)


def test_sum_in_float64(rng):
    """Re Σ_k w(k)·exp(+2πi k·(r - N//2)/P) / sinc²."""
    box, padding, radius = 6, 2, 3
    dense = rng.normal(size=(7, 7, 4)) + 1j * rng.normal(size=(7, 7, 4))
    at, full, half = np.arange(box) - box // 2, np.arange(-radius, radius + 1), np.arange(radius + 1)
    wave = [np.exp(2j * np.pi * np.outer(at, k) / (padding * box)) for k in (full, full, half)]
    expected = np.einsum("zyx,az,by,cx->abc", dense, *wave).real
    correction = 1 / np.sinc(at / (padding * box)) ** 2
    expected *= correction[:, None, None] * correction[:, None] * correction
    np.testing.assert_allclose(adjoint_volume(dense, box, padding=padding), expected, atol=1e-12)
    np.testing.assert_array_equal(
        adjoint_volume(dense, box, padding=padding, threads=1), adjoint_volume(dense, box, padding=padding, threads=3)
    )


def test_wrong_arguments():
    for dense, box, words in (
        (np.zeros((7, 7, 5)), 8, r"dense: expected shape \(2r \+ 1, 2r \+ 1, r \+ 1\), got \(7, 7, 5\)"),
        (np.zeros(3), 8, "dense: expected shape"),
        (0.0, 8, "dense: expected shape"),
        ("abc", 8, "dense: expected an array of complex numbers, got str"),
        (np.zeros((15, 15, 8)), 4, "expected a padded box of at least 12 px"),
    ):
        with pytest.raises(pycryo.InputError, match=words):
            adjoint_volume(dense, box)
