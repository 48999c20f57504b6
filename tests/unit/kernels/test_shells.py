"""Kernel `shells` against its float64 twin, which sums full transforms."""

import numpy as np
import pytest

from pycryo.kernels.pixels import half_plane
from pycryo.kernels.reference import shells as twin
from pycryo.kernels.shells import image_shells, layer_shells, shell_counts, volume_shells


def random_images(rng, n, pixels):
    return rng.standard_normal((n, 2, len(pixels))).astype(np.float32)


@pytest.mark.parametrize("n", [0, 1, 4])
@pytest.mark.parametrize("box, r_high", [(16, 1), (16, 6), (65, 32), (96, 40)])
def test_images_equal_twin(n, box, r_high, rng):
    pixels = half_plane(box, r_high)
    a, b = random_images(rng, n, pixels), random_images(rng, n, pixels)
    n_shell = int(pixels.shell.max()) + 3
    # Doubles: sums of up to 10^3 terms of size 10 in another order.
    np.testing.assert_allclose(
        image_shells(a, b, pixels.shell, n_shell), twin.image_shells(a, b, pixels.shell, n_shell), atol=1e4 * 1e-15
    )


@pytest.mark.parametrize("n_pixel", [0, 1, 3, 4, 5, 127, 128, 129])
def test_any_number_of_pixels(n_pixel, rng):
    shell = rng.integers(0, 7, n_pixel).astype(np.int32)
    a, b = rng.standard_normal((2, 2, 2, n_pixel)).astype(np.float32)
    # Doubles: at most 129 terms of size 10 in another order.
    np.testing.assert_allclose(image_shells(a, b, shell, 7), twin.image_shells(a, b, shell, 7), atol=1e3 * 1e-15)


@pytest.mark.parametrize("n_pixel", [1, 3, 4, 5, 130])
def test_four_at_a_time_or_alone(n_pixel, rng):
    """Nine images: two times four and one, or one by one where threads are many: the same bits."""
    shell = rng.integers(0, 7, n_pixel).astype(np.int32)
    a, b = rng.standard_normal((2, 9, 2, n_pixel)).astype(np.float32)
    found = image_shells(a, b, shell, 7, threads=1)
    # Doubles: at most 130 terms of size 10 in another order.
    np.testing.assert_allclose(found, twin.image_shells(a, b, shell, 7), atol=1e3 * 1e-15)
    for threads in (2, 3, 9):
        np.testing.assert_array_equal(image_shells(a, b, shell, 7, threads=threads), found)
    for image in range(9):
        alone = image_shells(a[image : image + 1], b[image : image + 1], shell, 7, threads=1)
        np.testing.assert_array_equal(alone[0], found[image])


@pytest.mark.parametrize("box", [1, 2, 3, 8, 15, 16, 17])
@pytest.mark.parametrize("dtype, epsilon", [(np.complex64, 6e-8), (np.complex128, 1e-16)])
def test_volumes_equal_the_full_transform(box, dtype, epsilon, rng):
    a, b = rng.standard_normal((2, box, box, box))
    for n_shell in (1, box // 2 + 1, box + 2):
        result = volume_shells(np.fft.rfftn(a).astype(dtype), np.fft.rfftn(b).astype(dtype), n_shell)
        # Samples of size √(box³) rounded to the dtype, then products and sums: up to 10 roundings of Σ|a|² ≤ box⁶ · 2.
        np.testing.assert_allclose(result, twin.volume_shells(a, b, n_shell), atol=10 * 2 * box**6 * epsilon, rtol=0)


@pytest.mark.parametrize("box, numbers", [(1, [0]), (9, []), (9, [0]), (16, [8, 3, 15]), (17, range(17))])
@pytest.mark.parametrize("dtype, epsilon", [(np.complex64, 6e-8), (np.complex128, 1e-16)])
def test_layers_equal_twin(box, numbers, dtype, epsilon, rng):
    a, b = rng.standard_normal((2, box, box, box))
    number = np.array(numbers, np.int64)
    for n_shell in (1, box // 2 + 1):
        expected = twin.layer_shells(a, b, n_shell)[number]
        for axis in (0, 1):
            first, second = (
                np.moveaxis(np.fft.rfftn(np.moveaxis(each, 0, axis)), axis, 0)[number].astype(dtype) for each in (a, b)
            )
            # As for whole volumes.
            np.testing.assert_allclose(
                layer_shells(first, second, number, n_shell), expected, atol=10 * 2 * box**6 * epsilon, rtol=0
            )


def test_volume_types_may_differ_and_shells_default_to_nyquist(rng):
    a, b = np.fft.rfftn(rng.standard_normal((2, 12, 12, 12)), axes=(1, 2, 3))
    result = volume_shells(a.astype(np.complex64), b)
    assert result.shape == (7, 3)
    np.testing.assert_array_equal(result[:, 2], volume_shells(b, b)[:, 1])
    np.testing.assert_array_equal(volume_shells(b.T.copy().T, b), volume_shells(b, b))


@pytest.mark.parametrize("box", [1, 2, 7, 16])
def test_counts_are_the_sums_of_ones(box):
    delta = np.zeros((box, box, box))
    delta[0, 0, 0] = 1  # its transform is 1 everywhere
    for n_shell in (None, 1, 2 * box):
        ones = np.fft.rfftn(delta)
        np.testing.assert_array_equal(shell_counts(box, n_shell), volume_shells(ones, ones, n_shell)[:, 0])
    assert shell_counts(box, 2 * box).sum() == box**3


def test_threads_and_neighbours_change_no_bit(rng):
    pixels = half_plane(64, 30)
    a, b = random_images(rng, 7, pixels), random_images(rng, 7, pixels)
    one, three = (image_shells(a, b, pixels.shell, 31, threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one, three)
    np.testing.assert_array_equal(one[4:5], image_shells(a[4:5], b[4:5], pixels.shell, 31))
    a, b = np.fft.rfftn(rng.standard_normal((2, 21, 21, 21)), axes=(1, 2, 3))
    np.testing.assert_array_equal(volume_shells(a, b, threads=1), volume_shells(a, b, threads=4))


def test_errors_name_argument_and_shape():
    a = np.zeros((2, 2, 3), np.float32)
    shell = np.array([0, 1, 5], np.int32)
    with pytest.raises(ValueError, match="shell: element 2 is 5, expected 0 to 4"):
        image_shells(a, a, shell, 5)
    with pytest.raises(ValueError, match=r"b: expected shape \(2, 2, 3\), got \(1, 2, 3\)"):
        image_shells(a, a[:1], shell, 6)
    cube = np.zeros((4, 4, 3), complex)
    with pytest.raises(ValueError, match=r"a: expected shape \(N, N, N//2 \+ 1\), got \(4, 4, 4\)"):
        volume_shells(np.zeros((4, 4, 4), complex), cube)
    with pytest.raises(ValueError, match=r"b: expected shape \(4, 4, 3\), that of a, got \(6, 6, 4\)"):
        volume_shells(cube, np.zeros((6, 6, 4), complex))
    with pytest.raises(ValueError, match="number: element 1 is 4, expected 0 to 3"):
        layer_shells(cube[:2], cube[:2], np.array([0, 4]))
    with pytest.raises(ValueError, match=r"number: expected shape \(2\), got \(3\)"):
        layer_shells(cube[:2], cube[:2], np.array([0, 1, 2]))
