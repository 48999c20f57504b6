"""Images to samples and back; volumes from dense samples; entries of images with one pose each."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import pycryo
from pycryo.kernels import Entries, FourierVolume, fourier_volume, half_plane, insert, new_accumulators, project_slices
from pycryo.threads import set_threads


@pytest.mark.parametrize("box", [8, 9])
def test_images_there_and_back(box, rng):
    """Samples are Σ image·exp(-2πi k·(r - N//2)/N), in float64; band-limited images come back."""
    pixels = half_plane(box, box / 2)
    images = rng.normal(size=(3, box, box))
    samples = pixels.from_images(images)
    at = np.arange(box) - box // 2
    wave_x, wave_y = (np.exp(-2j * np.pi * np.outer(at, k) / box) for k in (pixels.kx, pixels.ky))
    expected = np.einsum("nyx,yk,xk->nk", images, wave_y, wave_x)
    # Float32 pixels and FFT: some 2⁻²⁴ of a sum of box² numbers of 1.
    np.testing.assert_allclose(samples[:, 0] + 1j * samples[:, 1], expected, atol=1e-5)
    band = pixels.to_images(samples)
    np.testing.assert_allclose(pixels.to_images(pixels.from_images(band)), band, atol=1e-6)
    np.testing.assert_array_equal(pixels.to_images(samples[:, 0] + 1j * samples[:, 1]), band)


def test_projections_are_their_samples(rng):
    density, turns = rng.normal(size=(8, 8, 8)), Rotation.random(2, random_state=1)
    pixels = half_plane(8, 4)
    slices = project_slices(fourier_volume(density), turns, pixels.kx, pixels.ky)
    np.testing.assert_array_equal(
        slices, project_slices(fourier_volume(density), turns.as_matrix(), pixels.kx, pixels.ky)
    )
    np.testing.assert_array_equal(pixels.to_images(slices), pycryo.project(density, turns))


def test_volumes_of_dense_samples(rng):
    volume = fourier_volume(rng.normal(size=(8, 8, 8)))
    assert volume.dense.shape == (19, 19, 10)  # r = 2·4 + 1
    again = FourierVolume.from_dense(volume.dense, 8)
    np.testing.assert_array_equal(again.data, volume.data)
    assert (again.box, again.padding, again.r_high, again.radius) == (8, 2, 4.0, volume.radius)
    assert np.shares_memory(volume.dense, volume.data)
    with pytest.raises(pycryo.InputError, match=r"dense: expected shape \(23, 23, 12\), got"):
        FourierVolume.from_dense(volume.dense, 10)


def test_entries_with_one_pose_each(rng):
    pixels, turns = half_plane(8, 3), Rotation.random(2, random_state=1)
    samples = rng.normal(size=(2, 2, len(pixels)))
    made = Entries.of(samples, turns, pixels)
    n, weights = 2, np.ones((2, len(pixels)))
    whole = Entries(
        samples, weights, np.arange(n), turns.as_matrix(), np.zeros((n, 2)), np.ones(n), pixels.kx, pixels.ky
    )
    found = []
    for entries in (made, whole, Entries.of(samples[:, 0] + 1j * samples[:, 1], turns.as_matrix(), pixels)):
        sums = new_accumulators(8, r_high=3)
        insert(sums, entries)
        found.append(sums.to_dense()[0])
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    for change, words in (
        ({"images": samples[..., 1:]}, r"images: expected shape \(n, 2, 13\)"),
        ({"rotations": turns[:1]}, r"rotations: expected shape \(2, 3, 3\), got \(1, 3, 3\)"),
        ({"shifts": np.full((2, 2), np.nan)}, "shifts: expected finite"),
        ({"weights": 1.0}, "weights: expected shape"),
    ):
        with pytest.raises(pycryo.InputError, match=words):
            Entries.of(**{"images": samples, "rotations": turns, "pixels": pixels} | change)


@pytest.mark.parametrize("samples", [np.zeros((2, 2, 3)), np.zeros(3), "abc"])
def test_wrong_samples(samples):
    with pytest.raises(pycryo.InputError, match="samples: expected"):
        half_plane(8, 4).to_images(samples)


def test_wrong_images():
    with pytest.raises(pycryo.InputError, match=r"images: expected shape \(any, 8, 8\), got \(1, 8, 9\)"):
        half_plane(8, 4).from_images(np.zeros((1, 8, 9)))


@pytest.mark.parametrize("box, r_high", [(16, 5.0), (9, 4.0)])
@pytest.mark.parametrize("threads", [1, 3])
def test_samples_are_taken_from_their_places(box, r_high, threads):
    rng = np.random.default_rng(box)
    images = rng.normal(size=(5, box, box))
    transforms, pixels = np.fft.rfft2(images).astype(np.complex64), half_plane(box, r_high)
    set_threads(threads)
    try:
        taken = pixels.take(transforms)
    finally:
        set_threads(None)
    for j, (kx, ky) in enumerate(zip(pixels.kx, pixels.ky, strict=True)):
        np.testing.assert_array_equal(taken[:, 0, j] + 1j * taken[:, 1, j], transforms[:, ky, kx])


def test_columns_are_those_of_the_samples_between_two_radii():
    rng = np.random.default_rng(1)
    pixels = half_plane(12, 5.5)
    rows = rng.normal(size=(3, 2, len(pixels))).astype(np.float32)
    places = pixels.index(1.5, 3.5)
    found = pixels.columns(rows, places)
    radius = np.hypot(pixels.kx, pixels.ky)
    np.testing.assert_array_equal(found, rows[..., (radius >= 1.5) & (radius < 3.5)])
    assert 0 < len(places) < len(pixels)


def test_samples_of_no_images_and_of_another_box():
    pixels = half_plane(8, 4)
    none = pixels.take(np.zeros((0, 8, 5), np.complex64))
    assert none.shape == (0, 2, len(pixels))
    assert pixels.columns(none, pixels.index(1, 3)).shape == (0, 2, len(pixels.index(1, 3)))
    for shape in ((2, 6, 4), (2, 8, 4), (8, 5)):
        with pytest.raises(pycryo.InputError, match=r"transform: expected shape \("):
            pixels.take(np.zeros(shape, np.complex64))


@pytest.mark.parametrize(
    "rows, places, words",
    [
        (np.zeros((2, 3)), [0], "rows: expected shape"),
        (np.zeros((2, 13)), [13], "places: expected numbers from 0 to 12, got 13 to 13"),
        (np.zeros((2, 13)), [-1, 2], "places: expected numbers from 0 to 12, got -1 to 2"),
        (np.zeros((2, 13)), [0.5], "places: expected whole numbers"),
    ],
)
def test_wrong_columns(rows, places, words):
    with pytest.raises(pycryo.InputError, match=words):
        half_plane(8, 3).columns(rows, places)
