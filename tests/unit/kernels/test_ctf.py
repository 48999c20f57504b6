"""Kernel `ctf` against its float64 twin and against what is known of the function."""

import numpy as np
import pytest

from pycryo.kernels.ctf import ctf, electron_wavelength
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.reference.ctf import ctf as ctf_twin

KRIOS = {
    "frequency_step": 1 / (256 * 1.1),
    "defocus_u": 15000.0,
    "defocus_v": 14200.0,
    "defocus_angle": 37.0,
    "voltage": 300.0,
    "spherical_aberration": 2.7,
    "amplitude_contrast": 0.1,
}


def random_optics(rng, n):
    return {
        "frequency_step": 1 / rng.uniform(150, 600, n),
        "defocus_u": rng.uniform(-2000, 40000, n),
        "defocus_v": rng.uniform(-2000, 40000, n),
        "defocus_angle": rng.uniform(-180, 180, n),
        "voltage": rng.choice([100.0, 200.0, 300.0], n),
        "spherical_aberration": rng.uniform(0, 4, n),
        "amplitude_contrast": rng.uniform(0, 0.2, n),
        "phase_shift": rng.uniform(0, 180, n),
        "b_factor": rng.uniform(-20, 200, n),
        "scale": rng.uniform(0.5, 1.5, n),
    }


@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("box, r_high", [(16, 1), (32, 16), (129, 64), (256, 100)])
def test_equals_twin(n, box, r_high, rng):
    pixels = half_plane(box, r_high)
    optics = random_optics(rng, n)
    expected = ctf_twin(pixels.kx, pixels.ky, **optics)
    envelope = np.exp(np.maximum(0, -optics["b_factor"] / 4 * (r_high * optics["frequency_step"]) ** 2))
    # 1e-6 is promised for values of size scale · envelope.
    error = np.abs(ctf(pixels.kx, pixels.ky, **optics) - expected)
    assert (error <= 1e-6 * (optics["scale"] * envelope)[:, None]).all()


@pytest.mark.parametrize("box, r_high", [(16, 1), (32, 16), (129, 64), (256, 100)])
@pytest.mark.parametrize("b_factor", [0.0, 50.0])
def test_offsets_equal_twin(box, r_high, b_factor, rng):
    """Some images have one of three rows of further phases, some none."""
    pixels = half_plane(box, r_high)
    optics = random_optics(rng, 6) | {"b_factor": b_factor}
    offset = rng.uniform(-20, 20, (3, len(pixels)))
    which = np.array([2, -1, 0, 0, 1, -1], np.int32)
    expected = ctf_twin(pixels.kx, pixels.ky, **optics, offset=offset, which=which)
    found = ctf(pixels.kx, pixels.ky, **optics, offset=offset, which=which)
    error = np.abs(found - expected)
    assert (error <= 1e-6 * optics["scale"][:, None]).all()
    # Where there is none, nothing has changed, to the last bit.
    plain = ctf(pixels.kx, pixels.ky, **optics)
    np.testing.assert_array_equal(found[which < 0], plain[which < 0])
    one = ctf(pixels.kx, pixels.ky, **optics, offset=offset, which=which, threads=1)
    np.testing.assert_array_equal(one, ctf(pixels.kx, pixels.ky, **optics, offset=offset, which=which, threads=3))


@pytest.mark.parametrize("n_pixel", [0, 1, 3, 4, 7, 8, 15, 16, 17, 4095, 4096, 4097])
def test_offsets_of_any_number_of_pixels(n_pixel, rng):
    pixels = half_plane(256, 100)
    kx, ky = pixels.kx[-n_pixel:][:n_pixel].copy(), pixels.ky[-n_pixel:][:n_pixel].copy()
    offset, which = rng.uniform(-3, 3, (2, n_pixel)), np.array([1], np.int32)
    result = ctf(kx, ky, **KRIOS, offset=offset, which=which)
    np.testing.assert_allclose(result, ctf_twin(kx, ky, **KRIOS, offset=offset, which=which), atol=1e-6, rtol=0)


@pytest.mark.parametrize("n_pixel", [0, 1, 3, 4, 7, 8, 15, 16, 17, 4095, 4096, 4097])
@pytest.mark.parametrize("b_factor", [0.0, 50.0])
def test_any_number_of_pixels(n_pixel, b_factor):
    pixels = half_plane(256, 100)
    kx, ky = pixels.kx[-n_pixel:][:n_pixel].copy(), pixels.ky[-n_pixel:][:n_pixel].copy()
    result = ctf(kx, ky, **KRIOS, b_factor=b_factor)
    np.testing.assert_allclose(result, ctf_twin(kx, ky, **KRIOS, b_factor=b_factor), atol=1e-6, rtol=0)


def test_large_phases_keep_their_accuracy():
    kx, ky = np.arange(2000, dtype=np.int32), np.zeros(2000, np.int32)
    optics = KRIOS | {"defocus_u": 2e5, "defocus_v": 2e5, "frequency_step": 1 / 4000}  # phases to 3000 rad at 2 Å
    # The twin itself rounds its phase by 3000 · 1e-16.
    np.testing.assert_allclose(ctf(kx, ky, **optics), ctf_twin(kx, ky, **optics), atol=1e-6, rtol=0)


