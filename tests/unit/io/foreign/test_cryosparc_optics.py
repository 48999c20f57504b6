"""cryoSPARC's aberrations: the phases that RELION's columns make are those of the definition, and back."""

import numpy as np
import pytest

from pycryo.geometry.aberrations import even_sum, odd_sum, tilt_phase
from pycryo.io.foreign.cryosparc_optics import Aberrations, from_relion, relion_columns
from pycryo.kernels.ctf import electron_wavelength

RNG = np.random.default_rng(2)
X, Y = RNG.uniform(-0.3, 0.3, (2, 50))
RHO, THETA = np.hypot(X, Y), np.arctan2(Y, X)


def some(groups=2):
    scales = {"shift": (2, 0.3), "tilt": (2, 5e3), "trefoil": (2, 8e3), "tetra": (4, 3e5), "anisomag": (4, 0.01)}
    return Aberrations(**{name: RNG.normal(0, scale, (groups, k)) for name, (k, scale) in scales.items()})


def numbers(columns, label, group):
    if label not in columns:
        return []
    return [float(part) for part in str(columns[label][group]).strip("[]").split(",")]


@pytest.mark.parametrize("cs", [2.7, 0.01, 0.0])
def test_phases(cs):
    """Also where Cs is too small to divide by."""
    found, voltage, cs = some(), np.array([300.0, 200.0]), np.full(2, cs)
    columns = relion_columns(found, voltage, cs)
    wavelength = electron_wavelength(voltage)
    for g, lam in enumerate(wavelength):
        (sx, sy), (tx, ty), (a, b) = found.shift[g], found.tilt[g], found.trefoil[g]
        odd = sx * X + sy * Y + lam**2 * RHO**2 * (tx * X + ty * Y)
        odd += lam**2 / 3 * RHO**3 * (a * np.cos(3 * THETA) + b * np.sin(3 * THETA))
        tilt = np.array([(numbers(columns, f"rlnBeamTilt{axis}", g) or [0.0])[0] for axis in "XY"])
        made = odd_sum(numbers(columns, "rlnOddZernike", g), X, Y) + tilt_phase(tilt, cs[g], lam, X, Y)
        np.testing.assert_allclose(made, -2 * np.pi * odd, atol=1e-6 * np.abs(odd).max() * 2 * np.pi)
        c, d, e, f = found.tetra[g]
        even = 2 * np.pi * (c * np.cos(2 * THETA) + d * np.sin(2 * THETA))
        even = lam**3 * RHO**4 * (even + np.pi / 2 * (e * np.cos(4 * THETA) + f * np.sin(4 * THETA)))
        made = even_sum(numbers(columns, "rlnEvenZernike", g), X, Y)
        np.testing.assert_allclose(made, even, atol=1e-6 * np.abs(even).max())
        matrix = [numbers(columns, f"rlnMagMat{place}", g)[0] for place in ("00", "01", "10", "11")]
        np.testing.assert_allclose(matrix, found.anisomag[g] + [1, 0, 0, 1], atol=1e-8)


def test_a_beam_tilt_is_that_of_csparc2star():
    """Its formula has an arc sine, which differs from 1 by less than 1e-5 up to 7 mrad."""
    tilt = np.array([[2.7e4, -1.35e4]])
    zeros = np.zeros((1, 2))
    found = Aberrations(zeros, tilt, zeros, np.zeros((1, 4)), np.zeros((1, 4)))
    columns = relion_columns(found, np.array([300.0]), np.array([2.7]))
    theirs = np.arcsin(tilt[0] / 2.7 * 1e-7) * 1e3
    np.testing.assert_allclose([columns["rlnBeamTiltX"][0], columns["rlnBeamTiltY"][0]], theirs, rtol=1e-5)
    assert set(columns) == {"rlnBeamTiltX", "rlnBeamTiltY"}


def test_nothing_says_nothing():
    assert relion_columns(Aberrations.none(2), np.full(2, 300.0), np.full(2, 2.7)) == {}


def test_coefficients_of_any_value_come_back_as_phases():
    """What has no field of its own goes into Cs, defocus, astigmatism and phase shift."""
    odd, even = RNG.normal(0, [3, 3, 40, 40, 40, 40], (2, 6)), RNG.normal(0, [0.1, 5, 5, 5, 60, 60, 60, 60, 60], (2, 9))
    tilt, magnification = RNG.normal(0, 0.3, (2, 2)), np.eye(2) + RNG.normal(0, 0.01, (2, 2, 2))
    voltage, cs = np.array([300.0, 200.0]), np.array([2.7, 0.0])
    found, rest = from_relion(odd, even, tilt, magnification, np.stack([voltage, cs], axis=1))
    columns = relion_columns(found, voltage, cs)
    for g, lam in enumerate(electron_wavelength(voltage)):
        back = np.array([(numbers(columns, f"rlnBeamTilt{axis}", g) or [0.0])[0] for axis in "XY"])
        made = odd_sum(numbers(columns, "rlnOddZernike", g), X, Y) + tilt_phase(back, cs[g], lam, X, Y)
        truth = odd_sum(odd[g], X, Y) + tilt_phase(tilt[g], cs[g], lam, X, Y)
        np.testing.assert_allclose(made, truth, atol=1e-6)
        made = -even_sum(numbers(columns, "rlnEvenZernike", g), X, Y) + rest.phase_shift[g]
        defocus = rest.defocus[g] + rest.along[g] * np.cos(2 * THETA) + rest.across[g] * np.sin(2 * THETA)
        made += np.pi * lam * defocus * RHO**2 - np.pi / 2 * rest.cs[g] * 1e7 * lam**3 * RHO**4
        np.testing.assert_allclose(made, -even_sum(even[g], X, Y), atol=1e-6)
        matrix = [numbers(columns, f"rlnMagMat{place}", g)[0] for place in ("00", "01", "10", "11")]
        np.testing.assert_allclose(matrix, magnification[g].ravel(), atol=1e-8)
