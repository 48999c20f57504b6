"""Single defects of images are taken out, and nothing else is touched."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
from phantom import write_set
from scene import lump

from pycryo.io.batches import Batch
from pycryo.refinement.data import mend as mend_module
from pycryo.refinement.data._background import count_beyond, moments, ramps
from pycryo.refinement.data.mend import Mends, mend, mended


def noise(rng, n=6, box=48):
    return rng.standard_normal((n, box, box)).astype(np.float32)


def grid(box):
    return np.meshgrid(np.arange(box) - box // 2, np.arange(box) - box // 2, indexing="ij")


@pytest.mark.parametrize("box", [3, 8, 17, 32])
def test_moments_are_those_of_float64(box, rng):
    images = rng.normal(3, 1, (4, box, box)).astype(np.float32)
    left, right = rng.integers(0, box // 2 + 1, box), rng.integers(box // 2 + 1, box + 1, box)
    found = moments(images, left.astype(np.int32), right.astype(np.int32), 2)
    around = (np.arange(box) < left[:, None]) | (np.arange(box) >= right[:, None])
    y, x = grid(box)
    exact = images.astype(np.float64)
    expected = [exact, exact**2, None, None, exact * around, exact * around * x, exact * around * y]
    for i, each in enumerate(expected):
        if each is not None:
            # Sums in float64 of values to 8² and 16 px: far below 1e-9.
            np.testing.assert_allclose(found[:, i], each.sum(axis=(1, 2)), rtol=1e-12, atol=1e-9)
    np.testing.assert_array_equal(found[:, 2:4], np.stack([exact.min(axis=(1, 2)), exact.max(axis=(1, 2))], axis=1))
    np.testing.assert_array_equal(found, moments(images, left.astype(np.int32), right.astype(np.int32), 1))


@pytest.mark.parametrize("left, right", [([0, 0], [3, 3, 3]), ([4, 0, 0], [3, 3, 3]), ([0, 0, 0], [-1, 3, 3])])
def test_wrong_limits_are_refused(left, right):
    with pytest.raises(ValueError, match="limits"):
        moments(np.zeros((1, 3, 3), np.float32), np.array(left, np.int32), np.array(right, np.int32), 1)


def test_clean_images_are_the_same_array(rng):
    images = noise(rng, 60)
    found, has_hot, has_ramp = mend(images)
    assert found is images
    assert not has_hot.any()
    assert not has_ramp.any()


@pytest.mark.parametrize("box", [16, 32, 64])
def test_noise_is_hardly_ever_touched(box):
    images = noise(np.random.default_rng(8), 2_000_000 // box**2, box)
    found, _, _ = mend(images)
    assert found is images


@pytest.mark.parametrize("height", [1e5, -1e5, 60.0, -20.0])
def test_a_hot_pixel_becomes_like_its_neighbours(height, rng):
    images = noise(rng)
    spoiled = images.copy()
    spoiled[2, 30, 31] = spoiled[2, 0, 0] = height
    found, has_hot, has_ramp = mend(spoiled)
    np.testing.assert_array_equal(has_hot, [False, False, True, False, False, False])
    assert not has_ramp.any()
    rest = np.ones(images.shape, bool)
    rest[2, 30, 31] = rest[2, 0, 0] = False
    np.testing.assert_array_equal(found[rest], images[rest])
    # Medians of 24 and of 8 of a normal distribution: 1.25/√8 = 0.44.
    assert np.abs(found[~rest]).max() < 5 * 0.44
    assert spoiled[2, 0, 0] == np.float32(height)  # what was given is not changed


def test_a_ramp_is_taken_out_and_what_it_hid(rng):
    images = noise(rng, box=64)
    y, x = grid(64)
    spoiled = images.copy()
    spoiled[1] += (100 / 64 * x - 3 * y).astype(np.float32)
    spoiled[4] += (0.05 * y).astype(np.float32)  # 0.9 standard deviations
    spoiled[1, 5, 60] = spoiled[1, 5, 60] + 40
    found, has_hot, has_ramp = mend(spoiled)
    np.testing.assert_array_equal(has_ramp, [False, True, False, False, True, False])
    np.testing.assert_array_equal(has_hot, [False, True, False, False, False, False])
    away = found - images
    away[1, 5, 60] = 0
    # Slopes are known to 1/√(880 px · 700 px²) each: 0.04 at 32 px, both and four of these.
    assert np.abs(away).max() < 0.25


def test_a_bead_is_neither_ramp_nor_hot_pixels(rng):
    images = noise(rng, 1, 96)
    images[0, :10, -10:] += 50.0
    found, _, _ = mend(images)
    assert found is images


def test_particles_without_noise_are_left_alone(tmp_path):
    write_set(tmp_path, lump(), 40, geometries=((48, 2.5),), noise=0.0)
    images = mrcfile.read(tmp_path / "g1.mrcs").astype(np.float32)
    for each in (images, images**2, np.where(images > images.mean(), images, 0).astype(np.float32)):
        assert mend(each)[0] is each


def test_images_that_are_no_images(rng):
    images = noise(rng)
    images[0], images[1], images[2, 3, 4], images[3, 5, 5] = 0.0, 7.0, np.nan, np.inf
    found, has_hot, has_ramp = mend(images)
    assert found is images
    assert not has_hot.any()
    assert not has_ramp.any()
    dark = np.zeros((1, 32, 32), np.float32)
    dark[0, 3, 4] = 9.0
    np.testing.assert_array_equal(mend(dark)[0], 0)
    assert mend(images[:0])[0].shape == (0, 48, 48)


def test_an_image_does_not_depend_on_its_batch(rng):
    images = noise(rng, 5)
    images[[0, 3], 7, 7] = 500.0
    images[3] += 0.2 * np.arange(48, dtype=np.float32)
    mends = Mends()
    batches = [Batch(np.array([3, 0]), images[[3, 0]]), Batch(np.array([1]), images[[1]])]
    whole = mend(images)[0]
    for batch, found in zip(batches, mended(batches, mends), strict=True):
        np.testing.assert_array_equal(found.images, whole[batch.rows])
    assert mends == Mends([3, 0], [3])


def test_images_known_to_be_sound_are_not_looked_at_again(rng):
    images = noise(rng, 4)
    images[[0, 3], 7, 7] = 500.0
    whole, sound = mend(images)[0], np.zeros(6, bool)
    rows = np.array([4, 1, 5, 0])  # the images with hot pixels are rows 4 and 0
    (first,) = mended([Batch(rows, images)], sound=sound)
    np.testing.assert_array_equal(first.images, whole)
    assert sound.nonzero()[0].tolist() == [1, 5]
    again, mends = images.copy(), Mends()
    again[1:3, 9, 9] = 400.0  # which nobody looks at
    kept = again.copy()
    (second,) = mended([Batch(rows, again)], mends, sound)
    np.testing.assert_array_equal(second.images, np.stack([whole[0], again[1], again[2], whole[3]]))
    np.testing.assert_array_equal(again, kept)
    assert mends == Mends([4, 0], [])
    (third,) = mended([Batch(rows[1:3], again[1:3])], mends, sound)
    np.testing.assert_array_equal(third.images, again[1:3])
    assert mends == Mends([4, 0], [])


def slopes(values, x, y, rounds, reach):
    """float64 twin of `ramps` for one image."""
    columns = np.stack([np.ones(len(x)), x, y], axis=1)
    fit = np.array([np.median(values), 0, 0])
    for _ in range(rounds):
        away = np.abs(values - columns @ fit)
        used = away <= reach * np.median(away)
        fit = np.linalg.lstsq(columns[used], values[used], rcond=None)[0]
    return fit[1:]


@pytest.mark.parametrize("box", [16, 33, 128])
def test_ramps_are_those_of_float64(box, rng):
    images = rng.normal(50, 1, (5, box, box)).astype(np.float32)
    y, x = grid(box)
    images[1] += 0.1 * x
    images[2, :3, :5] = 1e4
    images[3] = np.float32(7)
    numbers = np.flatnonzero(np.hypot(x, y) > box / 2).astype(np.int32)
    places = [each.ravel()[numbers].astype(float) for each in (x, y)]
    chosen = np.array([4, 1, 2, 3])
    found = ramps(images, chosen, numbers, *places, 4, 6.0, 2)
    expected = [slopes(images[i].ravel()[numbers].astype(float), *places, 4, 6.0) for i in chosen]
    # Normal equations of centred places in float64.
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found, ramps(images, chosen, numbers, *places, 4, 6.0, 1))
    line = numbers[:9]
    assert np.isnan(ramps(images, chosen[:1], line, np.arange(9.0), np.zeros(9), 4, 6.0, 1)).all()


def test_pixels_beyond_are_counted(rng):
    images = rng.normal(3, 1, (4, 20, 20)).astype(np.float32)
    chosen, centre, reach = np.array([3, 1]), np.array([3, 2], np.float32), np.array([1, 2], np.float32)
    expected = [(np.abs(images[i] - c) >= r).sum() for i, c, r in zip(chosen, centre, reach, strict=True)]
    np.testing.assert_array_equal(count_beyond(images, chosen, centre, reach, 1), expected)
    with pytest.raises(ValueError, match="numbers of 4 images"):
        count_beyond(images, np.array([4, 0]), centre, reach, 1)
    with pytest.raises(ValueError, match="of 2 images"):
        count_beyond(images, chosen, centre[:1], reach, 1)


def test_what_is_settled_quickly_is_what_the_whole_rule_says(monkeypatch, rng):
    images = noise(rng, 60, 32)
    images[::3] **= 3
    images[1::4] += (rng.uniform(0, 0.1, 15)[:, None, None] * np.arange(32)).astype(np.float32)
    images[2::7, 4, 5] = np.linspace(5, 40, len(images[2::7]))
    images[5::11] += 1e5
    quick = mend(images)
    monkeypatch.setattr(mend_module, "_settled", lambda images, chosen, *_: np.zeros(len(chosen), bool))
    for found, expected in zip(quick, mend(images), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert quick[1].any()
    assert quick[2].any()
