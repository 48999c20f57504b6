"""What a window leaks, against transforms of windowed maps, and spectra freed of it."""

import numpy as np
import pytest
import scipy.fft

from pycryo.kernels.shells import shell_counts, volume_shells
from pycryo.postprocessing.spectral_window import Leakage, Window, limits


def shells(box):
    line = np.square(np.fft.fftfreq(box, 1 / box))
    return np.sqrt(line[:, None, None] + line[:, None] + line).round().astype(int)


@pytest.mark.parametrize("diameter", [7.3, 12.0])
def test_window_is_a_hann_sphere_in_an_even_box(diameter):
    window = Window(diameter)
    values, middle = window.values(), window.box // 2
    assert window.box % 2 == 0
    assert window.box >= 2 * diameter
    assert values.shape == (window.box,) * 3
    assert values[middle, middle, middle] == 1
    at = diameter / 2
    line = np.interp(at, np.arange(middle), values[middle, middle, middle:])
    assert line == pytest.approx(0.5, abs=0.02)  # between voxels, of a curve with a slope of π / (4 · diameter) per px
    assert values[0].max() < 1e-6


def test_leakage_is_that_of_the_discrete_transform():
    """Of white shells, by convolving them with the power of the window."""
    window = Window(12.0)
    box, n = window.box, window.n_shell
    power = np.abs(np.fft.fftn(window.values().astype(float))) ** 2
    power = np.fft.fftn(power / power.sum())
    shell, counts = shells(box), shell_counts(box)
    expected = np.empty((n, n))
    for column in range(n):
        smeared = np.fft.ifftn(np.fft.fftn((shell == column).astype(float)) * power).real
        expected[:, column] = np.bincount(shell.ravel(), smeared.ravel())[:n] / counts
    found = window.leakage()
    # Shells of a grid are rough spheres: their samples are spread unevenly over the px that a shell is thick.
    np.testing.assert_allclose(found[3:-2], expected[3:-2], atol=0.08)
    np.testing.assert_allclose(found[: n // 2].sum(axis=1), 1, atol=1e-3)
    far = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) > 3
    ratio = found[far] / expected[far]
    assert np.median(ratio) == pytest.approx(1, abs=0.1)


def test_freed_spectra_are_those_before_the_leakage():
    leakage = Leakage(Window(12.0))
    spectrum = np.ones((len(leakage.matrix), 2))
    spectrum[7:, 0] = 1e-4
    spectrum[:, 1] = np.exp(-np.arange(len(spectrum)) / 4)
    found = leakage.freed(leakage.matrix @ spectrum)
    # In twenty steps the edge is sharp but for the shells beside it.
    assert (np.abs(found[:6, 0] - 1) < 0.15).all()
    assert (found[9:, 0] < 2e-3).all()
    np.testing.assert_allclose(found[1:-3, 1], spectrum[1:-3, 1], rtol=0.15)


def test_spectra_do_not_depend_on_their_company():
    leakage = Leakage(Window(9.0))
    spectra = np.random.default_rng(1).uniform(0.1, 1, (len(leakage.matrix), 33))
    together = leakage.freed(spectra)
    for number in (0, 17, 32):
        np.testing.assert_array_equal(leakage.freed(spectra[:, number : number + 1])[:, 0], together[:, number])


def sums_of(window, first, second):
    values = window.values()
    transforms = (scipy.fft.rfftn(np.float32(each) * values) for each in (first, second))
    return volume_shells(*transforms, window.n_shell, threads=1)


@pytest.mark.parametrize("edge, noise", [(6.0, 0.3), (9.0, 0.03), (8.0, 1e-5)])
def test_limit_of_a_band_limited_signal(edge, noise):
    """White signal to `edge` shells of the window, noise beyond: by leakage alone up to 4 shells more agree."""
    window, n = Window(14.0), 56
    rng = np.random.default_rng(3)
    transform = np.fft.fftn(rng.standard_normal((n,) * 3))
    line = np.square(np.fft.fftfreq(n))
    transform[np.sqrt(line[:, None, None] + line[:, None] + line) > (edge + 0.5) / window.box] = 0
    signal = np.fft.ifftn(transform).real
    middle = (slice(n // 2 - window.box // 2, n // 2 + window.box // 2),) * 3
    halves = [signal + noise * signal.std() * rng.standard_normal(signal.shape) for _ in range(2)]
    sums = sums_of(window, *(half[middle] for half in halves))
    found = limits(sums[None], shell_counts(window.box), Leakage(window), 0.5)
    assert found[0] == pytest.approx(edge + 0.5, abs=0.6)  # the edge of a shell, to half a shell


def test_limits_at_the_ends():
    window = Window(8.0)
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((3, *(window.box,) * 3))
    leakage, counts = Leakage(window), shell_counts(window.box)
    same, none = sums_of(window, noise[0], noise[0]), sums_of(window, noise[0], noise[1])
    found = limits(np.stack([same, none]), counts, leakage, 0.5)
    assert found[0] == window.n_shell - 1
    assert found[1] < 3
    assert len(limits(np.empty((0, window.n_shell, 3)), counts, leakage, 0.5)) == 0


def test_half_maps_on_other_scales_have_the_same_limit():
    window = Window(8.0)
    rng = np.random.default_rng(6)
    signal, *noise = rng.standard_normal((3, *(window.box,) * 3))
    halves = [signal + 0.3 * each for each in noise]
    leakage, counts = Leakage(window), shell_counts(window.box)
    sums = np.stack([sums_of(window, *halves), sums_of(window, halves[0], 50 * halves[1])])
    found = limits(sums, counts, leakage, 0.5)
    assert found[1] == pytest.approx(found[0], rel=1e-5)
