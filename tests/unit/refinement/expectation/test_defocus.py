"""The search of each image's defocus, and what becomes of it between iterations."""

from dataclasses import replace

import numpy as np
import pytest
from phantom import CENTRES, MASSES, Phantom, write_set

from pycryo import RefineOptions
from pycryo.errors import InputError
from pycryo.filter.draws import Draws
from pycryo.filter.support import Posterior, Support
from pycryo.geometry.rotations import euler_to_quaternion
from pycryo.io.batches import read_images
from pycryo.io.particles import read_particles
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.projector import fourier_volume
from pycryo.model.microscope import magnification, particle_ctf
from pycryo.refinement.data.prepare import transform, weigh
from pycryo.refinement.expectation.defocus import (
    LEAST_SIGMA,
    DefocusSearch,
    defocus_grid,
    first_sigma,
    search_defocus,
    with_changes,
)
from pycryo.refinement.expectation.defocus_control import next_sigma

BOX, PIXEL, N = 48, 1.5, 80
WAVELENGTH = 0.0196875  # Å, 300 kV
ERROR = 300.0  # Å


def particles_and_errors(folder, noise):
    """Particles whose stated defoci are wrong, and by how much."""
    phantom = Phantom(CENTRES, np.full(6, 1.4), MASSES)
    particles = read_particles(write_set(folder, phantom, N, geometries=((BOX, PIXEL),), noise=noise))
    error = np.random.default_rng(2).normal(0, ERROR, N)
    wrong = replace(particles, defocus_u=particles.defocus_u - error, defocus_v=particles.defocus_v - error)
    return wrong, error, fourier_volume(phantom.volume(BOX, PIXEL), padding=3)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Noise that leaves some 40 Å of doubt; σ² of a component is half the variance × pixels."""
    noise = 14.0
    return *particles_and_errors(tmp_path_factory.mktemp("noisy"), noise), BOX**2 * noise**2 / 2


def search(problem, rows=None, change=None, sigma=ERROR, seed=1, pixel=PIXEL, scale=1.0):
    """Mean and spread at the true poses, one of four support points; `pixel` is the images', `scale` their greys'."""
    particles, _, volume, variance = problem
    rows = np.arange(N) if rows is None else rows
    pixels = half_plane(BOX, BOX / 2)
    samples = pixels.take(transform(read_images(particles, rows), 1000.0))
    bare = weigh(samples, pixels, None, np.full((len(rows), BOX // 2 + 1), variance), np.full(len(rows), scale))
    bare = replace(bare, magnification=magnification(particles, rows))
    quaternion = euler_to_quaternion(particles.rot, particles.tilt, particles.psi)[rows, None]
    shift = -np.stack([particles.origin_x, particles.origin_y], axis=1)[rows, None] / pixel
    weight = np.tile([0.0, 1.0, 0.0, 0.0], (len(rows), 1))
    classes = np.zeros(weight.shape, np.int32)
    support = Support(quaternion.repeat(4, axis=1), shift.repeat(4, axis=1), weight, classes)
    change = np.zeros(len(rows)) if change is None else change
    search = DefocusSearch([volume], particles, BOX / 2, 1.0, sigma)
    return search_defocus(search, bare, support, change, Draws(seed, 3, rows))


def test_errors_are_found_with_their_uncertainty(noisy):
    error = noisy[1]
    mean, spread = search(noisy)
    assert 10 < np.median(spread) < 100  # the noise was chosen so
    assert np.median(np.abs(mean - error)) < 0.3 * np.median(np.abs(error))
    # Calibrated: of 80 normal deviates of unit size the root mean square is 1 ± 0.08; four times that.
    assert np.sqrt(np.mean(np.square((mean - error) / spread))) == pytest.approx(1, abs=0.32)


def test_without_noise_the_error_is_exact(tmp_path):
    problem = *particles_and_errors(tmp_path, 0.0), 1e-2 * BOX**2
    mean, spread = search(problem)
    # The reference is read with trilinear interpolation and |k|² is binned: a few per cent of amplitude here and there.
    np.testing.assert_allclose(mean, problem[1], atol=10)
    assert (spread < 5).all()


def test_changes_are_those_at_the_magnified_frequencies(tmp_path):
    """Images of finer pixels than is said, which the magnification makes up for; else changes are off by its square."""
    finer = 1.06
    phantom = Phantom(CENTRES, np.full(6, 1.4), MASSES)
    particles = read_particles(write_set(tmp_path, phantom, N, geometries=((BOX, PIXEL / finer),)))
    said = replace(particles.optics, pixel_size=np.array([PIXEL]), magnification=finer * np.eye(2)[None])
    error = np.random.default_rng(2).normal(0, ERROR, N)
    wrong = particles.defocus_u - error
    particles = replace(particles, defocus_u=wrong, defocus_v=wrong, optics=said)
    volume = fourier_volume(phantom.volume(BOX, PIXEL), padding=3)
    mean, spread = search((particles, error, volume, 1e-2 * BOX**2), pixel=PIXEL / finer, scale=finer**3)
    np.testing.assert_allclose(mean, error, atol=10)
    assert (spread < 5).all()


def test_grid_has_the_magnified_frequencies():
    pixels, matrix = half_plane(64, 32, 1), np.array([[1.03, 0.02], [-0.04, 0.97]])
    grid = defocus_grid(pixels, 1.5, WAVELENGTH, 300.0, matrix)
    x, y = matrix @ np.stack([pixels.kx, pixels.ky]) / (64 * 1.5)
    turn = np.pi * WAVELENGTH * 4 * 300 * np.abs(x**2 + y**2 - grid.radius2[grid.bin])
    assert turn.max() < 0.1


def test_batches_and_start_do_not_matter(noisy):
    mean, spread = search(noisy)
    some = np.arange(3, 50, 7)
    for found, whole in zip(search(noisy, some), (mean, spread), strict=True):
        np.testing.assert_array_equal(found, whole[some])
    # All support points are one pose: what they were drawn with counts alike for all.
    moved, _ = search(noisy, change=np.full(N, 200.0))
    np.testing.assert_allclose(moved, mean, atol=1e-6)  # rounding of scores of size 10^3 in double


def test_the_prior_rules_where_images_say_nothing(noisy):
    particles, error, volume, variance = noisy
    mean, spread = search((particles, error, volume, 1e6 * variance), sigma=150.0)
    # A thousandth of the signal: |mean| is below spread²·(slope of the likelihood), at 40 Å of doubt before.
    np.testing.assert_allclose(mean, 0, atol=5)
    np.testing.assert_allclose(spread, 150, rtol=0.01)


@pytest.mark.parametrize("box, pixel, sigma", [(32, 4.0, 5.0), (128, 1.1, 400.0), (257, 0.7, 500.0)])
def test_grid_resolves_the_ctf(box, pixel, sigma):
    pixels = half_plane(box, box / 2, 1)
    grid = defocus_grid(pixels, pixel, WAVELENGTH, sigma)
    radius2 = (pixels.kx.astype(float) ** 2 + pixels.ky.astype(float) ** 2) / (box * pixel) ** 2
    assert grid.bin.min() == 0
    assert grid.bin.max() == len(grid.radius2) - 1
    # Samples of a bin agree on the angle of the largest change, 4 σ, or are those of one |k|² only.
    turn = np.pi * WAVELENGTH * 4 * sigma * np.abs(radius2 - grid.radius2[grid.bin])
    assert turn.max() < 0.1
    # CTF² goes through less than a quarter of its period between two points.
    step = 8 * sigma / (grid.n_first - 1)
    assert 2 * np.pi * WAVELENGTH * step * radius2.max() <= np.pi / 2 + 1e-9
    assert len(grid.radius2) < 1200


def test_first_prior(noisy):
    particles = noisy[0]
    half = np.zeros(N, np.int8)
    assert first_sigma(particles, half) == pytest.approx(0.03 * np.median(particles.defocus_u))
    half[5:] = -1
    assert first_sigma(particles, half) == pytest.approx(0.03 * np.median(particles.defocus_u[:5]))
    none = replace(particles, defocus_u=np.zeros(N), defocus_v=np.zeros(N))
    assert first_sigma(none, half) == LEAST_SIGMA


@pytest.mark.parametrize("true, doubt", [(400.0, 50.0), (100.0, 100.0), (0.0, 40.0)])
def test_prior_is_learnt_in_one_step(true, doubt, rng):
    """Normal errors, normal doubt: from a far too wide prior to the true one."""
    n, sigma = 4000, 1000.0
    seen = rng.normal(0, true, n) + rng.normal(0, doubt, n)
    variance = 1 / (1 / doubt**2 + 1 / sigma**2)
    found = next_sigma(seen / doubt**2 * variance, np.full(n, np.sqrt(variance)), sigma, most=sigma)
    # The variance of what is seen has a relative error of √(2/4000); three times that.
    assert found == pytest.approx(true, abs=max(0.07 * (true + doubt), 0.25 * doubt))


def test_images_that_say_nothing_leave_the_prior():
    assert next_sigma(np.zeros(10), np.full(10, 300.0), 300.0, most=300.0) == pytest.approx(300.0)


def test_images_that_contradict_the_prior_leave_it():
    """Spreads beyond the prior's and means that lie anywhere, as of images without a particle."""
    mean, spread = np.linspace(-900, 900, 20), np.full(20, 310.0)
    assert next_sigma(mean, spread, 300.0, most=500.0) == 300.0


