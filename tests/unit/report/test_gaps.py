"""Zeros of the particles' CTFs, and what is told of signal beyond them."""

from dataclasses import replace

import numpy as np
import pytest

from pycryo.io.example_data import betagal
from pycryo.io.particles import read_particles
from pycryo.kernels.ctf import electron_wavelength
from pycryo.kernels.reference.ctf import ctf as reference_ctf
from pycryo.maps.fsc import Fsc
from pycryo.report.fsc_files import fsc_figure
from pycryo.report.gaps import gaps_of, mean_ctf_power, return_text, told_return, with_told_return

FREQUENCY = np.arange(65) / 320.0


@pytest.fixture(scope="module")
def particles():
    return read_particles(betagal() / "particles.star", validate=False)


def test_mean_power_is_that_of_a_float64_twin(particles):
    rows = np.array([0, 70, 149])
    angle = np.arange(12) * np.pi / 12
    optics = particles.optics
    total = 0
    for row in rows:
        group = particles.optics_group[row]
        for each in angle:
            total = total + np.array(
                [
                    reference_ctf(
                        np.array([1]), np.array([0]), frequency_step=s, defocus_u=particles.defocus_u[row],
                        defocus_v=particles.defocus_v[row],
                        defocus_angle=particles.defocus_angle[row] - np.rad2deg(each),
                        voltage=optics.voltage[group], spherical_aberration=optics.spherical_aberration[group],
                        amplitude_contrast=optics.amplitude_contrast[group],
                    ).item()
                    for s in FREQUENCY
                ]
            ) ** 2  # fmt: skip
    # Directions are rounded to 1/16 shell: 3e-3 of the phase at shell 10, which is π there; less where it matters.
    np.testing.assert_allclose(mean_ctf_power(particles, rows, FREQUENCY), total / 36, atol=0.03)


def test_first_gap_is_the_first_zero(particles):
    gaps = gaps_of(mean_ctf_power(particles, np.arange(particles.n), FREQUENCY), FREQUENCY)
    wavelength = float(electron_wavelength(300))
    # π λ Δf s² + asin 0.1 = π, Cs told apart: it turns the phase by 0.03 there.
    zero = 1 / np.sqrt((1 - np.arcsin(0.1) / np.pi) / (wavelength * 10500))
    assert gaps[0] == pytest.approx(zero, rel=0.03)
    assert gaps == sorted(gaps, reverse=True)


def test_many_defoci_leave_no_gap(particles):
    n = particles.n
    spread = replace(particles, defocus_u=np.linspace(8000, 20000, n), defocus_v=np.linspace(8000, 20000, n))
    assert gaps_of(mean_ctf_power(spread, np.arange(n), FREQUENCY), FREQUENCY) == []


def curves():
    corrected = np.zeros(65)
    corrected[:20] = 0.9
    corrected[25:30] = 0.3
    return Fsc(128, 2.5, corrected, corrected, corrected, corrected, 65)


def test_what_is_told_is_read_again():
    fsc = replace(curves(), returned=((25, 29),))
    told = told_return(fsc)
    assert told["bands"] == [[320 / 25, 320 / 29]]
    assert 320 / 30 < told["resolution"] < 320 / 29
    assert with_told_return(curves(), told).returned == ((25, 29),)
    assert told_return(curves()) is None
    assert with_told_return(curves(), None).returned == ()


def test_text():
    told = told_return(replace(curves(), returned=((25, 29),)))
    assert return_text(16.0, None, [14.6]) is None
    text = return_text(16.0, told, [14.6, 9.0])
    assert "zero at 14.6 Å" in text
    assert f"{told['resolution']:.2f} Å" in text
    assert "zero at" not in return_text(16.0, told, [30.0])


def test_plot_has_bands_and_zeros():
    axes = fsc_figure(replace(curves(), returned=((25, 29),)), gaps=[14.6, 10.0]).axes[0]
    labels = [each.get_text() for each in axes.get_legend().get_texts()]
    assert labels.count("signal comes back") == labels.count("CTF zero") == 1
    plain = fsc_figure(curves()).axes[0].get_legend().get_texts()
    assert len(labels) == len(plain) + 2
