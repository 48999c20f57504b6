"""Kernel `defocus_scores` against its float64 twin, and against images of a known defocus."""

import numpy as np
import pytest

from pycryo.kernels.defocus_scores import defocus_scores, defocus_sums
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.reference.ctf import ctf
from pycryo.kernels.reference.defocus_scores import defocus_scores as twin


def problem(rng, n_image, n_pose, n_pixel, n_bin=7):
    """Noise of unit size; the arguments of `defocus_sums`."""
    images, slices = rng.standard_normal((2, n_image, n_pose, 2, n_pixel), dtype=np.float32)
    weights = rng.uniform(0, 1, (n_image, n_pixel)).astype(np.float32)
    angle = rng.uniform(0, 7, (n_image, n_pixel))
    bin = rng.integers(0, n_bin, n_pixel).astype(np.int32)
    return images, slices, weights, np.sin(angle).astype(np.float32), np.cos(angle).astype(np.float32), bin


def check(arguments, n_bin, n_delta, rng):
    *samples, bin = arguments
    n_image = len(samples[0])
    phase = rng.uniform(0, 0.01, (n_image, n_bin))
    first, step = rng.uniform(-1000, 0, n_image), rng.uniform(10, 100, n_image)
    result = defocus_scores(defocus_sums(*arguments, n_bin), phase, first, step, n_delta)
    delta = first[:, None] + step[:, None] * np.arange(n_delta)
    expected = twin(*(each.astype(float) for each in samples), phase[:, None, bin] * delta[:, :, None])
    # Doubles but for the inputs: sums of up to 10^3 terms of size 10, their waves turned on by up to 40 steps.
    np.testing.assert_allclose(result, expected, atol=40 * 1e4 * 1e-15, rtol=0)


@pytest.mark.parametrize("n_pixel", [0, 1, 3, 4, 127, 128, 129, 500])
def test_equals_twin_for_any_number_of_samples(n_pixel, rng):
    check(problem(rng, 2, 3, n_pixel), 7, 5, rng)


@pytest.mark.parametrize("n_image", [0, 1, 3])
@pytest.mark.parametrize("n_pose", [0, 1, 4])
@pytest.mark.parametrize("n_delta", [0, 1, 2, 33])
def test_equals_twin_for_any_size(n_image, n_pose, n_delta, rng):
    check(problem(rng, n_image, n_pose, 40), 9, n_delta, rng)


def test_neighbours_and_threads_change_no_bit(rng):
    arguments = problem(rng, 4, 3, 300)
    phase, first, step = rng.uniform(0, 0.01, (4, 7)), rng.uniform(-500, 0, 4), np.full(4, 30.0)
    sums = defocus_sums(*arguments, 7, threads=1)
    scores = defocus_scores(sums, phase, first, step, 20, threads=1)
    *samples, bin = arguments
    for threads in (2, 5):
        np.testing.assert_array_equal(defocus_sums(*arguments, 7, threads=threads), sums)
        np.testing.assert_array_equal(defocus_scores(sums, phase, first, step, 20, threads=threads), scores)
    alone = defocus_sums(*(np.ascontiguousarray(each[2:3]) for each in samples), bin, 7)
    np.testing.assert_array_equal(alone[0], sums[2])
    np.testing.assert_array_equal(defocus_scores(alone, phase[2:3], first[2:3], step[2:3], 20)[0], scores[2])


def test_the_true_defocus_scores_best(rng):
    """Images of astigmatic CTFs: the peak is where they were made, to the last step."""
    box, pixel = 64, 1.1
    pixels = half_plane(box, 30, 1)
    optics = {"frequency_step": 1 / (box * pixel), "voltage": 300.0, "spherical_aberration": 2.7}
    optics |= {"amplitude_contrast": 0.1, "defocus_angle": np.array([30.0, -70.0])}
    given, true = np.array([9000.0, 16000.0]), np.array([400.0, -250.0])

    def transfer(defocus, phase_shift=0.0):
        return ctf(
            pixels.kx, pixels.ky, defocus_u=defocus + 150, defocus_v=defocus - 150, phase_shift=phase_shift, **optics
        )

    slices = rng.standard_normal((2, 1, 2, len(pixels)), dtype=np.float32)
    images = (transfer(given + true)[:, None, None] * slices).astype(np.float32)
    radius2, bin = np.unique(pixels.kx**2 + pixels.ky**2, return_inverse=True)
    ones = np.ones((2, len(pixels)), np.float32)
    sine, cosine = (transfer(given, shift).astype(np.float32) for shift in (0.0, 90.0))
    sums = defocus_sums(images, slices, ones, sine, cosine, bin.astype(np.int32), len(radius2))
    wavelength = 0.0196875  # Å, 300 kV
    phase = np.tile(np.pi * wavelength * radius2 / (box * pixel) ** 2, (2, 1))
    scores = defocus_scores(sums, phase, np.full(2, -1000.0), np.full(2, 50.0), 41)[:, 0]
    np.testing.assert_array_equal(-1000 + 50 * scores.argmax(axis=1), true)
    # Of an image without noise the score is ½ Σ CTF²|S|², but for the part that does not vary.
    constant = 0.25 * (np.square(sine) + np.square(cosine)) * np.square(slices[:, 0]).sum(1)
    best = 0.5 * np.square(images[:, 0]).sum(axis=(1, 2)) + constant.sum(axis=1)
    # Float32 images, and a wavelength of six digits: at the peak its error counts in second order.
    np.testing.assert_allclose(scores.max(axis=1), best, rtol=1e-5)


def test_errors_name_argument_and_shape(rng):
    images, slices, weights, sine, cosine, bin = problem(rng, 2, 3, 20)
    with pytest.raises(ValueError, match=r"slices: expected shape \(2, 3, 2, 20\), got \(2, 2, 2, 20\)"):
        defocus_sums(images, slices[:, :2].copy(), weights, sine, cosine, bin, 7)
    with pytest.raises(ValueError, match="bin: element"):
        defocus_sums(images, slices, weights, sine, cosine, bin, 2)
    with pytest.raises(ValueError, match=r"phase: expected shape \(2, 7\), got \(2, 6\)"):
        defocus_scores(np.zeros((2, 3, 7, 4)), np.zeros((2, 6)), np.zeros(2), np.ones(2), 3)