def test_prior_grows_up_to_its_largest():
    assert next_sigma(np.linspace(-900, 900, 20), np.full(20, 100.0), 300.0, most=500.0) == 500.0


def test_changes_are_added_to_both_defoci(noisy):
    particles = noisy[0]
    rows, change = np.array([7, 2]), np.array([100.0, -50.0])
    blank = np.zeros(2)
    support = Support(np.zeros((2, 1, 4)), np.zeros((2, 1, 2)), np.ones((2, 1)), np.zeros((2, 1), np.int32))
    posterior = Posterior(support, *[blank] * 9, *[np.zeros(2, np.int64)] * 2, change, blank)
    found = with_changes(particles, (rows, posterior))
    for name in ("defocus_u", "defocus_v"):
        np.testing.assert_array_equal(getattr(found, name)[rows] - getattr(particles, name)[rows], change)
        assert np.count_nonzero(getattr(found, name) != getattr(particles, name)) == 2
    nothing = replace(posterior, defocus_change=blank)
    assert with_changes(particles, (rows, nothing)) is particles
    assert with_changes(particles, None) is particles


def test_ctf_of_a_change_and_of_a_quarter_turn(noisy):
    particles, rows, pixels = noisy[0], np.arange(5), half_plane(BOX, 20)
    change = np.linspace(-200, 200, 5)
    there = replace(particles, defocus_u=particles.defocus_u[:5] + change, defocus_v=particles.defocus_v[:5] + change)
    np.testing.assert_array_equal(
        particle_ctf(particles, rows, pixels, change=change), particle_ctf(there, rows, pixels)
    )
    sine, cosine = (particle_ctf(particles, rows, pixels, quarter_turns=turns) for turns in (0, 1))
    np.testing.assert_allclose(sine**2 + cosine**2, 1, atol=3e-6)  # two float32 values to 1e-6


