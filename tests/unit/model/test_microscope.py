"""What a microscope does to images, against the formulas of docs/conventions.md written out."""

from types import SimpleNamespace

import numpy as np
import pytest
from particle_files import OPTICS, loop, particle

import pycryo
from pycryo.io.particles import read_particles
from pycryo.kernels.pixels import half_plane
from pycryo.model.microscope import (
    are_premultiplied,
    image_ctf,
    magnification,
    mean_square_ctf,
    particle_ctf,
    put_into_images,
    stretch,
    turn_phases,
    unflip,
)

BOX, PIXEL = 32, 1.2
COLUMNS = {
    "rlnBeamTiltX": "0", "rlnBeamTiltY": "0", "rlnOddZernike": "[0]", "rlnEvenZernike": "[0]",
    "rlnMagMat00": "1", "rlnMagMat01": "0", "rlnMagMat10": "0", "rlnMagMat11": "1",
    "rlnCtfDataAreCtfPremultiplied": "0", "rlnCtfDataArePhaseFlipped": "0",
}  # fmt: skip
MATRIX = {"rlnMagMat00": "1.03", "rlnMagMat01": "0.02", "rlnMagMat10": "-0.015", "rlnMagMat11": "0.98"}
PLAIN: dict[str, str] = {}
EVEN = {"rlnEvenZernike": "[0.3,-2,1.5,4,0,0,-5,0,7]", "rlnBeamTiltX": "0.6", "rlnBeamTiltY": "-1.1"}
BOTH = {**EVEN, **MATRIX, "rlnEvenZernike": "[0,3]", "rlnOddZernike": "[0.5,-1,20,-6]", "rlnVoltage": "200"}
DISTORTED = {**MATRIX, "rlnMagMat01": "-0.04"}


def particles_of(folder, *groups, each=2):
    """`each` particles of every group, in turn, with other defoci, phase shifts, envelopes and factors."""
    optics = [
        {
            **OPTICS, **COLUMNS, "rlnImageSize": str(BOX), "rlnImagePixelSize": str(PIXEL), **group,
            "rlnOpticsGroup": str(i + 1), "rlnOpticsGroupName": f"g{i + 1}",
        }
        for i, group in enumerate(groups)
    ]  # fmt: skip
    rng = np.random.default_rng(3)
    rows = []
    for i in range(each * len(groups)):
        u, v = rng.uniform(6000, 20000, 2)
        values = {
            "rlnOpticsGroup": str(i % len(groups) + 1), "rlnDefocusU": f"{u:.2f}", "rlnDefocusV": f"{v:.2f}",
            "rlnDefocusAngle": f"{rng.uniform(-90, 90):.2f}", "rlnPhaseShift": f"{rng.uniform(0, 90):.2f}",
            "rlnCtfBfactor": f"{(i + 1) % 3 * 40}", "rlnCtfScalefactor": f"{rng.uniform(0.7, 1):.3f}",
        }  # fmt: skip
        rows.append(particle(i + 1, values))
    (folder / "in.star").write_text(loop("optics", optics) + loop("particles", rows))
    return read_particles(folder / "in.star", validate=False)


@pytest.fixture
def pixels():
    return half_plane(BOX, BOX / 2)


def at_magnified(particles, row, pixels):
    """k' = M k, 1/Å."""
    matrix = particles.optics.magnification[particles.optics_group[row]]
    k = np.stack([pixels.kx, pixels.ky]) / (BOX * PIXEL)
    x, y = matrix @ k
    return SimpleNamespace(x=x, y=y, r2=x**2 + y**2)