def test_envelope_relative_accuracy_and_underflow():
    kx, ky = np.arange(200, dtype=np.int32), np.zeros(200, np.int32)
    optics = KRIOS | {"defocus_u": 0.0, "defocus_v": 0.0, "spherical_aberration": 0.0, "amplitude_contrast": 1.0}
    result = ctf(kx, ky, **optics, b_factor=300.0)[0]
    # sin(π/2) and the exponential: float32 polynomials, 1e-6 together, of the value.
    np.testing.assert_allclose(result, ctf_twin(kx, ky, **optics, b_factor=300.0)[0], rtol=1e-6, atol=0)
    assert ctf(kx, ky, **optics, b_factor=1e6)[0, -1] < 2e-38


def test_is_positive_at_the_origin_and_for_small_underfocus():
    origin = np.zeros(1, np.int32)
    assert ctf(origin, origin, **KRIOS)[0, 0] == pytest.approx(0.1, abs=1e-6)  # amplitude contrast; float32 sine
    k = np.arange(3, dtype=np.int32)
    assert (np.diff(ctf(k, 0 * k, **KRIOS)[0]) > 0).all()


def test_defocus_u_is_along_its_angle():
    k = np.array([20, 0], np.int32)
    u, v = ctf(k, k[::-1].copy(), **KRIOS | {"defocus_angle": 0.0})[0]
    round_u, round_v = (ctf(k[:1], k[1:], **KRIOS | {"defocus_u": d, "defocus_v": d})[0, 0] for d in (15000.0, 14200.0))
    np.testing.assert_allclose([u, v], [round_u, round_v], atol=1e-6)  # the promised accuracy


def test_wavelength():
    # Reimer & Kohl, Transmission Electron Microscopy: 3.70, 2.51 and 1.97 pm, three digits.
    np.testing.assert_allclose(electron_wavelength([100, 200, 300]), [0.0370, 0.0251, 0.0197], atol=5e-5)


def test_threads_and_neighbours_change_no_bit(rng):
    pixels = half_plane(256, 100)
    optics = random_optics(rng, 5)
    one = ctf(pixels.kx, pixels.ky, **optics, threads=1)
    np.testing.assert_array_equal(one, ctf(pixels.kx, pixels.ky, **optics, threads=3))
    last = {name: values[-1:] for name, values in optics.items()}
    np.testing.assert_array_equal(one[-1:], ctf(pixels.kx, pixels.ky, **last))


@pytest.mark.parametrize("b_factor", [0.0, 50.0])
def test_value_depends_on_its_own_sample_only(b_factor, rng):
    """The same bits in rows, in rows that begin elsewhere, and one by one in any order; kx may be negative."""
    kx, ky = (k.reshape(-1).astype(np.int32) for k in np.meshgrid(np.arange(-40, 41), np.arange(-7, 8)))
    optics = random_optics(rng, 3) | {"b_factor": b_factor}
    offset, which = rng.uniform(-20, 20, (1, len(kx))), np.array([0, -1, 0], np.int32)
    whole = ctf(kx, ky, **optics, offset=offset, which=which)
    # Negative factors make the envelope greater than 1; these here do not.
    np.testing.assert_allclose(
        whole, ctf_twin(kx, ky, **optics, offset=offset, which=which), atol=1e-6 * optics["scale"].max(), rtol=0
    )
    for order in (rng.permutation(len(kx)), np.arange(len(kx))[::-1], np.flatnonzero(kx > -38), np.arange(5, 9)):
        found = ctf(kx[order], ky[order], **optics, offset=offset[:, order], which=which)
        np.testing.assert_array_equal(found, whole[:, order])


def test_few_images_are_cut_into_parts(rng):
    """With many threads parts of an image are computed apart: the same bits."""
    pixels = half_plane(512, 200)
    optics = random_optics(rng, 2)
    one, many = (ctf(pixels.kx, pixels.ky, **optics, threads=n) for n in (1, 9))
    np.testing.assert_array_equal(one, many)


def test_errors_name_the_parameter():
    kx = np.arange(3, dtype=np.int32)
    with pytest.raises(ValueError, match="ky: element 2 is 32768, expected -32767 to 32767"):
        ctf(kx, kx + np.int32(32766), **KRIOS)
    for change, message in (
        ({"voltage": 0.0}, "voltage: expected positive"),
        ({"defocus_u": np.nan}, "defocus_u: expected finite"),
        ({"amplitude_contrast": [0.1, 1.2]}, "amplitude_contrast: expected -1 to 1, got 1.2"),
        ({"scale": np.ones((2, 2))}, r"scale: expected a number or shape \(n,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            ctf(kx, kx, **KRIOS | change)
    with pytest.raises(ValueError, match=r"out: expected shape \(1, 3\), got \(2, 3\)"):
        ctf(kx, kx, **KRIOS, out=np.empty((2, 3), np.float32))


def test_errors_of_offsets():
    kx, offset = np.arange(3, dtype=np.int32), np.zeros((2, 3))
    which = np.zeros(1, np.int32)
    for change, message in (
        ({"offset": offset}, "offset, which: expected both or none"),
        ({"which": which}, "offset, which: expected both or none"),
        ({"offset": offset, "which": which + 2}, "which: element 0 is 2, expected -1 to 1"),
        ({"offset": offset, "which": which - 2}, "which: element 0 is -2, expected -1 to 1"),
        ({"offset": offset[:0], "which": which}, "which: element 0 is 0"),
        ({"offset": offset[:, :2].copy(), "which": which}, "offset: expected shape"),
        ({"offset": offset, "which": np.zeros(2, np.int32)}, r"which: expected shape \(1\), got \(2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            ctf(kx, kx, **KRIOS, **change)
