"""Images that are like no others are found by their levels; other grey scales are none of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from thread_comm import run_ranks

from pycryo.parallel.comm import SerialComm
from pycryo.refinement.data import outliers
from pycryo.refinement.data.outliers import N_BAND, judge, levels


def particles(n, group=None, micrograph=None):
    group = np.zeros(n, np.int32) if group is None else group
    return SimpleNamespace(
        n=n,
        optics_group=group,
        optics=SimpleNamespace(box=np.array([64, 64, 128, 64])),
        micrographs=lambda: None if micrograph is None else np.unique(micrograph, return_inverse=True)[1],
    )


def judged(level, **columns):
    n = len(level)
    values = np.repeat(np.asarray(level, float)[:, None], N_BAND, axis=1)
    return judge(SerialComm(), particles(n, **columns), np.arange(n), values)


def varied(rng, n=200):
    """Levels of a set with thin and thick ice: a factor of 1.3."""
    return np.exp(0.26 * rng.standard_normal(n))


def test_levels():
    power = np.zeros((2, 33))
    power[0, [0, 2, 3, 4, 16]] = 100.0, 1.0, 3.0, 9.0, 16.0
    np.testing.assert_allclose(levels(power, 64), [[2, 3, 1e-150, 4, np.sqrt(29)], [1e-150] * 5], rtol=1e-12)
    power[0, 20], power[1, 3] = np.inf, np.nan
    found = levels(power, 64)
    assert np.isfinite(found).all()
    assert (found[:, -1] == 1e150).all()
    assert np.isfinite(levels(power[:, :5], 8)).all()  # most bands have no shell


def test_clean_sets_lose_nothing(rng):
    found = judged(varied(rng))
    assert len(found.odd) == 0
    assert found.is_common.all()
    np.testing.assert_array_equal(found.level, 1)


@pytest.mark.parametrize("factor", [100.0, 8.0, 1 / 8, 1e-20, 1e20])
def test_a_few_of_another_strength_are_odd(factor, rng):
    level = varied(rng)
    level[[17, 60]] = factor
    found = judged(level)
    np.testing.assert_array_equal(found.odd, [17, 60])
    others = np.ones(200, bool)
    others[[17, 60]] = False
    np.testing.assert_array_equal(found.is_common, others)


def test_three_times_as_strong_is_an_image_like_others(rng):
    level = varied(rng)
    level[17] = 3.9
    found = judged(level)
    assert len(found.odd) == 0
    assert found.is_common.sum() >= 199


@pytest.mark.parametrize("share", [0.06, 0.5, 0.9])
@pytest.mark.parametrize("factor", [10.0, 1e-4])
def test_two_grey_scales_lose_nothing(share, factor, rng):
    level = varied(rng)
    second = rng.permutation(200) < 200 * share
    level[second] *= factor
    found = judged(level)
    assert len(found.odd) == 0
    assert found.is_common.sum() >= 0.9 * max(second.sum(), (~second).sum())
    ratio = np.where(found.is_common, 1, found.level)[second].mean() / found.level[~second].mean()
    if share < 0.5:
        assert ratio == pytest.approx(factor, rel=0.2)


def test_a_micrograph_with_a_grey_scale_of_its_own(rng):
    level = varied(rng)
    level[:4] *= 10.0
    level[100] = 10.0
    assert judged(level).odd.tolist() == [0, 1, 2, 3, 100]
    names = np.array([f"mic{i // 4:02d}" for i in range(200)])
    assert judged(level, micrograph=names).odd.tolist() == [100]


def test_groups_are_judged_alone_and_small_ones_not_at_all(rng):
    level = varied(rng)
    group = np.where(np.arange(200) < 100, 0, 1).astype(np.int32)
    level[:100] *= 50.0
    level[150] = 50.0
    group[-3:] = 2
    level[-1] = 1e6
    found = judged(level, group=group)
    assert found.odd.tolist() == [150]
    assert found.is_common[-3:].all()


def test_groups_on_other_grey_scales(rng):
    """Transforms of images of twice the box have four times the amplitude; group 4 has no images."""
    group = np.repeat([0, 1, 2], [90, 80, 30]).astype(np.int32)
    level = varied(rng) * np.array([1.0, 10.0, 4.0])[group]
    found = judged(level, group=group)
    assert len(found.odd) == 0
    np.testing.assert_array_equal(found.group_level[[0, 2, 3]], 1)
    assert found.group_level[1] == pytest.approx(10, rel=0.1)
    level[group == 2] *= 2.9  # not far enough from the first, which most images are like
    np.testing.assert_array_equal(judged(level, group=group).group_level[[0, 2]], 1)


def test_no_image_is_usable():
    found = judge(SerialComm(), particles(6), np.empty(0, np.int64), np.empty((0, N_BAND)))
    assert len(found.odd) == 0
    assert not found.is_common.any()
    np.testing.assert_array_equal(found.group_level, 1)


def test_one_band_tells(rng):
    """A bead: it is strong where particles are, and hardly in all shells together."""
    values = np.repeat(varied(rng)[:, None], N_BAND, axis=1)
    values[9, 0] *= 20.0
    values[9, -1] *= 2.0
    values[30, 1] /= 1000.0  # a band that is empty is none
    found = judge(SerialComm(), particles(200), np.arange(200), values)
    assert found.odd.tolist() == [9]


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_change_no_bit(size, rng):
    level = varied(rng)
    level[100:] *= 10.0
    level[[3, 150]] = 1e4
    values = np.repeat(level[:, None], N_BAND, axis=1)
    usable = np.setdiff1d(np.arange(200), [8, 9])
    alone = judge(SerialComm(), particles(200), usable, values[usable])
    assert not alone.is_common[[3, 8, 9, 150]].any()
    for found in run_ranks(
        size, lambda comm: judge(comm, particles(200), usable[comm.rank :: size], values[usable[comm.rank :: size]])
    ):
        for name in ("odd", "is_common", "level", "group_level"):
            np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))


def test_alike_counts_what_each_stands_for():
    """Against all pairs; the result needs no more memory than the values."""
    rng = np.random.default_rng(3)
    value, count = rng.normal(size=40) * 2, rng.integers(0, 9, 40).astype(float)
    near = np.abs(value[:, None] - value) <= np.log(3.0)
    np.testing.assert_array_equal(outliers._alike(value), near.sum(1))
    np.testing.assert_array_equal(outliers._alike(value, count), near @ count)


def test_the_same_levels_are_the_same_image(rng):
    values = np.repeat(varied(rng, 30)[:, None], N_BAND, axis=1)
    values[[7, 20]] = values[3]
    values[21, -1] = values[4, -1]  # the same in one band only
    values[[5, 6]] = 1e150  # beyond what can be told apart
    rows = np.arange(2, 32)
    expected = np.arange(40)
    expected[[9, 22]] = 5
    np.testing.assert_array_equal(judge(SerialComm(), particles(40), rows, values).twin, expected)
