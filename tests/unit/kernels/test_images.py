"""Kernel `images` against its float64 twin."""

import numpy as np
import pytest

import pycryo
from pycryo import _core
from pycryo.kernels.images import half_planes, images
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.reference.images import images as images_twin


def tolerance(box):
    """Of images of samples with variance 1 in each part: five deviations of the errors, √log₂(box²) roundings."""
    deviation = np.sqrt(2 * np.pi * (box / 2) ** 2) / box**2
    return 5 * 6e-8 * np.sqrt(2 * np.log2(box)) * deviation


# Products of 2, 3 and 5 whose passes and last vectors differ; then boxes that have none.
@pytest.mark.parametrize("box", [2, 4, 6, 10, 16, 18, 24, 30, 32, 36, 50, 64, 90, 128, 14, 9, 15, 26])
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_equals_twin(box, share, rng):
    pixels = half_plane(box, share * box / 2)
    samples = rng.standard_normal((3, 2, len(pixels))).astype(np.float32)
    found = images(samples, pixels.kx, pixels.ky, box)
    expected = images_twin(samples.astype(float), pixels.kx, pixels.ky, box)
    np.testing.assert_allclose(found, expected, atol=tolerance(box), rtol=0)


@pytest.mark.parametrize("box, is_quick", [(2, True), (20, True), (96, True), (14, False), (15, False), (0, False)])
def test_quick_boxes(box, is_quick):
    assert _core.image_box_is_quick(box) is is_quick


@pytest.mark.parametrize("box", [20, 22])
def test_samples_in_any_order(box, rng):
    pixels = half_plane(box, box / 2)
    samples, order = rng.standard_normal((2, 2, len(pixels))).astype(np.float32), rng.permutation(len(pixels))
    found = images(samples[..., order], pixels.kx[order], pixels.ky[order], box)
    np.testing.assert_array_equal(found, images(samples, pixels.kx, pixels.ky, box))


@pytest.mark.parametrize("box", [24, 22])
def test_an_image_is_the_same_in_any_batch_and_on_any_threads(box, rng):
    pixels = half_plane(box, box / 2)
    samples = rng.standard_normal((7, 2, len(pixels))).astype(np.float32)
    together = images(samples, pixels.kx, pixels.ky, box, threads=3)
    for one, image in zip(samples, together, strict=True):
        np.testing.assert_array_equal(images(one[None], pixels.kx, pixels.ky, box, threads=1)[0], image)


def test_no_images_and_no_samples():
    pixels, none = half_plane(8, 4), np.zeros(0, np.int32)
    assert images(np.zeros((0, 2, len(pixels))), pixels.kx, pixels.ky, 8).shape == (0, 8, 8)
    np.testing.assert_array_equal(images(np.zeros((1, 2, 0)), none, none, 8), np.zeros((1, 8, 8)))


def test_into_given_memory_and_complex_samples(rng):
    pixels = half_plane(16, 8)
    samples, out = rng.standard_normal((2, 2, len(pixels))).astype(np.float32), np.empty((2, 16, 16), np.float32)
    assert images(samples[:, 0] + 1j * samples[:, 1], pixels.kx, pixels.ky, 16, out=out) is out
    np.testing.assert_array_equal(out, images(samples, pixels.kx, pixels.ky, 16))


@pytest.mark.parametrize("factors", [None, 2.0])
def test_half_planes(factors, rng):
    """Those that NumPy transforms back."""
    box = 10
    pixels = half_plane(box, 5)
    samples = rng.standard_normal((2, 2, len(pixels))).astype(np.float32)
    samples[:, 1, (pixels.kx == 0) & (pixels.ky == 0)] = 0
    scale = None if factors is None else np.full(len(pixels), factors, np.float32)
    planes = half_planes(samples, pixels.kx, pixels.ky, box, factors=scale)
    found = np.fft.fftshift(np.fft.irfft2(planes, s=(box, box)), axes=(1, 2))
    expected = (factors or 1) * images_twin(samples.astype(float), pixels.kx, pixels.ky, box)
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"samples": np.zeros((2, 2, 3))}, "kx: expected shape"),
        ({"kx": np.full(23, 4)}, "kx: element 0 is 4, expected 0 to 3"),
        ({"kx": np.full(23, -1)}, "kx: element 0 is -1, expected 0 to 3"),
        ({"ky": np.full(23, -4)}, "ky: element 0 is -4, expected -3 to 3"),
        ({"ky": np.full(23, 4)}, "ky: element 0 is 4, expected -3 to 3"),
        ({"ky": np.zeros(22)}, "ky: expected shape"),
        ({"box": 0}, "box: expected"),
    ],
)
@pytest.mark.parametrize("box", [8, 7])
def test_wrong_arguments(change, words, box):
    """Of a box that the kernel transforms, and of another one."""
    pixels = half_plane(8, 4)
    arguments = {"samples": np.zeros((2, 2, 23)), "kx": pixels.kx, "ky": pixels.ky, "box": box}
    with pytest.raises(pycryo.InputError, match=words):
        images(**arguments | change)


def test_half_planes_of_other_samples():
    pixels = half_plane(8, 4)
    with pytest.raises(pycryo.InputError, match="kx: expected shape"):
        pixels.put(np.zeros((2, 2, 3)))
    with pytest.raises(pycryo.InputError, match="samples: expected shape"):
        pixels.put(np.zeros((2, 23)))