def expected_ctf(particles, row, pixels, change=0.0):
    """With the Zernike polynomials to (4, 4) as polynomials of x and y."""
    optics, g = particles.optics, particles.optics_group[row]
    k = at_magnified(particles, row, pixels)
    volts = 1e3 * optics.voltage[g]
    wavelength = 12.2643247 / np.sqrt(volts * (1 + 0.978466e-6 * volts))
    turned = np.arctan2(k.y, k.x) - np.radians(particles.defocus_angle[row])
    defocus = particles.defocus_u[row] * np.cos(turned) ** 2 + particles.defocus_v[row] * np.sin(turned) ** 2 + change
    phase = np.pi * wavelength * defocus * k.r2
    phase -= np.pi / 2 * 1e7 * optics.spherical_aberration[g] * wavelength**3 * k.r2**2
    even = [
        np.ones_like(k.x),
        2 * k.x * k.y,
        2 * k.r2 - 1,
        k.x**2 - k.y**2,
        4 * k.x * k.y * (k.x**2 - k.y**2),
        (4 * k.r2 - 3) * 2 * k.x * k.y,
        6 * k.r2**2 - 6 * k.r2 + 1,
        (4 * k.r2 - 3) * (k.x**2 - k.y**2),
        k.x**4 - 6 * k.x**2 * k.y**2 + k.y**4,
    ]
    phase -= sum(e * z for e, z in zip(optics.even_zernike[g], even, strict=False))
    phase += np.radians(particles.phase_shift[row]) + np.arcsin(optics.amplitude_contrast[g])
    return particles.ctf_scale[row] * np.exp(-particles.ctf_b_factor[row] / 4 * k.r2) * np.sin(phase)


def expected_phase(particles, row, pixels):
    """φ with odd polynomials to (3, 3)."""
    optics, g = particles.optics, particles.optics_group[row]
    k = at_magnified(particles, row, pixels)
    volts = 1e3 * optics.voltage[g]
    square = 12.2643247**2 / (volts * (1 + 0.978466e-6 * volts))
    odd = [
        k.y,
        k.x,
        3 * k.x**2 * k.y - k.y**3,
        (3 * k.r2 - 2) * k.y,
        (3 * k.r2 - 2) * k.x,
        k.x**3 - 3 * k.x * k.y**2,
    ]
    along = 1e-3 * (optics.beam_tilt[g][0] * k.x + optics.beam_tilt[g][1] * k.y)
    phase = sum(o * z for o, z in zip(optics.odd_zernike[g], odd, strict=False))
    return phase - 2 * np.pi * 1e7 * optics.spherical_aberration[g] * square * k.r2 * along


def complex_of(samples):
    return samples[:, 0] + 1j * samples[:, 1].astype(np.float64)


def random_samples(rng, n, pixels):
    return rng.normal(size=(n, 2, len(pixels))).astype(np.float32)


@pytest.mark.parametrize("group", [PLAIN, EVEN, DISTORTED, BOTH])
def test_ctf_is_the_formula(tmp_path, pixels, group):
    particles = particles_of(tmp_path, group, each=4)
    found = particle_ctf(particles, np.arange(4), pixels)
    for row in range(4):
        # 1e-6 is what the kernel promises, an envelope and a factor in float32 add a few 1e-7.
        np.testing.assert_allclose(found[row], expected_ctf(particles, row, pixels), atol=2e-6, rtol=0)


def test_ctf_of_several_groups_in_one_batch(tmp_path, pixels):
    """In any order; the others in a batch change no bit."""
    particles = particles_of(tmp_path, PLAIN, EVEN, BOTH, DISTORTED, each=3)
    rows = np.array([7, 0, 2, 11, 1, 4, 6, 3, 10])
    found = particle_ctf(particles, rows, pixels)
    for place, row in enumerate(rows):
        np.testing.assert_allclose(found[place], expected_ctf(particles, row, pixels), atol=2e-6, rtol=0)
        np.testing.assert_array_equal(found[place], particle_ctf(particles, rows[[place]], pixels)[0])


