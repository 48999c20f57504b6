"""Noise spectra and grey scales, from images whose noise, poses and scales are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from phantom import blobs, write_set

from pycryo.filter.draws import Draws
from pycryo.filter.support import Posterior, Support
from pycryo.geometry.rotations import euler_to_quaternion
from pycryo.io.batches import read_images
from pycryo.io.particles import read_particles
from pycryo.kernels.pixels import half_plane, shell_samples
from pycryo.kernels.projector import fourier_volume
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.data.halves import split_halves
from pycryo.refinement.data.image_statistics import ImageStatistics, group_sums, measure_images
from pycryo.refinement.data.left_out import LeftOut
from pycryo.refinement.data.partition import deal
from pycryo.refinement.data.prepare import particle_ctf, transform, weigh
from pycryo.refinement.expectation.overlap import overlap
from pycryo.refinement.maximization.noise import first_noise, updated_noise, updated_scale, without_junk

BOX, PIXEL, N = 32, 3.0, 150
# The mean of the border is subtracted; the phantom reaches 30 Å from the centre.
BACKGROUND = 14.0


def true_posterior(particles) -> Posterior:
    """All weight on the true poses, one of three support points."""
    n = particles.n
    quaternion = np.zeros((n, 3, 4))
    quaternion[:, 0] = [1, 0, 0, 0]
    quaternion[:, 1:] = euler_to_quaternion(particles.rot, particles.tilt, particles.psi)[:, None]
    shift = np.zeros((n, 3, 2))
    shift[:, 1:] = -np.stack([particles.origin_x, particles.origin_y], axis=1)[:, None] / PIXEL
    weight = np.tile([0.0, 1.0, 0.0], (n, 1))
    zeros = np.zeros(n)
    return Posterior(
        Support(quaternion, shift, weight, np.zeros((n, 3), np.int32)), quaternion[:, 1], shift[:, 1],
        np.zeros(n, np.int32), np.ones((n, 1)), zeros, zeros, zeros, zeros, zeros, np.zeros(n, np.int64),
        np.zeros(n, np.int64), zeros, zeros,
    )  # fmt: skip


def products(particles, noise: np.ndarray, r_high: float = 14.0):
    """Overlap of all images with the model at the true poses, with CTF."""
    rows = np.arange(particles.n)
    pixels = half_plane(BOX, BOX / 2)
    samples = pixels.take(transform(read_images(particles, rows), BACKGROUND))
    target = weigh(
        samples,
        pixels,
        particle_ctf(particles, rows, pixels),
        np.tile(noise, (len(rows), 1)),
        np.ones(len(rows)),
    )
    volume = fourier_volume(blobs().volume(BOX, PIXEL), padding=3)
    return overlap([volume], target, true_posterior(particles), r_high, 1.0, Draws(1, 2, rows), BOX // 2 + 1)


def test_samples_of_the_shells():
    for box in (8, 9, 32):
        k = np.fft.fftfreq(box, 1 / box)
        inside = np.hypot(k[:, None], k) < box / 2
        shell = np.rint(np.hypot(k[:, None], k)).astype(int)
        full = np.bincount(shell[inside & (np.abs(k)[:, None] < box / 2) & (np.abs(k) < box / 2)], minlength=box)
        expected = np.maximum(np.where(np.arange(box) == 0, full, full // 2), 1)  # the other half are conjugates
        np.testing.assert_array_equal(shell_samples(box, box), expected)


@pytest.mark.parametrize("sd", [0.5, 2.0])
@pytest.mark.parametrize("box", [24, 25])
def test_first_noise_of_white_noise(tmp_path, sd, box):
    """A σ² of N²·sd²/2 per real component of the unnormalised transform."""
    phantom = replace(blobs(), masses=np.zeros(6))
    particles = read_particles(write_set(tmp_path, phantom, N, geometries=((box, PIXEL),), noise=sd))
    statistics, _ = measure_images(deal(SerialComm(), particles, split_halves(particles, 1), None), 30.0, False)
    found = first_noise(statistics, particles)
    assert found.shape == (1, box // 2 + 1)
    # Each |X|² has a standard deviation as large as its mean: N images of `shell_samples` samples each; 5 of those.
    error = 5 / np.sqrt(N * shell_samples(box, box // 2 + 1))
    assert (np.abs(found[0] / (box**2 * sd**2 / 2) - 1)[1:] < error[1:]).all()
    assert found[0, 0] == found[0, 1]


@pytest.mark.parametrize("geometries", [((24, PIXEL), (32, 2.5))])
def test_groups_have_their_own_spectra(tmp_path, geometries):
    phantom = replace(blobs(), masses=np.zeros(6))
    particles = read_particles(write_set(tmp_path, phantom, 2 * N, geometries=geometries, noise=1.5))
    statistics, _ = measure_images(deal(SerialComm(), particles, split_halves(particles, 1), None), 30.0, False)
    found = first_noise(statistics, particles)
    for group, (box, _) in enumerate(geometries):
        error = 5 / np.sqrt(N * shell_samples(box, 17))
        reach = (box + 1) // 2
        assert (np.abs(found[group] / (box**2 * 1.5**2 / 2) - 1)[1:reach] < error[1:reach]).all()
        # Beyond the group's own Nyquist the last value goes on.
        np.testing.assert_array_equal(found[group, reach:], found[group, reach - 1])


@pytest.mark.parametrize("sd", [1.0, 4.0])
@pytest.mark.parametrize("assumed", [0.1, 1.0, 30.0])
def test_noise_of_images_with_a_model(tmp_path, sd, assumed):
    """The signal is taken out again, whatever spectrum the products were weighted with."""
    particles = read_particles(write_set(tmp_path, blobs(), N, noise=sd))
    statistics, _ = measure_images(
        deal(SerialComm(), particles, split_halves(particles, 1), None), BACKGROUND * PIXEL, False
    )
    true = BOX**2 * sd**2 / 2
    noise = assumed * true * np.linspace(1, 2, BOX // 2 + 1)
    both = products(particles, noise)
    found = updated_noise(statistics, particles, both.cross.sum(0)[None], both.model.sum(0)[None], noise[None])[0]
    signal = first_noise(statistics, particles)[0] - true
    assert signal[2:5].min() > 0.2 * true or sd > 2  # there is something to take out
    # 5 standard deviations of the noise power, and 3 % of the signal's for the interpolation of the slices.
    error = 5 / np.sqrt(N * shell_samples(BOX, len(found))) * true + 0.03 * np.abs(signal)
    assert (np.abs(found - true)[1:] < error[1:]).all()


def test_products_of_exact_images(tmp_path):
    """Without noise an image is its model: Σ X*M/σ² = Σ|M|²/σ² in every shell that is compared."""
    particles = read_particles(write_set(tmp_path, blobs(), 40))
    both = products(particles, np.linspace(1, 5, BOX // 2 + 1), r_high=12.0)
    assert both.cross.shape == both.model.shape == (40, BOX // 2 + 1)
    # Trilinear interpolation at padding 3: 1 % of the amplitude where the signal is strong.
    np.testing.assert_allclose(both.cross.sum(0)[1:10], both.model.sum(0)[1:10], rtol=0.02)
    np.testing.assert_array_equal(both.cross[:, 13:], 0)
    np.testing.assert_array_equal(both.model[:, 13:], 0)


def test_residuals_of_true_particles_are_noise(tmp_path):
    particles = read_particles(write_set(tmp_path, blobs(), N, noise=1.0))
    both = products(particles, np.full(BOX // 2 + 1, BOX**2 / 2.0))
    compared = slice(1, 13)
    assert (both.expected[:, compared] > 0).all()
    np.testing.assert_array_equal(both.expected[:, 15:], 0)
    # Sums over N images of at least 4 samples each, half of them seen by CTF²: 5 standard deviations.
    error = 5 / np.sqrt(0.5 * N * shell_samples(BOX, BOX // 2 + 1)[compared])
    ratio = both.residual.sum(0)[compared] / both.expected.sum(0)[compared]
    assert (np.abs(ratio - 1) < error).all()
    # Few strong samples of χ² decide: a mean of 0 and a standard deviation of 1, each known to 8 %; 4 of those.
    assert abs(both.excess.mean()) < 0.35
    assert both.excess.std() == pytest.approx(1, abs=0.35)


def test_other_objects_have_excess_power(tmp_path):
    """Images of particles 20 Å off the assumed place."""
    particles = read_particles(write_set(tmp_path, blobs(), N, noise=1.0))
    noise = np.full(BOX // 2 + 1, BOX**2 / 2.0)
    right = products(particles, noise).excess
    wrong = products(replace(particles, origin_x=particles.origin_x + 20.0), noise).excess
    assert np.median(wrong) > right.max()


def test_power_of_junk_is_taken_out(rng):
    """Half of the images have twice the noise in two shells."""
    expected = rng.uniform(1, 2, (10, 6))
    expected[:, 0] = 0
    residual = expected * np.where(np.arange(10) < 5, 1.0, 3.0)[:, None]
    residual[:, 3:] = expected[:, 3:]
    good = np.arange(10) < 5
    sums = [values.sum(0)[None] for values in (residual, expected, residual[good], expected[good])]
    found = without_junk(*sums)
    np.testing.assert_allclose(found[0, 1:3] * sums[0][0, 1:3] / sums[1][0, 1:3], 1, rtol=1e-12)
    np.testing.assert_allclose(found[0, [0, 3, 4, 5]], 1, rtol=1e-12)
    np.testing.assert_array_equal(without_junk(*sums[:2], *sums[:2]), 1)


def look_at(power, count=(10,)) -> ImageStatistics:
    power = np.atleast_2d(np.asarray(power, float))
    zeros = np.zeros((*power.shape, 2))
    return ImageStatistics(power, np.array(count), np.sqrt(power), LeftOut(), np.ones(int(sum(count))), zeros)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Ten particles of 8 px, whose images are not looked at: 5 shells."""
    return read_particles(write_set(tmp_path_factory.mktemp("small"), blobs(), 10, geometries=((8, 10.0),)))


