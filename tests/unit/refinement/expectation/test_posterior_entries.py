"""Which support points of the images are inserted, and how often."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from pycryo.filter.draws import Draws
from pycryo.filter.support import Posterior, Support
from pycryo.geometry.rotations import multiply, quaternion_to_matrix
from pycryo.geometry.symmetry import symmetry
from pycryo.kernels.pixels import half_plane
from pycryo.refinement.data.prepare import Target
from pycryo.refinement.expectation.entries import point_counts, posterior_entries

BOX, N, N_SUPPORT = 12, 20, 32


def posterior_of(spread_rotation, spread_shift) -> Posterior:
    """Of `N_SUPPORT` points each, with these spreads (radians, px)."""
    n = len(spread_rotation)
    rng = np.random.default_rng(3)
    quaternion = rng.standard_normal((n, N_SUPPORT, 4))
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    weight = rng.exponential(1, (n, N_SUPPORT)) * (rng.random((n, N_SUPPORT)) < 0.7)
    weight /= weight.sum(axis=1, keepdims=True)
    classes = rng.integers(0, 2, (n, N_SUPPORT)).astype(np.int32)
    support = Support(quaternion, rng.normal(0, 1, (n, N_SUPPORT, 2)), weight, classes)
    zeros, whole = np.zeros(n), np.zeros(n, np.int64)
    return Posterior(
        support, quaternion[:, 0], support.shift[:, 0], np.zeros(n, np.int32), np.ones((n, 2)),
        np.asarray(spread_rotation), np.asarray(spread_shift), zeros, zeros, zeros, whole, whole, zeros, zeros,
    )  # fmt: skip


def test_broad_posteriors_get_more_points():
    """By the movement of the outermost sample: 0.6 and 1.2 Fourier px, or radians of its phase."""
    breadth, r_high = np.array([0.0, 0.599, 0.601, 1.199, 1.201]), 20.0
    counts = [8, 8, 16, 16, 32]
    narrow = np.zeros(5)
    by_rotation = posterior_of(breadth / r_high, narrow)
    by_shift = posterior_of(narrow, breadth * 64 / (2 * np.pi * r_high))
    for posterior in (by_rotation, by_shift):
        np.testing.assert_array_equal(point_counts(posterior, r_high, 64), counts)
    # The broader of both counts; at half the frequency either is half as broad.
    both = posterior_of(by_rotation.spread_rotation[::-1], by_shift.spread_shift)
    np.testing.assert_array_equal(point_counts(both, r_high, 64), np.maximum(counts, counts[::-1]))
    np.testing.assert_array_equal(point_counts(by_rotation, 0.5 * r_high, 64), [*counts[:2], *counts[:2], counts[2]])


def insert(group, n_point, rows=None, n_class=1):
    """Entries of some images, in one list; their insertion weights; the images' support."""
    rows = np.arange(N) if rows is None else np.asarray(rows)
    rng = np.random.default_rng(9)
    pixels = half_plane(BOX, BOX / 2)
    images = rng.standard_normal((N, 2, len(pixels))).astype(np.float32)
    target = Target(pixels, images[rows], images[rows, 0])
    whole = posterior_of(np.zeros(N), np.zeros(N)).support
    support = Support(*(getattr(whole, f.name)[rows] for f in fields(Support)))
    weight = rng.uniform(0.1, 1, N)[rows]
    found = posterior_entries(2 * BOX, target, support, n_point[rows], group, weight, 1.0, Draws(1, 5, rows), n_class)
    return found, weight, support


COUNTS = np.tile([8, 32, 16, 8, 1], 4)


def places(entries, support, group):
    """(point, mate) of each entry, by its rotation and shift."""
    all_of = quaternion_to_matrix(multiply(support.quaternion[:, :, None], group.quaternions))
    found = []
    for image, turn, shift in zip(entries.image, entries.rotations, entries.shifts, strict=True):
        away = np.abs(all_of[image] - turn).max(axis=(-1, -2))
        point, mate = np.unravel_index(away.argmin(), away.shape)
        assert away[point, mate] < 1e-12
        # px of the model's box, which is twice the images'.
        np.testing.assert_allclose(shift, 2 * support.shift[image, point], rtol=1e-14)
        found.append((point, mate))
    return np.array(found).T


@pytest.mark.parametrize("name", ["C1", "C3", "D2", "O"])
def test_every_mate_holds_every_image_with_full_weight(name):
    """Whatever the number of points of the image, and of the others."""
    group = symmetry(name)
    (entries,), weight, support = insert(group, COUNTS)
    point, mate = places(entries, support, group)
    sums = np.zeros((N, len(group)))
    np.add.at(sums, (entries.image, mate), entries.weight)
    np.testing.assert_allclose(sums, np.repeat(weight[:, None], len(group), axis=1), rtol=1e-12)
    # In units of one draw: as many as were asked for, or one for each mate.
    per_mate = -(-COUNTS // len(group))
    draws = entries.weight * (per_mate / weight)[entries.image]
    np.testing.assert_allclose(draws, np.rint(draws), rtol=1e-12)
    np.testing.assert_array_equal(np.bincount(entries.image, np.rint(draws)), per_mate * len(group))
    assert (support.weight[entries.image, point] > 0).all()


def test_points_are_drawn_by_their_weight():
    """A systematic sample: each point as often as its weight says, to one draw."""
    group = symmetry("C1")
    (entries,), weight, support = insert(group, COUNTS)
    point, _ = places(entries, support, group)
    times = np.zeros((N, N_SUPPORT))
    times[entries.image, point] = entries.weight * (COUNTS / weight)[entries.image]
    assert np.abs(times - support.weight * COUNTS[:, None]).max() < 1


@pytest.mark.parametrize("name", ["C1", "D2"])
def test_entries_of_an_image_do_not_depend_on_the_others(name):
    group = symmetry(name)
    (whole,), *_ = insert(group, COUNTS)
    other_counts = np.where(np.arange(N) == 7, COUNTS, 32)
    for rows, counts in (([7], COUNTS), ([3, 7, 4], COUNTS), (None, other_counts)):
        (part,), *_ = insert(group, counts, rows)
        mine = whole.some(np.flatnonzero(whole.image == 7))
        again = part.some(np.flatnonzero(part.image == (7 if rows is None else rows.index(7))))
        for field in ("rotations", "shifts", "weight"):
            np.testing.assert_array_equal(getattr(again, field), getattr(mine, field))


def test_each_class_gets_the_points_that_are_its_own():
    group = symmetry("D2")
    (whole,), _, support = insert(group, COUNTS)
    found, *_ = insert(group, COUNTS, n_class=2)
    kinds = support.class_index[whole.image, places(whole, support, group)[0]]
    assert 0 < kinds.sum() < len(kinds)
    for k, entries in enumerate(found):
        mine = whole.some(np.flatnonzero(kinds == k))
        for field in ("image", "rotations", "shifts", "weight"):
            np.testing.assert_array_equal(getattr(entries, field), getattr(mine, field))


def test_no_images():
    (entries,), *_ = insert(symmetry("C2"), COUNTS, np.empty(0, np.int64))
    assert entries.rotations.shape == (0, 3, 3)
    assert entries.weight.shape == (0,)
