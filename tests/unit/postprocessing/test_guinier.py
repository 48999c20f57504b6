"""The Guinier fit finds the B-factor that a map was given."""

import numpy as np
import pytest

from pycryo.postprocessing.guinier import fit_b_factor, fit_line, log_amplitudes, shell_amplitudes

BOX, PIXEL = 48, 1.5


def distances(box):
    line = np.fft.fftfreq(box, 1 / box)
    return np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line[: box // 2 + 1] ** 2)


@pytest.mark.parametrize("box", [16, 15])
def test_shell_amplitudes_are_those_of_the_whole_transform(box):
    volume = np.random.default_rng(1).normal(size=(box, box, box))
    line = np.fft.fftfreq(box, 1 / box)
    shell = np.rint(np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2)).astype(int)
    amplitude = np.abs(np.fft.fftn(volume))
    expected = [amplitude[shell == s].mean() for s in range(box // 2 + 1)]
    np.testing.assert_allclose(shell_amplitudes(np.fft.rfftn(volume)), expected, rtol=1e-12)


def test_fit_finds_the_b_factor_of_a_map():
    # White amplitudes, exp(-B/4 s²): shells are 1 px thick, so that the mean radius of a shell is its number to 1e-3.
    frequency = distances(BOX) / (BOX * PIXEL)
    transform = np.exp(-150 / 4 * frequency**2).astype(np.complex128)
    line = fit_b_factor(log_amplitudes(shell_amplitudes(transform)), BOX * PIXEL, 10.0, 3.2)
    assert line.b_factor == pytest.approx(-150, rel=0.01)
    assert line.correlation == pytest.approx(-1, abs=1e-3)
    assert line.n == 22 - 8 + 1  # 72 Å / 10 Å = 7.2, 72 Å / 3.2 Å = 22.5


def test_limits_are_included():
    values = -np.arange(40.0)
    assert fit_b_factor(values, 100.0, 10.0, 5.0).n == 11


def test_line_is_that_of_numpy():
    rng = np.random.default_rng(2)
    x, weight = np.sort(rng.random(20)), rng.random(20)
    y = 3 - 2 * x + 0.1 * rng.normal(size=20)
    line = fit_line(x, y, weight)
    np.testing.assert_allclose([line.slope, line.intercept], np.polyfit(x, y, 1, w=np.sqrt(weight)), rtol=1e-10)


def test_no_line_through_few_points():
    assert fit_b_factor(np.zeros(30), 100.0, 10.0, 9.0) is None
    assert fit_line(np.arange(4.0), np.array([1, np.nan, 2, 3]), np.ones(4)) is None


def test_shells_without_amplitude_are_left_out():
    amplitude = np.exp(-np.arange(30.0))
    amplitude[15] = 0
    assert np.isnan(log_amplitudes(amplitude)[15])
    assert fit_b_factor(log_amplitudes(amplitude), 100.0, 10.0, 5.0).n == 10