def test_a_model_that_explains_too_much_is_not_believed(small):
    power = np.array([1.0, 2.0, 3.0, 4.0, 0.0]) * 1e3
    one, zero = np.ones((1, 5)), np.zeros((1, 5))
    plain = updated_noise(look_at(power), small, zero, zero, one)
    for cross in (power, 5 * power):
        least = updated_noise(look_at(power), small, cross[None], power[None], one)
        np.testing.assert_allclose(least, 0.05 * plain, rtol=1e-12)


def test_shells_without_power_stay_above_zero(small):
    zero = np.zeros((1, 5))
    found = updated_noise(look_at([5.0, 0.0, 4e3, 3e3, 0.0]), small, zero, zero, np.ones((1, 5)))
    assert (found > 0).all()
    assert found[0, 0] == found[0, 1] < 1e-3 * found[0, 2]
    with pytest.raises(FloatingPointError, match="no power"):
        updated_noise(look_at(np.zeros(5)), small, zero, zero, np.ones((1, 5)))


def test_a_group_without_usable_images_gets_ones(small):
    zero = np.zeros((1, 5))
    np.testing.assert_array_equal(updated_noise(look_at(np.zeros(5), (0,)), small, zero, zero, np.ones((1, 5))), 1)


@pytest.mark.parametrize("contrast", [0.7, 1.0, 1.4])
def test_scale_of_simulated_groups(tmp_path, contrast):
    """Images of one group are `contrast` times brighter; the mean over the images stays 1."""
    particles = read_particles(write_set(tmp_path, blobs(), 80, noise=1.0))
    noise = np.full(BOX // 2 + 1, BOX**2 / 2.0)
    both = products(particles, noise)
    group = np.repeat([0, 1], [30, 50]).astype(np.int32)
    # σ² does not change, so brighter images have a larger product with the model of scale 1.
    cross = group_sums(SerialComm(), both.cross * np.where(group, contrast, 1.0)[:, None], group, 2, 80)
    model = group_sums(SerialComm(), both.model, group, 2, 80)
    found = updated_scale(np.ones(2), cross, model, np.array([30, 50]), 2, 10)
    assert np.average(found, weights=[30, 50]) == pytest.approx(1, rel=1e-12)
    # Some 1000 samples of each group where the signal is at least as strong as the noise: 3 % each.
    assert found[1] / found[0] == pytest.approx(contrast, rel=0.1)


def test_scale_is_relative_to_the_one_of_the_model():
    """Products with a model that has the right scale already leave it."""
    model = np.ones((2, 6))
    np.testing.assert_allclose(
        updated_scale(np.array([0.8, 1.2]), model, model, np.array([5, 5]), 1, 5), [0.8, 1.2], rtol=1e-12
    )
    np.testing.assert_allclose(
        updated_scale(np.array([0.8, 1.2]), model * [[1.5], [1.0]], model, np.array([5, 5]), 1, 5), [1, 1], rtol=1e-12
    )


def test_scale_is_bounded_and_needs_signal():
    count = np.array([1, 1, 1, 1])
    cross = np.array([[100.0], [1e-3], [-5.0], [5.0]])
    model = np.array([[1.0], [1.0], [1.0], [0.0]])
    found = updated_scale(np.ones(4), cross, model, count, 0, 1)
    # At most doubled or halved at a time; groups with a negative product or no model stay.
    np.testing.assert_allclose(found, np.array([2, 0.5, 1, 1]) / 1.125, rtol=1e-12)
    assert np.isfinite(updated_scale(np.ones(4), cross, model, np.zeros(4, int), 0, 1)).all()
