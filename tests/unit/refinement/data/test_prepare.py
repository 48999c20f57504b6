"""Images to Fourier samples: the background's mean is taken off, the centre pixel becomes the origin."""

from __future__ import annotations

import numpy as np
import pytest

from pycryo.kernels.pixels import half_plane
from pycryo.refinement.data._background import without_background
from pycryo.refinement.data.prepare import particle_power, samples_of, transform, weigh


def expected(images, radius):
    """The same in float64."""
    box = images.shape[-1]
    line = np.arange(box) - box // 2
    around = np.hypot(line[:, None], line) > radius
    mean = images[:, around if around.any() else ~around].mean(axis=1, dtype=np.float64)
    return np.fft.rfft2(np.fft.ifftshift(images - mean[:, None, None], axes=(1, 2)))


@pytest.mark.parametrize("box", [1, 2, 3, 7, 8, 33, 64])
@pytest.mark.parametrize("share", [0.0, 0.4, 2.0])
def test_transform_equals_that_of_numpy(box, share, rng):
    images = (rng.standard_normal((3, box, box)) + 5).astype(np.float32)
    result = transform(images, share * box)
    # Of the mean, 5, as float32, times box²; the rest is less.
    np.testing.assert_allclose(result, expected(images, share * box), atol=4e-7 * box * box + 1e-6, rtol=0)


def test_images_of_any_layout(rng):
    images = rng.standard_normal((4, 16, 16)).astype(np.float32)
    np.testing.assert_array_equal(transform(images[::2], 6.0), transform(images[::2].copy(), 6.0))


def test_threads_change_no_bit(rng):
    images, around = rng.standard_normal((9, 24, 24)).astype(np.float32), np.arange(77, dtype=np.int32)
    np.testing.assert_array_equal(without_background(images, around, 3), without_background(images, around, 1))


@pytest.mark.parametrize("shape, around", [((2, 4, 5), [0]), ((2, 4, 4), []), ((2, 4, 4), [16]), ((2, 4, 4), [-1])])
def test_wrong_shapes_and_places_are_refused(shape, around):
    with pytest.raises(ValueError, match="expected square images and pixels within, got 4 x"):
        without_background(np.zeros(shape, np.float32), np.array(around, np.int32), 1)


def test_samples_of_many_images_are_those_of_each(monkeypatch, rng):
    monkeypatch.setattr("pycryo.refinement.data.prepare._CHUNK", 2 * 16**2)
    images, pixels = rng.standard_normal((7, 16, 16)).astype(np.float32), half_plane(16, 6)
    factor = rng.random(7).astype(np.float32)
    found = samples_of(images, 6.0, pixels, factor)
    whole = pixels.take(transform(images, 6.0))
    np.testing.assert_array_equal(found, whole * factor[:, None, None])
    np.testing.assert_array_equal(samples_of(images, 6.0, pixels), whole)
    alone = [particle_power(images[i : i + 1], 5.0, 9)[0] for i in range(7)]
    np.testing.assert_array_equal(particle_power(images, 5.0, 9), alone)


@pytest.mark.parametrize("is_premultiplied", [False, True])
@pytest.mark.parametrize("has_ctf", [False, True])
def test_weights_equal_those_of_numpy(is_premultiplied, has_ctf, rng):
    pixels = half_plane(12, 5)
    samples = rng.standard_normal((4, 2, len(pixels))).astype(np.float32)
    transfer = rng.uniform(-1, 1, (4, len(pixels))).astype(np.float32) if has_ctf else None
    noise, scale = rng.uniform(0.5, 2, (4, 7)), rng.uniform(0.5, 2, 4)
    ctf, variance = 1.0 if transfer is None else transfer.astype(np.float64), noise[:, pixels.shell]
    factor = scale[:, None] / variance * (1 if is_premultiplied else ctf)
    expected = samples * np.broadcast_to(factor, variance.shape)[:, None], scale[:, None] ** 2 * ctf**2 / variance
    target = weigh(samples, pixels, transfer, noise, scale, is_premultiplied=is_premultiplied)
    assert target.is_premultiplied == is_premultiplied
    for found, each in zip((target.images, target.weights), expected, strict=True):
        np.testing.assert_allclose(found, each, rtol=1e-6)