def test_bare_images_get_their_ctf(noisy, rng):
    particles, rows, pixels = noisy[0], np.arange(4), half_plane(BOX, 15)
    samples = rng.standard_normal((4, 2, len(pixels)), dtype=np.float32)
    noise, scale = np.full((4, BOX // 2 + 1), 2.0), np.full(4, 1.5)
    transfer = particle_ctf(particles, rows, pixels)
    expected = weigh(samples.copy(), pixels, transfer.copy(), noise, scale)
    found = weigh(samples, pixels, None, noise, scale).with_ctf(transfer)
    np.testing.assert_allclose(found.images, expected.images, rtol=1e-6)  # three float32 products in another order
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-6)


def test_stages():
    assert RefineOptions().stage_list() == ("global", "local", "defocus", "optics")
    assert RefineOptions().optics_resolution() == 4.0
    assert RefineOptions().defocus_resolution() == 6.0
    assert RefineOptions(ctf=False).stage_list() == ("global", "local")
    assert RefineOptions(stages="global,local").stage_list() == ("global", "local")
    asked = RefineOptions(stages="global, local, defocus")
    assert asked.stage_list() == ("global", "local", "defocus")
    assert asked.defocus_resolution() == np.inf
    assert RefineOptions(stages="global,local,defocus,optics").optics_resolution() == np.inf
    for wrong in ("", "local", "global,defocus", "global,local,local", "global,local,optics"):
        with pytest.raises(InputError, match="stages is"):
            RefineOptions(stages=wrong)
    with pytest.raises(InputError, match="needs a CTF"):
        RefineOptions(stages="global,local,defocus", ctf=False)
