"""A sharpened map of two half-maps whose B-factor, MTF and FSC are known."""

from dataclasses import replace

import numpy as np
import pytest
from scattered import BOX, PIXEL, frequency, half_maps

from pycryo.errors import InputError
from pycryo.maps.density import Map
from pycryo.maps.fsc import Fsc
from pycryo.postprocessing.mtf import Mtf
from pycryo.postprocessing.process import PostprocessOptions, postprocess
from pycryo.postprocessing.sharpen import Filter, fsc_weights

# ln amplitudes fall by 120/4 · (1/3.2² - 1/10²) = 2.6 over the fit. Shells of a hundred and more independent amplitudes
# (of Rayleigh's distribution, deviation ½) have means to 5 % and less, so that the slope of 17 is known to about 2 %.
_B_TOLERANCE = 0.05


@pytest.fixture(scope="module")
def halves():
    return half_maps(noise=0.001)


@pytest.fixture(scope="module")
def result(halves):
    return postprocess(*halves, options(fit_to=3.2))


def options(**values):
    return PostprocessOptions(Filter(**values))


def test_fit_finds_the_b_factor(result):
    assert result.b_factor == pytest.approx(-120, rel=_B_TOLERANCE)
    assert result.guinier.line.correlation < -0.98
    assert 2.39 < result.resolution < 2.8


def test_noise_around_the_molecule_makes_the_fall_off_less_steep():
    """As in relion_postprocess: the fit is that of the map without a mask, its weights are of the masked FSC."""
    result = postprocess(*half_maps(noise=0.02))
    assert -110 < result.b_factor < -90
    assert 2.9 < result.resolution < 3.4


def test_sharpened_amplitudes_are_flat(result):
    plot = result.guinier
    inside = (plot.squared >= 1 / 10.0**2) & (plot.squared <= 1 / 3.2**2)
    assert abs(np.polyfit(plot.squared[inside], plot.sharpened[inside], 1)[0]) < 0.05 * 120 / 4


