"""Simulated images against an independent model of the microscope, and their statistics."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pycryo.errors import InputError
from pycryo.geometry.rotations import euler_to_matrix
from pycryo.maps.density import Map
from pycryo.simulation.options import SimulateOptions
from pycryo.simulation.simulator import (
    EMPTY,
    ICE,
    OFF_CENTRE,
    PARTICLE,
    Simulator,
    draw_truth,
)

BOX, PIXEL = 24, 3.0


@pytest.fixture(scope="module")
def blobs() -> tuple[Map, np.ndarray]:
    """A map of five Gaussians of sd 1.5 px, and their centres (x, y, z), px."""
    rng = np.random.default_rng(1)
    centres = rng.uniform(-5, 5, (5, 3))
    at = np.arange(BOX) - BOX // 2
    data = sum(
        np.exp(-((at[:, None, None] - z) ** 2 + (at[:, None] - y) ** 2 + (at - x) ** 2) / (2 * 1.5**2))
        for x, y, z in centres
    )
    return Map(data.astype(np.float32), PIXEL), centres


@pytest.mark.parametrize("hand", [1, -1])
def test_thick_particles_are_layers_of_other_defocus(blobs, hand):
    """Each Gaussian of the map is one layer: its own defocus is that of its height in the turned map."""
    source, centres = blobs
    flat = SimulateOptions(
        n=6, snr=1e6, voltage=1, spherical_aberration=0.0, defocus_min=20, defocus_max=60, astigmatism=10
    )
    options = replace(flat, ewald_hand=hand)
    simulator = Simulator.from_maps([source], options)
    scale = float(simulator.maps[0].data.max() / source.data.max())
    images, truth = simulator.images(np.arange(6)), simulator.truth
    for row in range(6):
        height = Rotation.from_euler("ZYZ", truth.angles[row], degrees=True).inv().apply(centres)[:, 2] * PIXEL
        assert np.ptp(height) > 5
        layers = sum(
            expected_image(shifted(truth, hand * z), row, centre[None], flat, scale)
            for z, centre in zip(height, centres, strict=True)
        )
        central = expected_image(truth, row, centres, flat, scale)
        size = np.linalg.norm(layers)
        error, flat_error = (np.linalg.norm(images[row] - each) / size for each in (layers, central))
        assert error < 0.02  # trilinear interpolation, and no layer is infinitely thin
        assert flat_error > 0.04


def shifted(truth, change):
    """The truth with other defoci, Å."""
    return replace(truth, defocus_u=truth.defocus_u + change, defocus_v=truth.defocus_v + change)


def expected_image(truth, row, centres, options, scale):
    """Analytic projection of the Gaussians, times a CTF written down here, by plain FFTs."""
    a = Rotation.from_euler("ZYZ", truth.angles[row], degrees=True).inv().as_matrix()
    moved = centres @ a.T[:, :2] - truth.origin[row]  # a particle sits at -rlnOrigin
    at = np.arange(BOX) - BOX // 2
    image = (
        sum(np.exp(-((at[:, None] - y) ** 2 + (at - x) ** 2) / (2 * 1.5**2)) for x, y in moved)
        * np.sqrt(2 * np.pi)
        * 1.5
    )
    ky, kx = np.meshgrid(np.fft.fftfreq(BOX, PIXEL), np.fft.rfftfreq(BOX, PIXEL), indexing="ij")
    volts = options.voltage * 1e3
    wavelength = 12.2643247 / np.sqrt(volts * (1 + volts * 0.978466e-6))
    angle = np.arctan2(ky, kx) - np.radians(truth.defocus_angle[row])
    defocus = truth.defocus_u[row] * np.cos(angle) ** 2 + truth.defocus_v[row] * np.sin(angle) ** 2
    s2 = kx**2 + ky**2
    aberration = np.pi / 2 * options.spherical_aberration * 1e7 * wavelength**3 * s2**2
    phase = np.pi * wavelength * defocus * s2 - aberration + np.arcsin(options.amplitude_contrast)
    transform = np.fft.rfft2(image) * np.sin(phase) * (np.sqrt(s2) < 0.5 / PIXEL)
    return scale * np.fft.irfft2(transform, s=(BOX, BOX))


def test_images_are_projections_with_ctf_and_shift(blobs):
    source, centres = blobs
    options = SimulateOptions(n=6, snr=1e6, shift_sd=2.0, astigmatism=3000.0, seed=5)
    simulator = Simulator.from_maps([source], options)
    scale = simulator.maps[0].data.max() / source.data.max()
    images = simulator.images(np.arange(6))
    for row in range(6):
        expected = expected_image(simulator.truth, row, centres, options, scale)
        # Trilinear interpolation with padding 3 of this compact object: measured error 0.3 %; noise 0.1 %.
        assert np.abs(images[row] - expected).max() < 0.01 * np.abs(expected).max()


def aberrated_image(truth, row, centres, options, scale):
    """exp(iφ) · CTF · V̂ at M k of the Gaussians, with polynomials written down here."""
    a = Rotation.from_euler("ZYZ", truth.angles[row], degrees=True).inv().as_matrix()
    at = centres @ a.T[:, :2] * PIXEL
    ky, kx = np.meshgrid(np.fft.fftfreq(BOX, PIXEL), np.fft.rfftfreq(BOX, PIXEL), indexing="ij")
    x, y = 1.04 * kx + 0.02 * ky, -0.01 * kx + 0.97 * ky
    r2 = x**2 + y**2
    wavelength = 0.0196875
    angle = np.arctan2(y, x) - np.radians(truth.defocus_angle[row])
    defocus = truth.defocus_u[row] * np.cos(angle) ** 2 + truth.defocus_v[row] * np.sin(angle) ** 2
    chi = np.pi * wavelength * defocus * r2 - np.pi / 2 * 2.7e7 * wavelength**3 * r2**2 + np.arcsin(0.1)
    chi -= 0.2 + 30 * 2 * x * y
    phase = 300 * (3 * x**2 * y - y**3) - 2 * np.pi * 2.7e7 * wavelength**2 * r2 * 1e-3 * (4 * x - 7 * y)
    ox, oy = truth.origin[row] * PIXEL
    sd = 1.5 * PIXEL
    points = sum(np.exp(-2j * np.pi * (x * px + y * py)) for px, py in at)
    transform = (
        points * np.exp(-2 * np.pi**2 * sd**2 * r2 + 1j * phase + 2j * np.pi * (kx * ox + ky * oy)) * np.sin(chi)
    )
    transform *= (2 * np.pi * 1.5**2) ** 1.5 * (np.sqrt(kx**2 + ky**2) < 0.5 / PIXEL)
    return scale * np.fft.fftshift(np.fft.irfft2(transform, s=(BOX, BOX)))


def test_images_have_the_aberrations_and_the_magnification_asked_for(blobs):
    source, centres = blobs
    options = SimulateOptions(
        n=6,
        snr=1e6,
        shift_sd=2.0,
        astigmatism=3000.0,
        seed=5,
        beam_tilt="4,-7",
        odd_zernike="0,0,300",
        even_zernike="0.2,30",
        magnification="1.04,0.02,-0.01,0.97",
    )
    simulator = Simulator.from_maps([source], options)
    scale = simulator.maps[0].data.max() / source.data.max()
    images = simulator.images(np.arange(6))
    for row in range(6):
        expected = aberrated_image(simulator.truth, row, centres, options, scale)
        # As above, but the map's own box cuts frequencies that the magnification reads beyond Nyquist.
        assert np.abs(images[row] - expected).max() < 0.015 * np.abs(expected).max()


@pytest.mark.parametrize(
    "bad, words",
    [
        ({"beam_tilt": "1"}, "--beam-tilt takes 2 numbers, not 1"),
        ({"magnification": "1,0,1"}, "--magnification takes 4 numbers, not 3"),
        ({"odd_zernike": "1,a"}, "--odd-zernike must be numbers separated by commas, not '1,a'"),
    ],
)
def test_bad_lists_are_named(bad, words):
    with pytest.raises(InputError, match=words):
        SimulateOptions(**bad)


def test_signal_to_noise_ratio_and_noise(blobs):
    options = SimulateOptions(n=60, snr=0.2, seed=2)
    simulator = Simulator.from_maps([blobs[0]], options)
    images = simulator.images(np.arange(60))
    # 60·24² noise values: the variance is known to √(2/34560) = 0.8 %, times 4; the scale comes from these 60 images.
    assert images.var() == pytest.approx(1.2, rel=0.032)
    clean = Simulator.from_maps([blobs[0]], SimulateOptions(n=60, snr=1e8, seed=2))
    signal = clean.images(np.arange(60)) * np.float32(np.sqrt(0.2 / 1e8))
    noise = images - signal
    assert signal.var(axis=(1, 2)).mean() == pytest.approx(0.2, rel=1e-3)
    power = (np.abs(np.fft.rfft2(noise)) ** 2).mean(axis=0) / BOX**2
    assert power[1:, 1:-1].mean() == pytest.approx(1, abs=0.05)
    assert np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1] == pytest.approx(0, abs=5 / BOX)


def test_batches_and_seed(blobs):
    options = SimulateOptions(n=11, junk=0.5, seed=3)
    simulator = Simulator.from_maps([blobs[0]], options)
    whole = simulator.images(np.arange(11))
    np.testing.assert_array_equal(np.concatenate(list(simulator.batches(4))), whole)
    np.testing.assert_array_equal(simulator.images(np.array([7, 2])), whole[[7, 2]])
    other = Simulator.from_maps([blobs[0]], SimulateOptions(n=11, junk=0.5, seed=4)).images(np.arange(11))
    assert (np.abs(other - whole).max(axis=(1, 2)) > 1).all()


def test_truth_has_the_distributions_asked_for():
    options = SimulateOptions(n=4000, junk=0.3, shift_sd=2.5, defocus_min=1e4, defocus_max=2e4, astigmatism=500, seed=9)
    truth = draw_truth(options, n_model=2)
    # Standard errors for n = 4000, times about 4.
    assert (truth.junk != PARTICLE).mean() == pytest.approx(0.3, abs=0.03)
    assert set(np.unique(truth.junk)) == {PARTICLE, EMPTY, OFF_CENTRE, ICE}
    assert truth.origin.std() == pytest.approx(2.5, rel=0.05)
    assert np.bincount(truth.half).tolist() == [0, 2000, 2000]
    assert truth.model.mean() == pytest.approx(0.5, abs=0.04)
    mean = (truth.defocus_u + truth.defocus_v) / 2
    assert mean.min() >= 1e4
    assert mean.max() <= 2e4
    assert ((truth.defocus_u - truth.defocus_v) >= 0).all()
    directions = euler_to_matrix(*truth.angles.T)[:, 2]
    assert np.abs(directions.mean(axis=0)).max() < 4 / np.sqrt(3 * 4000)
    np.testing.assert_allclose(directions.T @ directions / 4000, np.eye(3) / 3, atol=0.03)


def test_junk_shows_no_centred_particle(blobs):
    options = SimulateOptions(n=40, snr=1e4, junk=0.6, shift_sd=0.0, seed=1)
    simulator = Simulator.from_maps([blobs[0]], options)
    images = simulator.images(np.arange(40))
    for kind, image in zip(simulator.truth.junk, images, strict=True):
        if kind == EMPTY:
            assert image.var() == pytest.approx(1, rel=0.3)
        else:
            assert image.var() > 100


def test_several_models(blobs):
    other = Map(blobs[0].data[::-1].copy(), PIXEL)
    simulator = Simulator.from_maps([blobs[0], other], SimulateOptions(n=8, snr=1e6, seed=1))
    assert set(simulator.truth.model) == {0, 1}
    alone = Simulator.from_maps([blobs[0]], SimulateOptions(n=8, snr=1e6, seed=1))
    # Drawn after the poses and defoci, which are therefore the same.
    np.testing.assert_array_equal(alone.truth.angles, simulator.truth.angles)
    first, both = (s.images(np.arange(8)) for s in (alone, simulator))
    same = [np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.999 for a, b in zip(first, both, strict=True)]
    np.testing.assert_array_equal(same, simulator.truth.model == 0)


@pytest.mark.parametrize(
    "bad", [{"n": 0}, {"snr": 0.0}, {"junk": 1.0}, {"defocus_min": 3e4}, {"amplitude_contrast": 2.0}, {"seed": -1}]
)
def test_bad_options_are_named(bad):
    with pytest.raises(InputError, match="--" + next(iter(bad)).replace("_", "-")):
        SimulateOptions(**bad)


def test_bad_maps_are_refused(blobs):
    with pytest.raises(InputError, match="same box"):
        Simulator.from_maps([blobs[0], Map(blobs[0].data, 1.0)], SimulateOptions(n=2))
    with pytest.raises(InputError, match="nothing to simulate"):
        Simulator.from_maps([Map(np.zeros((8, 8, 8), np.float32), 1.0)], SimulateOptions(n=2))
