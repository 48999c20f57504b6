"""Images to Fourier samples: the background's mean is taken off, the centre pixel becomes the origin."""

from __future__ import annotations

import numpy as np
import pytest

from pycryo.refinement.data._background import without_background
from pycryo.refinement.data.prepare import transform


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