def test_change_of_defocus_and_quarter_turns(tmp_path, pixels):
    particles = particles_of(tmp_path, EVEN, BOTH)
    rows, change = np.arange(4), np.array([100.0, -200.0, 0.0, 50.0])
    found = particle_ctf(particles, rows, pixels, change=change)
    sine, cosine = (particle_ctf(particles, rows, pixels, quarter_turns=turns) for turns in (0, 1))
    for row in rows:
        np.testing.assert_allclose(found[row], expected_ctf(particles, row, pixels, change[row]), atol=2e-6, rtol=0)
        k = at_magnified(particles, row, pixels)
        envelope = particles.ctf_scale[row] * np.exp(-particles.ctf_b_factor[row] / 4 * k.r2)
        np.testing.assert_allclose(sine[row] ** 2 + cosine[row] ** 2, envelope**2, atol=4e-6)


def test_image_ctf_leaves_its_arguments(tmp_path, pixels):
    particles = particles_of(tmp_path, BOTH)
    u, v, angle = (np.array(each) for each in (particles.defocus_u, particles.defocus_v, particles.defocus_angle))
    before = particles.optics.spherical_aberration.copy()
    image_ctf(particles.optics, particles.optics_group, pixels, defocus_u=u, defocus_v=v, defocus_angle=angle)
    for now, then in ((u, "defocus_u"), (v, "defocus_v"), (angle, "defocus_angle")):
        np.testing.assert_array_equal(now, getattr(particles, then))
    np.testing.assert_array_equal(particles.optics.spherical_aberration, before)


def test_phases_are_turned_by_the_formula(tmp_path, pixels, rng):
    """Several groups in one batch; those without antisymmetric aberrations keep their bits."""
    particles = particles_of(tmp_path, PLAIN, EVEN, BOTH, DISTORTED)
    rows = np.array([2, 0, 5, 1, 3, 6])
    group = particles.optics_group[rows]
    samples = random_samples(rng, len(rows), pixels)
    turned = samples.copy()
    turn_phases(turned, particles.optics, group, pixels, sign=1)
    for place, row in enumerate(rows):
        expected = complex_of(samples)[place] * np.exp(1j * expected_phase(particles, row, pixels))
        np.testing.assert_allclose(complex_of(turned)[place], expected, atol=2e-6)
    plain = np.isin(group, (0, 3))
    assert plain.any()
    np.testing.assert_array_equal(turned[plain], samples[plain])
    assert np.abs(turned - samples)[~plain].max() > 1


@pytest.mark.parametrize("first", [1, -1])
def test_turning_there_and_back_is_the_identity(tmp_path, pixels, rng, first):
    particles = particles_of(tmp_path, EVEN, BOTH)
    samples = random_samples(rng, 4, pixels)
    turned = samples.copy()
    for sign in (first, -first):
        turn_phases(turned, particles.optics, particles.optics_group, pixels, sign=sign)
    np.testing.assert_allclose(turned, samples, atol=2e-6)


def test_phases_are_odd(tmp_path):
    """A real image stays one: samples at -k are conjugate to those at k."""
    particles = particles_of(tmp_path, BOTH, each=1)
    k = np.arange(1, 12, dtype=np.int32)
    both = [SimpleNamespace(box=BOX, kx=sign * k, ky=sign * k[::-1]) for sign in (1, -1)]
    ones = []
    for some in both:
        samples = np.zeros((1, 2, 11), np.float32)
        samples[:, 0] = 1
        turn_phases(samples, particles.optics, particles.optics_group, some, sign=1)
        ones.append(complex_of(samples)[0])
    np.testing.assert_allclose(ones[0], ones[1].conj(), atol=1e-7)
    assert np.abs(ones[0].imag).max() > 0.1


FLIPPED, MULTIPLIED = {"rlnCtfDataArePhaseFlipped": "1"}, {"rlnCtfDataAreCtfPremultiplied": "1"}