def twin_fsc(first, second):
    """FSC of two maps, float64, shell by shell."""
    line = np.fft.fftfreq(len(first), 1 / len(first))
    shell = np.rint(np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2)).astype(int)
    a, b = np.fft.fftn(first.astype(float)), np.fft.fftn(second.astype(float))
    found = []
    for s in range(len(first) // 2 + 1):
        x, y = a[shell == s], b[shell == s]
        found.append((x @ y.conj()).real / np.sqrt((x @ x.conj()).real * (y @ y.conj()).real))
    return np.array(found)


def test_curves_are_those_of_a_float64_twin(halves, result):
    first, second, mask = halves
    fsc = result.fsc
    # Single precision transforms of 64³ values.
    np.testing.assert_allclose(fsc.unmasked, twin_fsc(first.data, second.data), atol=1e-4)
    np.testing.assert_allclose(fsc.masked, twin_fsc(first.data * mask.data, second.data * mask.data), atol=1e-4)
    start = int(np.flatnonzero(fsc.unmasked[1:] < 0.8)[0]) + 1
    assert fsc.randomised_from == start
    np.testing.assert_array_equal(fsc.corrected[: start + 2], fsc.masked[: start + 2])
    beyond = np.arange(start + 2, len(fsc.masked))
    expected = (fsc.masked - fsc.randomised) / (1 - fsc.randomised)
    expected = np.where(fsc.randomised > fsc.masked, np.maximum(expected, 0), expected)
    np.testing.assert_allclose(fsc.corrected[beyond], expected[beyond], atol=1e-12)


def test_map_is_that_of_a_float64_twin(halves, result):
    """Mean, weights of the shells, B-factor."""
    first, second, _ = halves
    radius = frequency() * BOX * PIXEL
    curve = result.fsc.corrected
    first_zero = np.flatnonzero(curve <= 0)
    weights = np.sqrt(2 * np.clip(curve, 0, 1) / (1 + np.clip(curve, 0, 1)))
    weights[first_zero[0] if len(first_zero) else len(curve) :] = 0
    factor = np.append(weights, 0)[np.minimum(np.rint(radius).astype(int), len(weights))]
    factor = factor * np.exp(-result.b_factor / 4 * frequency() ** 2)
    mean = (first.data.astype(float) + second.data) / 2
    expected = np.fft.irfftn(np.fft.rfftn(mean) * factor, mean.shape, (0, 1, 2))
    np.testing.assert_allclose(result.map.data, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(result.masked.data, result.map.data * result.mask.data)


def test_mtf_is_taken_out():
    """Half-maps that a detector dimmed have, with its MTF, the B-factor and the map that they would have had."""
    points = np.linspace(0, 0.5, 51)
    mtf = Mtf(points, np.exp(-3 * points), PIXEL / 2)
    dimmed = half_maps(transfer=mtf.at, noise=0.0005)
    plain = postprocess(*half_maps(noise=0.0005), options(fit_to=3.2))
    result = postprocess(*dimmed, options(mtf=mtf, fit_to=3.2))
    without = postprocess(*dimmed, options(fit_to=3.2))
    assert result.b_factor == pytest.approx(plain.b_factor, rel=0.02)
    assert without.b_factor < 1.1 * plain.b_factor
    inside = slice(1, 20)
    plot = result.guinier
    np.testing.assert_allclose(plot.mtf_corrected[inside], plain.guinier.original[inside], atol=0.02)
    assert np.corrcoef(result.masked.data.ravel(), plain.masked.data.ravel())[0, 1] > 0.98


def test_given_b_factor_limits_and_low_pass(halves):
    result = postprocess(*halves, replace(options(b_factor=-50.0, fit_from=8.0, fit_to=4.0), low_pass=6.0))
    assert result.b_factor == -50
    assert result.guinier.line.n == 19 - 10 + 1  # 76.8 Å / 8 Å = 9.6, 76.8 Å / 4 Å = 19.2
    power = np.abs(np.fft.rfftn(result.map.data))
    assert power[frequency() > 1 / 5].max() < 1e-4 * power.max()


def test_unweighted_map_keeps_the_noise(halves):
    noisy = postprocess(*halves, replace(options(b_factor=0.0, is_weighted=False), low_pass=2 * PIXEL))
    mean = (halves[0].data + halves[1].data) / 2
    low = frequency() < 0.9 / (2 * PIXEL)
    kept, before = np.fft.rfftn(noisy.map.data)[low], np.fft.rfftn(mean)[low]
    np.testing.assert_allclose(kept, before, atol=1e-5 * np.abs(before).max())


def test_weights_end_at_the_first_zero_but_for_bands():
    curve = np.array([1, 0.9, 0.5, -0.01, 0.2, 0.4, 0.3, 0.0])
    np.testing.assert_allclose(fsc_weights(curve)[:3] ** 2, 2 * curve[:3] / (1 + curve[:3]))
    assert not fsc_weights(curve)[3:].any()
    assert np.flatnonzero(fsc_weights(curve, ((4, 6),))).tolist() == [0, 1, 2, 4, 5, 6]


def test_signal_beyond_a_gap_is_in_the_map():
    """One defocus: nothing of the signal at 1/5.5 Å, and the FSC comes back."""

    def transfer(s):
        return np.abs(np.cos(np.pi / 2 * np.minimum(s * 5.5, 2)))

    first, second, mask = half_maps(-60.0, 0.05, transfer=transfer)
    result = postprocess(first, second, mask)
    assert result.resolution > 5.5 > result.returned_resolution
    (first_shell, last_shell), *_ = result.fsc.returned
    power = np.abs(np.fft.rfftn(result.map.data))
    shell = np.rint(frequency() * BOX * PIXEL).astype(int)
    assert all(power[shell == s].max() > 0 for s in range(first_shell, last_shell + 1))


def test_too_coarse_for_a_b_factor(halves):
    first, second, mask = halves
    coarse = [Map(each.data, 6 * PIXEL) for each in (first, second, mask)]
    result = postprocess(*coarse)
    assert result.b_factor is None
    assert result.guinier.line is None
    np.testing.assert_array_equal(result.guinier.sharpened, result.guinier.weighted)


def test_mask_is_made_where_none_is_given(halves):
    result = postprocess(*halves[:2])
    assert 0.2 < result.mask.data.mean() < 0.7
    assert result.b_factor == pytest.approx(-120, rel=0.1)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"b_factor": float("nan")}, "B-factor"),
        ({"b_factor": 1e5}, "B-factor"),
        ({"fit_from": 3.0, "fit_to": 4.0}, "Guinier fit"),
    ],
)
def test_wrong_options(halves, change, words):
    with pytest.raises(InputError, match=words):
        postprocess(*halves, options(**change))


def test_wrong_low_pass_seed_and_pair(halves):
    for wrong in (1.0, 100.0, float("nan")):
        with pytest.raises(InputError, match="low-pass"):
            postprocess(*halves, PostprocessOptions(low_pass=wrong))
    with pytest.raises(InputError, match="seed"):
        postprocess(*halves, PostprocessOptions(seed=-1))
    with pytest.raises(InputError, match="half-maps differ"):
        postprocess(halves[0], Map(halves[1].data, 1.3))
    with pytest.raises(InputError, match="values"):
        postprocess(*halves[:2], Map(halves[2].data * 2, PIXEL))


def test_fsc_without_a_fall_has_all_weights():
    curve = np.full(9, 0.5)
    assert (fsc_weights(curve) == np.sqrt(2 / 3)).all()
    assert Fsc(16, 1.0, curve, curve, curve, curve, 9).returned == ()
