"""Signal that comes back beyond the first fall of an FSC is told from noise."""

import numpy as np
import pytest
from thread_comm import run_ranks

from pycryo.kernels.shells import shell_counts
from pycryo.maps.density import soft_sphere
from pycryo.maps.fsc import Fsc, corrected_fsc
from pycryo.maps.returned import (
    Independence,
    independence,
    kept_shells,
    reach,
    returned_bands,
    returned_resolution,
    with_returned,
)
from pycryo.parallel.rows import even_bounds

BOX = 32
MASK = soft_sphere(BOX, 8, 3)


def curves(corrected):
    corrected = np.asarray(corrected, float)
    box = 2 * (len(corrected) - 1)
    return Fsc(box, 2.0, corrected, corrected, corrected, corrected, len(corrected))


def with_dip(back, n=65):
    """1 up to shell 20, then a gap, then `back` from shell 25 on, then next to nothing."""
    corrected = 0.01 * (-1.0) ** np.arange(n)
    corrected[:20] = 0.9
    corrected[20:24] = 0.3, 0.02, 0.01, 0.02
    corrected[25 : 25 + len(back)] = back
    return curves(corrected)


def noise_pairs(n, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(2, BOX, BOX, BOX)).astype(np.float32) for _ in range(n)]


def test_variance_is_that_of_noise_in_the_mask():
    """Without symmetry the masked curve has half the variance stated: the other half is that of random phases."""
    found, count = independence(MASK), shell_counts(BOX)
    masked = np.array([corrected_fsc(*pair, 1.0, MASK).masked for pair in noise_pairs(80)])
    for first, last in ((8, 8), (7, 10), (9, 14)):
        weight = count[first : last + 1]
        mean = masked[:, first : last + 1] @ weight / weight.sum()
        expected = np.sqrt(found.per_count(last - first + 1) / 2 / weight.sum())
        # 80 values tell a standard deviation to 8 %; shells are curved, which the model has flat: 10 %.
        assert mean.std() == pytest.approx(expected, rel=0.25)


def test_nothing_comes_back_in_noise():
    found = independence(MASK)
    assert not any(with_returned(corrected_fsc(*pair, 1.0, MASK), found).returned for pair in noise_pairs(40, 1))


def test_symmetric_noise_is_no_signal():
    """Mates of an axis make noise of fewer independent voxels, which is told without knowing the symmetry, too."""
    known, unknown = (independence(MASK, order) for order in (4, 1))
    for pair in noise_pairs(15, 2):
        pair = sum(np.rot90(pair, turn, axes=(2, 3)) for turn in range(4))
        fsc = corrected_fsc(*pair, 1.0, MASK)
        assert not with_returned(fsc, known).returned
        assert not with_returned(fsc, unknown).returned


def test_a_band_is_found_with_its_flanks():
    fsc = with_dip([0.1, 0.25, 0.35, 0.3, 0.2, 0.16, 0.09, 0.06, 0.03])
    fsc = with_returned(fsc, Independence(np.array([8.0]), 1))
    assert fsc.returned == ((25, 32),)
    keep = kept_shells(fsc)
    assert np.flatnonzero(keep).tolist() == [*range(21), *range(25, 33)]
    # Between shell 30 (0.16) and 31 (0.09), at 0.143.
    assert returned_resolution(fsc) == pytest.approx(fsc.box * 2.0 / (30 + 0.017 / 0.07))
    assert fsc.resolution_0143 == pytest.approx(fsc.box * 2.0 / (20 + 0.157 / 0.28))


@pytest.mark.parametrize(
    "back, correlated",
    [
        ([0.3, 0.3], 8.0),  # two shells in a row
        ([0.13] * 12, 8.0),  # never above the threshold
        ([0.25, 0.35, 0.3, 0.2], 200.0),  # a small mask: within chance
        ([0.02] * 20 + [0.3] * 20, 8.0),  # a rise at Nyquist
    ],
)
def test_what_is_no_band(back, correlated):
    fsc = with_dip(back)
    assert returned_bands(fsc, Independence(np.array([correlated]), 1)) == ()


def test_two_bands_and_one_that_a_shallow_dip_divides():
    noise = Independence(np.array([8.0]), 1)
    assert returned_bands(with_dip([0.3] * 4 + [0.0] * 3 + [0.25] * 4 + [0.0]), noise) == ((25, 28), (32, 35))
    assert returned_bands(with_dip([0.3] * 4 + [0.07] + [0.25] * 4 + [0.0]), noise) == ((25, 33),)


def test_signal_that_goes_on_to_nyquist_comes_back():
    noise = Independence(np.array([8.0]), 1)
    assert returned_bands(with_dip([0.3] * 40), noise) == ((25, 64),)


def test_a_gap_above_chance_is_told_and_changes_nothing():
    curve = np.concatenate([np.full(20, 0.9), [0.1, 0.08, 0.1], np.full(5, 0.3), np.zeros(37)])
    fsc = with_returned(curves(curve), Independence(np.array([8.0]), 1))
    assert fsc.returned == ((20, 27),)
    assert kept_shells(fsc).tolist() == (np.arange(65) <= reach(curve)).tolist()
    assert returned_resolution(fsc) < fsc.resolution_0143


def test_a_curve_that_never_falls_has_no_band():
    fsc = curves(np.full(33, 0.9))
    assert returned_bands(fsc, Independence(np.array([8.0]), 1)) == ()
    assert returned_resolution(fsc) is None
    assert reach(fsc.corrected) == 32
    assert kept_shells(fsc).all()


def test_independence_does_not_depend_on_ranks():
    alone = independence(MASK)

    def work(comm):
        bounds = even_bounds(BOX, comm.size)
        return independence(MASK[bounds[comm.rank] : bounds[comm.rank + 1]], comm=comm)

    for found in run_ranks(3, work):
        np.testing.assert_array_equal(found.correlated, alone.correlated)
