"""Kernel `compare_local` against its float64 twin, and its invariances."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pycryo.kernels.compare_local import compare_local
from pycryo.kernels.pixels import Pixels, half_plane
from pycryo.kernels.projector import FourierVolume, fourier_volume, project_slices, volume_radius
from pycryo.kernels.reference.compare_local import compare_local as twin

BOX = 48


def problem(rng, n_image, n_rotation, n_shift, n_pixel, r_high=10):
    """Noise of unit size everywhere; samples drawn with repetition."""
    radius = volume_radius(2, r_high)
    data = rng.standard_normal((2 * radius + 1, 2 * radius + 1, radius + 1, 2), dtype=np.float32)
    data[:, :, 0] += data[::-1, ::-1, 0] * [1, -1]  # Hermitian, as a transform is
    pixels = half_plane(BOX, r_high)
    pick = np.sort(rng.integers(0, len(pixels), n_pixel))
    n = n_image * n_rotation
    rotations = Rotation.from_quat(rng.standard_normal((n, 4))).as_matrix() if n else np.empty((0, 3, 3))
    return (
        FourierVolume(data, BOX, 2, r_high),
        rotations.reshape(n_image, n_rotation, 3, 3),
        rng.uniform(-4, 4, (n_image, n_shift, 2)),
        rng.standard_normal((n_image, 2, n_pixel), dtype=np.float32),
        rng.uniform(0, 1, (n_image, n_pixel)).astype(np.float32),
        Pixels(BOX, pixels.kx[pick], pixels.ky[pick], pixels.shell[pick]),
    )


def tolerance(n_pixel):
    # Each of the n terms (size ~ 1) carries the projector's error, up to 3·21·3·6e-8 px × a gradient of 4, and a few
    # roundings; as random signs add: √(2n) of it, and twice that for the largest. Sums in float of 64 terms, then the
    # result's rounding: 6e-8·|score| ~ 6e-8·2n.
    n = max(1, n_pixel)
    return 4 * (2 * n) ** 0.5 * (3 * 21 * 3 * 4 + 64) * 6e-8 + 2 * n * 6e-8


def check(arguments):
    volume, rotations, shifts, images, weights, pixels = arguments
    result = compare_local(*arguments)
    values = volume.data[..., 0].astype(float) + 1j * volume.data[..., 1]
    expected = twin(values, rotations, shifts, images.astype(float), weights.astype(float), pixels, step=2.0)
    np.testing.assert_allclose(result, expected, atol=tolerance(len(pixels)), rtol=0)


@pytest.mark.parametrize("n_pixel", [0, 1, 3, 4, 8, 15, 16, 17, 256, 511, 512, 513, 1100])
def test_equals_twin_for_any_number_of_samples(n_pixel, rng):
    check(problem(rng, 2, 2, 3, n_pixel))


@pytest.mark.parametrize("n_rotation", [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 25])
@pytest.mark.parametrize("n_shift", [0, 1, 2, 3, 4, 5, 9])
def test_equals_twin_for_any_tile(n_rotation, n_shift, rng):
    check(problem(rng, 1, n_rotation, n_shift, 40))


@pytest.mark.parametrize("n_image", [0, 1, 5])
def test_equals_twin_for_any_number_of_images(n_image, rng):
    check(problem(rng, n_image, 3, 2, 40))


def test_shifts_of_many_boxes_keep_their_phase(rng):
    volume, rotations, shifts, *rest = problem(rng, 2, 3, 6, 100)
    check((volume, rotations, 250 * shifts, *rest))


def test_scale_sets_the_step(rng):
    volume, rotations, shifts, images, weights, pixels = problem(rng, 2, 3, 2, 40)
    twice = FourierVolume(volume.data, BOX, 1, 2 * volume.r_high)
    expected = compare_local(volume, rotations, shifts, images, weights, pixels)
    result = compare_local(twice, rotations, shifts, images, weights, pixels, scale=2.0)
    np.testing.assert_array_equal(result, expected)


def test_each_slice_is_read_from_the_volume_of_its_class(rng):
    first, rotations, *rest = problem(rng, 3, 7, 4, 60)
    second = problem(rng, 1, 1, 1, 1)[0]
    classes = rng.integers(0, 2, (3, 7)).astype(np.int32)
    both = compare_local([first, second], rotations, *rest, classes=classes)
    apart = [compare_local(volume, rotations, *rest) for volume in (first, second)]
    np.testing.assert_array_equal(both, np.where(classes[..., None] == 0, *apart))
    with pytest.raises(ValueError, match=r"classes: element \d+ is 2, expected 0 to 1"):
        compare_local([first, second], rotations, *rest, classes=classes + 1)


def test_a_score_depends_on_nothing_else(rng):
    """Threads, other images, orientations, shifts, and the place among them change no bit."""
    volume, rotations, shifts, images, weights, pixels = problem(rng, 4, 17, 7, 700)
    whole = compare_local(volume, rotations, shifts, images, weights, pixels, threads=1)
    for threads in (2, 3, 8):
        many = compare_local(volume, rotations, shifts, images, weights, pixels, threads=threads)
        np.testing.assert_array_equal(many, whole)
    for i, r, t in ((0, 0, 0), (3, 16, 6), (1, 5, 4), (2, 12, 3)):
        one = (slice(i, i + 1), slice(r, r + 1)), (slice(i, i + 1), slice(t, t + 1)), slice(i, i + 1)
        alone = compare_local(volume, rotations[one[0]], shifts[one[1]], images[one[2]], weights[one[2]], pixels)
        assert alone[0, 0, 0] == whole[i, r, t]


def test_some_of_the_images_are_compared_where_they_lie(rng):
    volume, rotations, shifts, images, weights, pixels = problem(rng, 5, 3, 2, 60)
    places = np.array([3, 0, 3, 4])
    result = compare_local(volume, rotations[:4], shifts[:4], images, weights, pixels, places=places)
    expected = compare_local(volume, rotations[:4], shifts[:4], images[places], weights[places], pixels)
    np.testing.assert_array_equal(result, expected)
    with pytest.raises(ValueError, match="places: element 2 is 5, expected 0 to 4"):
        compare_local(volume, rotations[:4], shifts[:4], images, weights, pixels, places=np.array([3, 0, 5, 4]))


def test_the_true_pose_scores_best(rng):
    """An image of the model is recognised: the score is ½ Σ W |S|² at the truth and lower elsewhere."""
    pixels = half_plane(BOX, 12)
    volume = fourier_volume(rng.standard_normal((BOX,) * 3).astype(np.float32), r_high=12)
    rotations = Rotation.from_euler("ZYZ", [[10, 50, 20], [12, 50, 20], [10, 55, 20]], degrees=True).as_matrix()[None]
    shifts = np.array([[[1.5, -2.0], [2.0, -2.0], [0.0, 0.0]]])
    ramp = np.exp(-2j * np.pi * (pixels.kx * 1.5 - pixels.ky * 2.0) / BOX)
    slices = project_slices(volume, rotations[0], pixels.kx, pixels.ky)
    weight = rng.uniform(0.5, 1, len(pixels)).astype(np.float32)
    image = weight * (slices[0, 0] + 1j * slices[0, 1]) * ramp
    images = np.stack([image.real, image.imag])[None].astype(np.float32)
    scores = compare_local(volume, rotations, shifts, images, weight[None], pixels)[0]
    best = 0.5 * np.sum(weight * np.sum(slices[0].astype(float) ** 2, axis=0))
    np.testing.assert_allclose(scores[0, 0], best, rtol=1e-6)  # ~ 500 positive terms: a few float roundings
    assert np.sum(scores >= scores[0, 0]) == 1


def test_errors_name_argument_and_shape(rng):
    volume, rotations, shifts, images, weights, pixels = problem(rng, 2, 3, 4, 20)
    with pytest.raises(ValueError, match=r"shifts: expected shape \(2, any, 2\), got \(1, 4, 2\)"):
        compare_local(volume, rotations, shifts[:1], images, weights, pixels)
    with pytest.raises(ValueError, match=r"weights: expected shape \(2, 20\), got \(2, 19\)"):
        compare_local(volume, rotations, shifts, images, weights[:, :19].copy(), pixels)
