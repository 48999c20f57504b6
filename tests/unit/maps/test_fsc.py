"""FSC curves of half-maps whose correlation is known."""

import numpy as np
import pytest
from thread_comm import run_ranks

from pycryo.errors import InputError
from pycryo.kernels.shells import volume_shells
from pycryo.maps.density import Map, low_pass, soft_sphere
from pycryo.maps.fsc import corrected_fsc, fsc, mask_warning, resolution_at
from pycryo.parallel.rows import even_bounds


def noise(rng, box=32):
    return rng.standard_normal((box,) * 3).astype(np.float32)


def voxels(box):
    """Independent values per shell 1 .. box // 2."""
    k = np.fft.fftfreq(box, 1 / box)
    radius = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int)
    return np.bincount(radius.ravel())[1 : box // 2 + 1]


def twin(a, b):
    """The definition, on full transforms in float64."""
    box = len(a)
    k = np.fft.fftfreq(box, 1 / box)
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2))
    a, b = np.fft.fftn(a.astype(float)), np.fft.fftn(b.astype(float))
    sums = [[x[shell == s].sum() for s in range(box // 2 + 1)] for x in ((a * b.conj()).real, abs(a) ** 2, abs(b) ** 2)]
    cross, power_a, power_b = np.array(sums)
    return cross / np.sqrt(power_a * power_b)


@pytest.mark.parametrize("box", [1, 2, 7, 16, 17])
def test_equals_the_definition(box, rng):
    a, b = noise(rng, box), noise(rng, box)
    # float32 transforms: relative error ~ log2(17³) · 6e-8 of the shell's amplitude.
    np.testing.assert_allclose(fsc(a, b), twin(a, b), atol=5e-6)


def test_identical_halves_correlate_to_nyquist(rng):
    a = noise(rng)
    curves = corrected_fsc(a, a, 1.5, soft_sphere(32, 8, 4))
    # Products of float32 values summed in double.
    np.testing.assert_allclose(curves.unmasked, 1, atol=1e-6)
    np.testing.assert_allclose(curves.corrected, 1, atol=1e-6)
    assert curves.randomised_from == 17
    assert curves.resolution_0143 == pytest.approx(3.0)


def test_pure_noise_has_no_resolution(rng):
    curves = corrected_fsc(noise(rng, 48), noise(rng, 48), 1.5, soft_sphere(48, 12, 6))
    # The FSC of n independent values scatters by 1/√n; the mask leaves about its share of the volume of them.
    scatter = 1 / np.sqrt(voxels(48))
    assert (np.abs(curves.unmasked[1:]) < 5 * scatter).all()
    assert (np.abs(curves.corrected[1:]) < 5 * scatter / np.sqrt(soft_sphere(48, 12, 6).mean())).all()
    assert curves.resolution_0143 > 48 * 1.5 / 6  # within the first shells, of few values


def test_known_signal_to_noise(rng):
    signal, snr = noise(rng), 0.5
    halves = [signal + noise(rng) / np.float32(np.sqrt(snr)) for _ in "12"]
    # FSC = SNR / (1 + SNR), five standard deviations of 1/√n.
    assert (np.abs(fsc(*halves)[1:] - snr / (1 + snr)) < 5 / np.sqrt(voxels(32))).all()


def test_correlation_made_by_the_mask_is_removed(rng):
    """Signal to shell 10 only; a sharp narrow mask correlates the shells beyond, the correction takes it away."""
    box = 48
    signal = low_pass(Map(noise(rng, box), 1.0), box / 10, edge_px=0).data * 12
    halves = [signal + noise(rng, box) for _ in "12"]
    curves = corrected_fsc(*halves, 1.0, soft_sphere(box, 6, 0), seed=3)
    assert 10 <= curves.randomised_from <= 18
    beyond = slice(curves.randomised_from + 2, None)
    assert curves.masked[beyond].mean() > 0.25
    assert abs(curves.corrected[beyond].mean()) < 0.2
    assert np.abs(curves.corrected[beyond]).mean() < 0.7 * curves.masked[beyond].mean()
    np.testing.assert_array_equal(
        curves.corrected[: curves.randomised_from + 2], curves.masked[: curves.randomised_from + 2]
    )
    assert curves.resolution_0143 > curves.resolution_at(0.143, "masked")


@pytest.mark.parametrize("box", [24, 128])
def test_randomised_curve_is_that_of_many_draws(box, rng):
    """Draws by the definition: random phases of white noise beyond the first shell that is randomised."""
    signal = low_pass(Map(noise(rng, box), 1.0), 6.0, edge_px=0).data * 20
    halves = [signal + noise(rng, box) for _ in "12"]
    mask = soft_sphere(box, box / 6, 2)
    curves = corrected_fsc(*halves, 1.0, mask, seed=3)
    k = np.fft.fftfreq(box, 1 / box)
    beyond = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k[: box // 2 + 1] ** 2) >= curves.randomised_from - 0.5
    total = 0
    for _ in range(40 if box < 128 else 2):
        drawn = []
        for half in halves:
            before, other = np.fft.rfftn(half), np.fft.rfftn(noise(rng, box))
            drawn.append(np.where(beyond, np.abs(before) * other / np.abs(other), before))
        drawn = [np.fft.rfftn(np.fft.irfftn(each, s=half.shape, axes=(0, 1, 2)) * mask) for each in drawn]
        total = total + volume_shells(*drawn)
    cross, first, second = total.T
    expected = cross / np.sqrt(first * second)
    assert box // 6 <= curves.randomised_from < box // 3
    # The draws scatter by 0.2 / √40 in the small box, by 0.02 in the other one.
    np.testing.assert_allclose(curves.randomised[1:], expected[1:], atol=0.1)
    np.testing.assert_allclose(curves.randomised[1:].mean(), expected[1:].mean(), atol=0.01)


@pytest.mark.parametrize("size", [2, 3, pytest.param(19, marks=pytest.mark.slow)])
@pytest.mark.parametrize("box", [16, 17])
def test_ranks_change_no_bit(size, box, rng):
    halves = noise(rng, box), noise(rng, box)
    mask = soft_sphere(box, 5, 3)
    alone = corrected_fsc(*halves, 1.0, mask, seed=2), fsc(*halves)

    def work(comm):
        bounds = even_bounds(box, comm.size)
        first, second, mine = (each[bounds[comm.rank] : bounds[comm.rank + 1]] for each in (*halves, mask))
        return corrected_fsc(first, second, 1.0, mine, seed=2, comm=comm), fsc(first, second, comm=comm)

    assert alone[0].randomised_from < box // 2
    for curves, plain in run_ranks(size, work):
        np.testing.assert_array_equal(plain, alone[1])
        assert curves.randomised_from == alone[0].randomised_from
        for name in ("unmasked", "masked", "randomised", "corrected", "power"):
            np.testing.assert_array_equal(getattr(curves, name), getattr(alone[0], name))


def test_errors_are_those_of_all_ranks(rng):
    bad = noise(rng, 8)
    bad[7, 0, 0] = np.nan

    def work(comm):
        bounds = even_bounds(8, comm.size)
        mine = bad[bounds[comm.rank] : bounds[comm.rank + 1]]
        with pytest.raises(InputError, match="the first map of the FSC has voxels that are not finite"):
            fsc(mine, np.zeros_like(mine), comm=comm)
        with pytest.raises(InputError, match="two cubes of one size"):
            fsc(bad, bad, comm=comm)

    run_ranks(3, work)


@pytest.mark.parametrize("box", [1, 16, 17])
def test_power_is_that_of_the_half_maps(box, rng):
    halves = noise(rng, box), noise(rng, box)
    for mask in (None, np.ones((box,) * 3, np.float32)):
        power = corrected_fsc(*halves, 1.0, mask).power
        # Sums over shells of float32 transforms.
        np.testing.assert_allclose(power, volume_shells(*map(np.fft.rfftn, halves))[:, 1:], rtol=1e-5)


def test_seed_decides_and_threads_do_not(rng):
    halves = noise(rng), noise(rng)
    mask = soft_sphere(32, 8, 4)
    one, again, other = (corrected_fsc(*halves, 1.0, mask, seed=s, threads=t) for s, t in ((1, 1), (1, 3), (2, 1)))
    for name in ("unmasked", "masked", "randomised", "corrected"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert (one.randomised[5:] != other.randomised[5:]).all()


def test_without_mask_all_curves_are_one(rng):
    curves = corrected_fsc(noise(rng), noise(rng), 2.0)
    for name in ("masked", "randomised", "corrected"):
        np.testing.assert_array_equal(getattr(curves, name), curves.unmasked)
    assert curves.resolution[0] == np.inf
    assert curves.resolution[16] == pytest.approx(4.0)
    assert curves.frequency[16] == pytest.approx(0.25)


@pytest.mark.parametrize(
    "curve, expected_shell",
    [
        ([1, 1, 0.9, 0.243, 0.043, 0.5, 0.9], 3.5),  # rises again: ignored
        ([1, 1, 1, 1, 1, 1, 1], 6),  # never below: last shell
        ([1, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9], 1),  # below at once
        ([0, 1, 1, 1, 1, 1, 0.143], 6),  # at the threshold is not below; shell 0 does not count
        ([1, 1, 0.143, 0, 0, 0, 0], 2),
        ([1, 1, 1, np.nan, 1, 1, 1], 2.857),  # NaN counts as 0
    ],
)
def test_resolution(curve, expected_shell):
    assert resolution_at(np.array(curve, float), 12, 2.0) == pytest.approx(24 / expected_shell, rel=1e-3)


def test_empty_shells_are_zero(rng):
    a = low_pass(Map(noise(rng), 1.0), 4.0, edge_px=0).data
    assert (fsc(np.zeros_like(a), a) == 0).all()
    assert fsc(a, a)[:8] == pytest.approx(1)


def test_errors(rng):
    a = noise(rng, 8)
    with pytest.raises(InputError, match="two cubes of one size"):
        fsc(a, a[:7])
    with pytest.raises(InputError, match="the second map of the FSC has voxels that are not finite"):
        fsc(a, np.full_like(a, np.nan))
    with pytest.raises(InputError, match="the mask has"):
        corrected_fsc(a, a, 1.0, np.ones((9, 9, 9), np.float32))


@pytest.mark.parametrize("randomise_by", ["masked", "unmasked"])
def test_masks_too_small_to_tell_a_resolution(rng, randomise_by):
    """In one voxel, or a few, all agrees with all; the mask of a particle and none are not told of."""
    half1, half2 = (Map(np.float32(0.1) * rng.standard_normal((32, 32, 32), np.float32), 1.0) for _ in range(2))
    both = low_pass(Map(rng.standard_normal((32, 32, 32), np.float32), 1.0), 8.0).data + soft_sphere(32, 6, 3)
    voxel = np.zeros_like(both)
    voxel[16, 16, 16] = 1
    told = [
        mask_warning(corrected_fsc(half1.data + both, half2.data + both, 1.0, mask, randomise_by=randomise_by))
        for mask in (voxel, soft_sphere(32, 2, 1), soft_sphere(32, 10, 3), None)
    ]
    assert [each is not None for each in told] == [True, True, False, False]
