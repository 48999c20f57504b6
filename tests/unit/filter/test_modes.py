"""Islands: modes that a coarse scan shows are searched one by one, so that the best one is found however narrow."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pycryo.filter import _points
from pycryo.filter.draws import Draws
from pycryo.filter.modes import Known, assign_modes, search_modes, with_known
from pycryo.filter.pairs import Pairs
from pycryo.filter.phases import PhaseSettings, run_phases
from pycryo.filter.proposals import Widths
from pycryo.filter.support import Support

RIGHT = Rotation.from_euler("ZYZ", [40, 70, -110], degrees=True)
WRONG = Rotation.from_rotvec([0.0, 1.2, 0.3]) * RIGHT
RIGHT_T, WRONG_T = np.array([1.0, -2.0]), np.array([0.0, 1.0])
# Log posterior at the peaks, and their width at full resolution: the kernels after the scan are three times as wide.
HEIGHT, OTHER_HEIGHT = 60.0, 50.0
WIDTH_R, WIDTH_T = 0.03, 0.3
STEP_R, STEP_T = 0.16, 1.8


def to_rotation(quaternion: np.ndarray) -> Rotation:
    return Rotation.from_quat(np.roll(quaternion.reshape(-1, 4), -1, axis=-1))


def quaternion(rotation: Rotation) -> np.ndarray:
    return np.roll(rotation.as_quat(), 1, axis=-1)


def bumps(resolution: float):
    """Score of two modes at a resolution relative to the full one: lower and wider, as with fewer Fourier samples."""

    def score(rows, rotations, classes, shifts):
        total = np.zeros((*rotations.shape[:2], shifts.shape[1]))
        for height, centre, centre_t in ((HEIGHT, RIGHT, RIGHT_T), (OTHER_HEIGHT, WRONG, WRONG_T)):
            turn = (to_rotation(rotations) * centre.inv()).magnitude().reshape(rotations.shape[:2])
            away = np.linalg.norm(shifts - centre_t, axis=-1)
            square = np.square(turn / WIDTH_R)[:, :, None] + np.square(away / WIDTH_T)[:, None]
            total += height * resolution**2 * np.exp(-0.5 * square * resolution**2 / height)
        return Pairs(total.astype(np.float32), np.zeros(rotations.shape[:2]), np.zeros(shifts.shape[:2]))

    return score


def scan_result(n: int, share: float) -> Support:
    """Twelve candidates of the wrong mode and four of the right one, which has this share of the weight."""
    rng = np.random.default_rng(8)
    turns = Rotation.from_rotvec(rng.uniform(-0.5, 0.5, (n * 16, 3)) * STEP_R)
    modes = Rotation.concatenate(([WRONG] * 12 + [RIGHT] * 4) * n)
    at = np.concatenate([np.tile(WRONG_T, (12, 1)), np.tile(RIGHT_T, (4, 1))])
    shift = at + rng.uniform(-0.5, 0.5, (n, 16, 2)) * STEP_T
    weight = np.repeat([(1 - share) / 12, share / 4], [12, 4])
    return Support(
        quaternion(turns * modes).reshape(n, 16, 4), shift, np.tile(weight, (n, 1)), np.zeros((n, 16), np.int32)
    )


def widths_of(n: int, rotation: float = 0.5 * STEP_R, shift: float = 0.5 * STEP_T) -> Widths:
    return Widths(np.full(n, rotation), np.full(n, shift), 1e-4, 1e-3)


def search(start: Support, ids: np.ndarray, known: Known | None = None):
    return search_with(bumps(1.0), [bumps(0.4), bumps(0.6)], start, ids, known)


def search_with(score, guides, start: Support, ids: np.ndarray, known: Known | None = None):
    return search_modes(score, start, widths_of(len(ids)), Draws(1, 3, ids), guides=guides, known=known)


def gaussians(gap: float, offset: float = 0.0):
    """Score of two modes of the same width, whose evidence differs by `gap` nats; `offset` is that of all poses."""

    def score(rows, rotations, classes, shifts):
        total = np.full((*rotations.shape[:2], shifts.shape[1]), -np.inf)
        for height, centre, centre_t in ((0.0, RIGHT, RIGHT_T), (-gap, WRONG, WRONG_T)):
            turn = (to_rotation(rotations) * centre.inv()).magnitude().reshape(rotations.shape[:2])
            away = np.linalg.norm(shifts - centre_t, axis=-1)
            square = np.square(turn / 0.06)[:, :, None] + np.square(away / 0.7)[:, None]
            total = np.logaddexp(total, height - 0.5 * square)
        return Pairs(total.astype(np.float32), np.full(rotations.shape[:2], offset), np.zeros(shifts.shape[:2]))

    return score


def in_right_mode(support: Support) -> np.ndarray:
    near = (to_rotation(support.quaternion) * RIGHT.inv()).magnitude().reshape(support.weight.shape) < 0.5
    return (near * support.weight).sum(1)


def test_the_best_mode_wins_although_the_scan_prefers_another():
    n = 200
    start = scan_result(n, share=0.04)
    found = search(start, np.arange(n))
    np.testing.assert_allclose(found.support.weight.sum(1), 1, rtol=1e-12)
    # Peaks e^10 apart, but sixteen points find a peak to 5 or 10 units only: some images choose wrongly.
    assert (in_right_mode(found.support) > 0.9).mean() > 0.8
    assert (found.widths.rotation <= 0.5 * STEP_R).all()
    assert (found.widths.shift <= 0.5 * STEP_T).all()
    # Two modes, three phases of 16 slices each, if neither is given up.
    assert set(found.n_slices) <= {4 * 16, 5 * 16, 6 * 16}
    assert (found.n_slices == 6 * 16).mean() > 0.9
    together = run_phases(bumps(1.0), start, widths_of(n), Draws(1, 3, np.arange(n)), PhaseSettings())
    assert (in_right_mode(together.support) > 0.9).mean() < 0.7


def test_a_hopeless_mode_is_not_followed_to_the_full_resolution():
    """It costs the slices of the coarsest guide; its points have no weight."""
    n, gap = 40, 25.0
    found = search_with(gaussians(gap), [gaussians(gap)] * 2, scan_result(n, 0.5), np.arange(n))
    np.testing.assert_array_equal(found.n_slices, (2 + 1 + 1) * 16)
    np.testing.assert_array_equal(in_right_mode(found.support), 1)


def test_a_mode_that_shows_itself_hopeless_later_is_given_up_then():
    n = 40
    found = search_with(gaussians(25.0), [gaussians(1.0), gaussians(25.0)], scan_result(n, 0.5), np.arange(n))
    np.testing.assert_array_equal(found.n_slices, (2 + 2 + 1) * 16)


def test_rivals_are_kept_and_weighed_by_their_evidence():
    n, gap = 300, 2.0
    found = search_with(gaussians(gap), [gaussians(gap)] * 2, scan_result(n, 0.5), np.arange(n))
    np.testing.assert_array_equal(found.n_slices, 2 * 3 * 16)
    share = 1 - in_right_mode(found.support)
    assert (share > 0).all()
    # The evidence of 256 pairs has an error: 5 of its standard errors.
    expected = 1 / (1 + np.exp(gap))
    assert abs(np.median(share) - expected) < 5 * 1.25 * share.std() / np.sqrt(n)


@pytest.mark.parametrize("offset", [-1000.0, 1000.0])
def test_evidence_of_different_resolutions_is_not_compared(offset):
    """The constant that is added to all scores is any at each resolution."""
    n, gap = 40, 25.0
    start, guides = scan_result(n, 0.5), [gaussians(gap, offset), gaussians(gap, -offset)]
    found = search_with(gaussians(gap), guides, start, np.arange(n))
    np.testing.assert_array_equal(found.n_slices, (2 + 1 + 1) * 16)
    np.testing.assert_array_equal(in_right_mode(found.support), 1)


def test_a_mode_that_the_scan_missed_is_kept_while_it_is_narrow():
    """The first half of the images knew the right mode, the others had posteriors too broad to be a mode."""
    n, m = 400, 5
    missed = scan_result(n, 0.0)
    points = np.tile(quaternion(RIGHT), (n, m, 1)), np.tile(RIGHT_T, (n, m, 1))
    support = Support(*points, np.full((n, m), 1 / m), np.zeros((n, m), np.int32))
    known = Known(support, widths_of(n, 2 * WIDTH_R, 2 * WIDTH_T), np.arange(n) < n // 2)
    start = with_known(missed, known)
    np.testing.assert_allclose(start.weight.sum(axis=1), 1)
    mode = assign_modes(start, 8, np.full(n, STEP_R))
    np.testing.assert_array_equal(mode[: n // 2, :m], 0)
    np.testing.assert_array_equal(mode[n // 2 :, :m], -1)
    right = in_right_mode(search(missed, np.arange(n), known).support)
    # The modes' peaks differ by e¹⁰, of which sixteen points see 5 or less now and then; from one to the other leads
    # nothing but the kernels' tails.
    assert right[: n // 2].mean() > 0.85
    assert right[n // 2 :].mean() < 0.02


def test_an_image_does_not_depend_on_the_others():
    start, ids = scan_result(5, share=0.3), np.array([9, 2, 4, 77, 5])
    start.weight[3, 12:] = 0  # one image has one mode only
    whole = search(start, ids)
    for rows in ([3], [4, 0]):
        part = search(Support(*(getattr(start, f.name)[rows] for f in fields(Support))), ids[rows])
        for f in fields(Support):
            np.testing.assert_array_equal(getattr(part.support, f.name), getattr(whole.support, f.name)[rows])
        np.testing.assert_array_equal(part.widths.rotation, whole.widths.rotation[rows])
        np.testing.assert_array_equal(part.n_slices, whole.n_slices[rows])
    assert whole.n_slices[3] == 3 * 16


def test_no_images():
    found = search(scan_result(1, 0.5), np.arange(1))
    none = Support(np.zeros((0, 16, 4)), np.zeros((0, 16, 2)), np.zeros((0, 16)), np.zeros((0, 16), np.int32))
    empty = search(none, np.arange(0))
    assert empty.support.quaternion.shape == (0, *found.support.quaternion.shape[1:])
    assert empty.n_slices.shape == (0,)


@pytest.mark.parametrize("n_mode", [1, 2, 4])
def test_candidates_are_sorted_by_the_best_one_left(n_mode):
    angles = np.deg2rad([0.0, 10.0, 12.0, 50.0, 40.0, 100.0])
    weight = np.array([[0.1, 0.3, 0.05, 0.1, 0.25, 0.0]])
    turns = quaternion(Rotation.from_rotvec(np.outer(angles, [0, 0, 1])))[None]
    turns[0, 2] *= -1  # the same rotation
    classes = np.zeros((1, 6), np.int32)
    mode = assign_modes(Support(turns, np.zeros((1, 6, 2)), weight, classes), n_mode, np.array([np.deg2rad(11)]))
    # 10° leads with 0° and 12°, then 40° with 50°; the point at 100° has no weight.
    expected = np.array([[0, 0, 0, 1, 1, -1]])
    np.testing.assert_array_equal(mode, np.where(expected < n_mode, expected, -1))


def test_modes_are_those_of_a_plain_search():
    """Against the definition, image by image, among points that lie close enough to share modes."""
    rng = np.random.default_rng(5)
    n, m, n_mode = 20, 60, 6
    turns = Rotation.from_rotvec(rng.normal(scale=0.3, size=(n * m, 3)))
    points = quaternion(turns).reshape(n, m, 4)
    weight = rng.random((n, m)) * (rng.random((n, m)) < 0.8)
    classes, radius = rng.integers(0, 2, (n, m)).astype(np.int32), rng.uniform(0.1, 0.5, n)
    mode = assign_modes(Support(points, np.zeros((n, m, 2)), weight, classes), n_mode, radius)
    for i in range(n):
        angle = 2 * np.arccos(np.minimum(np.abs(points[i] @ points[i].T), 1))
        left, expected = weight[i].copy(), np.full(m, -1)
        for number in range(n_mode):
            top = left.argmax()
            mine = (angle[top] <= radius[i]) & (left > 0) & (classes[i] == classes[i, top])
            expected[mine], left[mine] = number, 0
        np.testing.assert_array_equal(mode[i], expected)
    assert (mode == n_mode - 1).any()
    assert (np.bincount(mode[0][mode[0] >= 0]) > 1).any()


def test_points_without_a_number_are_in_no_mode():
    turns = np.tile([1.0, 0, 0, 0], (2, 3, 1))
    weight = np.array([[np.nan, 0.3, 0.2], [0.5, np.nan, -1.0]])
    mode = assign_modes(Support(turns, np.zeros((2, 3, 2)), weight, np.zeros((2, 3), np.int32)), 2, np.full(2, 0.1))
    np.testing.assert_array_equal(mode, [[-1, 0, 0], [0, -1, -1]])


def test_modes_are_of_one_class():
    turns = np.tile([1.0, 0, 0, 0], (1, 4, 1))
    weight = np.array([[0.4, 0.3, 0.2, 0.1]])
    classes = np.array([[1, 0, 1, 0]], np.int32)
    mode = assign_modes(Support(turns, np.zeros((1, 4, 2)), weight, classes), 3, np.array([0.1]))
    np.testing.assert_array_equal(mode, [[0, 1, 0, 1]])


def test_points_of_one_mode_are_gathered(rng):
    n, m = 5, 9
    points = rng.random((n, m, 4)), rng.random((n, m, 2)), rng.random((n, m)), rng.integers(0, 3, (n, m), np.int32)
    mode, rows = rng.integers(-1, 2, (n, m)), np.array([3, 0, 4])
    mode[4] = -1
    mode[4, 6] = 1
    found = _points.gather_mode(*points, mode, rows, 1)
    width = (mode[rows] == 1).sum(axis=1).max()
    for i, row in enumerate(rows.tolist()):
        chosen = np.flatnonzero(mode[row] == 1)
        for array, source in zip(found, points, strict=True):
            assert array.shape[:2] == (3, width)
            expected = source[row, chosen]
            if source is points[2]:
                expected = expected / expected.sum()
            np.testing.assert_allclose(array[i, : len(chosen)], expected, rtol=1e-15)
        assert not found[2][i, len(chosen) :].any()
    assert [each.shape[1] for each in _points.gather_mode(*points, mode, rows, 7)] == [1, 1, 1, 1]
