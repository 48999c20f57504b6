"""Kernel `shift` against its float64 twin and against a shift in real space."""

import numpy as np
import pytest

from pycryo import _core
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.reference.shift import shift as shift_twin
from pycryo.kernels.shift import shift


@pytest.mark.parametrize("box, r_high", [(16, 1), (16, 5), (32, 16), (65, 31)])
@pytest.mark.parametrize("n_image, n_shift", [(0, 1), (1, 0), (1, 1), (3, 7)])
def test_equals_twin(box, r_high, n_image, n_shift, rng):
    pixels = half_plane(box, r_high)
    images = rng.standard_normal((n_image, 2, len(pixels))).astype(np.float32)
    shifts = rng.uniform(-box, box, (n_image, n_shift, 2))
    result = shift(images, pixels.kx, pixels.ky, shifts, box)
    expected = shift_twin(images.astype(float), pixels.kx, pixels.ky, shifts, box)
    # Six float32 roundings of numbers up to |image| ~ 5.
    np.testing.assert_allclose(result, expected, atol=6 * 5 * 6e-8, rtol=0)


def test_moves_the_image_back(rng):
    box = 32
    pixels = half_plane(box, box // 2 - 1)
    image = rng.standard_normal((box, box))
    moved = np.roll(image, (3, -5), axis=(0, 1))  # by (x, y) = (-5, 3)
    split = lambda a: pixels.take(np.fft.rfft2(a)[None])  # noqa: E731
    result = shift(split(moved), pixels.kx, pixels.ky, np.array([[[-5.0, 3.0]]]), box)
    # rfft2 of 1024 unit normals: values ~ 32, float32 relative 6e-8, six roundings.
    np.testing.assert_allclose(result[:, 0], split(image), atol=32 * 5 * 6 * 6e-8)


def test_samples_in_any_order(rng):
    """Rows that begin anywhere, negative kx, and samples one by one: each depends on nothing but itself."""
    kx, ky = (k.reshape(-1).astype(np.int32) for k in np.meshgrid(np.arange(-20, 21), np.arange(-3, 4)))
    images, shifts = rng.standard_normal((2, 2, len(kx))).astype(np.float32), rng.uniform(-5, 5, (2, 2, 2))
    whole = shift(images, kx, ky, shifts, 64)
    # As in test_equals_twin.
    np.testing.assert_allclose(whole, shift_twin(images.astype(float), kx, ky, shifts, 64), atol=6 * 5 * 6e-8, rtol=0)
    for order in (rng.permutation(len(kx)), np.flatnonzero(kx % 17 > 0)):
        np.testing.assert_array_equal(shift(images[..., order], kx[order], ky[order], shifts, 64), whole[..., order])


def test_long_ramps_keep_their_accuracy(rng):
    """Powers of one number, made by doubling: 4000 of them."""
    kx = np.arange(-4000, 4001, dtype=np.int32)
    images = np.ones((1, 2, len(kx)), np.float32)
    shifts = np.array([[[1234.567, -0.3]]])
    result = shift(images, kx, kx[::-1].copy(), shifts, 8001)
    expected = shift_twin(images.astype(float), kx, kx[::-1], shifts, 8001)
    np.testing.assert_allclose(result, expected, atol=6 * 2 * 6e-8, rtol=0)


def test_threads_change_no_bit(rng):
    pixels = half_plane(32, 12)
    images = rng.standard_normal((5, 2, len(pixels))).astype(np.float32)
    shifts = rng.uniform(-5, 5, (5, 3, 2))
    one, three = (shift(images, pixels.kx, pixels.ky, shifts, 32, threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one, three)


def test_errors_name_argument_and_shape(rng):
    pixels = half_plane(16, 5)
    images = np.zeros((2, 2, len(pixels)), np.float32)
    with pytest.raises(ValueError, match=r"shifts: expected shape \(2, any, 2\), got \(3, 1, 2\)"):
        shift(images, pixels.kx, pixels.ky, np.zeros((3, 1, 2)), 16)
    with pytest.raises(TypeError):
        _core.shift(images.astype(float), pixels.kx, pixels.ky, np.zeros((2, 1, 2)), 16.0, 5, images, 1)