def test_slices_become_images(tmp_path, pixels, rng):
    """exp(iφ) · CTF, |CTF| or CTF², which counts where both are said."""
    particles = particles_of(
        tmp_path, BOTH, {**BOTH, **FLIPPED}, {**EVEN, **MULTIPLIED}, {**BOTH, **FLIPPED, **MULTIPLIED}, PLAIN
    )
    rows = np.array([9, 0, 1, 2, 3, 4, 8, 7])
    changes = [lambda c: c, np.abs, np.square, np.square, lambda c: c]
    samples = random_samples(rng, len(rows), pixels)
    images = samples.copy()
    put_into_images(particles, images, rows, pixels)
    for place, row in enumerate(rows):
        factor = changes[row % 5](expected_ctf(particles, row, pixels))
        expected = complex_of(samples)[place] * factor * np.exp(1j * expected_phase(particles, row, pixels))
        np.testing.assert_allclose(complex_of(images)[place], expected, atol=1e-5)


def test_flipped_phases_are_given_back(tmp_path, pixels, rng):
    """The images of other groups keep their bits, and so do those that were multiplied by their CTF as well."""
    particles = particles_of(tmp_path, BOTH, {**BOTH, **FLIPPED}, MULTIPLIED, {**FLIPPED, **MULTIPLIED})
    rows = np.array([1, 0, 2, 3, 5, 7])
    samples = random_samples(rng, len(rows), pixels)
    found = samples.copy()
    unflip(found, particles, rows, pixels)
    for place, row in enumerate(rows):
        sign = np.ones(len(pixels))
        if row % 4 == 1:
            sign = np.where(particle_ctf(particles, rows[[place]], pixels)[0] < 0, -1.0, 1.0)
            assert (sign < 0).any()
        np.testing.assert_array_equal(found[place], samples[place] * sign.astype(np.float32))


def test_what_is_known_of_groups(tmp_path, pixels):
    particles = particles_of(tmp_path, PLAIN, MULTIPLIED, DISTORTED)
    assert [are_premultiplied(particles, np.array([row])) for row in range(3)] == [False, True, False]
    assert magnification(particles, np.array([0, 1])) is None
    np.testing.assert_array_equal(magnification(particles, np.array([2, 0]))[1], np.eye(2))
    largest = np.linalg.svd(particles.optics.magnification[2], compute_uv=False)[0]
    assert stretch(particles.optics) == pytest.approx(largest, rel=1e-12)
    assert stretch(particles_of(tmp_path, {"rlnMagMat00": "0.9"}).optics) == 1
    square = mean_square_ctf(particles, np.array([1, 2]), pixels, 20)
    for place, row in enumerate((1, 2)):
        expected = expected_ctf(particles, row, pixels) ** 2
        for shell in range(1, 16):
            assert square[place, shell] == pytest.approx(expected[pixels.shell == shell].mean(), abs=1e-5)
    np.testing.assert_array_equal(square[:, 17:], 1)


def test_ctf_of_all_particles(tmp_path, pixels):
    """That of `particle_ctf`, of all rows by default; what cannot be is said."""
    particles = particles_of(tmp_path, EVEN, each=4)
    np.testing.assert_array_equal(
        pycryo.ctf_of(particles, pixels), particle_ctf(particles, np.arange(particles.n), pixels)
    )
    np.testing.assert_array_equal(pycryo.ctf_of(particles, pixels, [1]), pycryo.ctf_of(particles, pixels)[1:2])
    plain = pycryo.Particles.from_arrays(np.zeros((2, 8, 8)), 2.0)
    for call, words in (
        (lambda: pycryo.ctf_of(particles, pixels, [particles.n]), "rows: expected numbers below"),
        (lambda: pycryo.ctf_of(particles, half_plane(pixels.box + 2, 4)), "pixels: expected samples of images of"),
        (lambda: pycryo.ctf_of(particles, 64), "pixels: expected .* got int"),
        (lambda: pycryo.ctf_of(plain, half_plane(8, 4)), "has no rlnDefocusU"),
    ):
        with pytest.raises(pycryo.InputError, match=words):
            call()
