"""Kernel `compare` against its float64 twin."""

import numpy as np
import pytest

from pycryo.kernels.compare import CELL_SLICES, BestPoses, compare, compare_scores, new_best, pack_images, pack_slices
from pycryo.kernels.reference import compare as twin


def problem(rng, n_image, n_shift, n_slice, n_pixel, spread=4.0):
    """Images, weights, slices and priors whose scores have about the standard deviation `spread`."""
    unit = spread / np.sqrt(max(2 * n_pixel, 1))
    images = (unit * rng.standard_normal((n_image, n_shift, 2, n_pixel))).astype(np.float32)
    weights = (unit * rng.uniform(0, 1, (n_image, n_pixel))).astype(np.float32)
    slices = rng.standard_normal((n_slice, 2, n_pixel)).astype(np.float32)
    prior_shift = rng.uniform(-3, 0, (n_image, n_shift)).astype(np.float32)
    prior_slice = rng.uniform(-1, 0, n_slice).astype(np.float32)
    return images, weights, slices, prior_shift, prior_slice


def run(images, weights, slices, prior_shift=None, prior_slice=None, n_best=7, threads=None, split=None):
    """`compare` with the slices in calls of `split`."""
    panel = pack_images(images, weights, threads=threads)
    best = new_best(len(images), n_best)
    for first in range(0, len(slices), split or max(len(slices), 1)):
        part = slice(first, first + (split or len(slices)))
        priors = {"log_prior_shift": prior_shift, "log_prior_slice": None if prior_slice is None else prior_slice[part]}
        compare(panel, slices[part], best, slice_offset=first, threads=threads, **priors)
    return best


def fields(best: BestPoses):
    return best.score, best.index, best.log_max, best.log_sum


# A float32 sum of n terms loses about 6e-8·sqrt(n)·|greatest partial sum|; n ≤ 256 + blocks, and partial sums stay
# below 60 (scores have standard deviation 4, ½W|S|² averages 4·sqrt(n_pixel/2)/2 ≤ 25): 60·16·6e-8 = 6e-5.
SCORE_ERROR = 1e-4
# log-sum-exp moves by the errors of the scores at most; its own arithmetic adds 1e-6.
EVIDENCE_ERROR = SCORE_ERROR + 1e-6


@pytest.mark.parametrize("n_pixel", [0, 1, 3, 4, 5, 127, 128, 129, 300])
@pytest.mark.parametrize("n_image, n_shift, n_slice", [(1, 1, 1), (3, 5, 33), (15, 1, 64), (2, 29, 31), (1, 67, 40)])
def test_equals_twin(n_image, n_shift, n_slice, n_pixel, rng):
    images, weights, slices, *priors = problem(rng, n_image, n_shift, n_slice, n_pixel)
    expected = twin.scores(*(a.astype(float) for a in (images, weights, slices, *priors)))
    scores = compare_scores(pack_images(images, weights), slices, log_prior_shift=priors[0], log_prior_slice=priors[1])
    np.testing.assert_allclose(scores, expected, atol=SCORE_ERROR, rtol=0)
    best = run(images, weights, slices, *priors)
    np.testing.assert_allclose(best.log_evidence(), twin.log_sum_exp(expected), atol=EVIDENCE_ERROR, rtol=0)
    # Which poses are best, and in which order, follows from the float32 scores exactly.
    score, index = twin.best_poses(scores.astype(float), 7)
    np.testing.assert_array_equal(best.score, score)
    np.testing.assert_array_equal(best.index, index)
    np.testing.assert_array_equal(best.log_max, scores.max(axis=(1, 2)))


@pytest.mark.parametrize("n_image, n_shift, n_slice", [(0, 3, 4), (3, 0, 4), (3, 4, 0)])
def test_nothing_to_compare(n_image, n_shift, n_slice, rng):
    images, weights, slices, *_ = problem(rng, n_image, n_shift, n_slice, 10)
    best = run(images, weights, slices)
    assert np.all(best.index == -1)
    assert np.all(np.isneginf(best.log_evidence()))
    assert compare_scores(pack_images(images, weights), slices).shape == (n_image, n_shift, n_slice)


@pytest.mark.parametrize("n_best", [0, 1, 50, 600, 5000])
@pytest.mark.parametrize("spread", [0.1, 4.0, 100.0])
def test_many_slices_in_calls(n_best, spread, rng):
    images, weights, slices, *priors = problem(rng, 2, 3, 700, 20, spread)
    panel = pack_images(images, weights)
    scores = compare_scores(panel, slices, log_prior_shift=priors[0], log_prior_slice=priors[1]).astype(float)
    score, index = twin.best_poses(scores, n_best)
    for split in (700, 300, 1 if n_best == 50 else 64):
        best = run(images, weights, slices, *priors, n_best=n_best, split=split)
        np.testing.assert_array_equal(best.score, score)
        np.testing.assert_array_equal(best.index, index)
        # Float32 exponentials (2e-7, and 6e-8 of the exponent's rounding) summed in double; 2100·e⁻⁴⁰ is left out.
        np.testing.assert_allclose(best.log_evidence(), twin.log_sum_exp(scores), atol=1e-6, rtol=0)


@pytest.mark.parametrize("margin", [(0.0, 0.0), (3.0, 0.0), (12.26, 0.1), (0.0, 0.3), (np.inf, 0.0)])
@pytest.mark.parametrize("level", [-1000.0, 0.0, 60.0])
def test_scores_within_the_margin_are_there(margin, level, rng):
    """For any split into calls; those below it stand in order, too, if they are there. The best is below or above 0."""
    images, weights, slices, prior_shift, prior_slice = problem(rng, 3, 4, 300, 20)
    data = images, weights, slices, prior_shift + np.float32(level), prior_slice
    panel = pack_images(images, weights)
    expected = run(*data, n_best=1200)
    for split in (300, 77, 1):
        best = new_best(3, 1200, margin)
        for first in range(0, 300, split):
            priors = {"log_prior_shift": data[3], "log_prior_slice": prior_slice[first : first + split]}
            compare(panel, slices[first : first + split], best, slice_offset=first, **priors)
        top = expected.score[:, :1]
        needed = expected.score >= top - margin[0] - margin[1] * np.maximum(top, 0)
        # The floor is rounded to float32; no score of these lies so near it.
        assert needed.sum() < 3600 or margin[0] == np.inf
        for one, other in ((best.score, expected.score), (best.index, expected.index)):
            np.testing.assert_array_equal(one[needed], other[needed])
        for image in range(3):
            place = np.flatnonzero(best.index[image] >= 0)
            order = [np.flatnonzero(expected.index[image] == index)[0] for index in best.index[image, place]]
            assert (np.diff(order) > 0).all()
            np.testing.assert_array_equal(best.score[image, place], expected.score[image, order])
        np.testing.assert_array_equal(best.log_max, expected.log_max)
        np.testing.assert_allclose(best.log_evidence(), expected.log_evidence(), atol=1e-6)


def test_a_margin_leaves_out_what_is_below_it(rng):
    """Else it would save nothing: once the best is known, nothing below its margin comes."""
    images, weights, slices, *_ = problem(rng, 2, 4, 300, 20)
    panel, best = pack_images(images, weights), new_best(2, 1200, (2.0, 0.0))
    for first in (0, 100, 200):
        before = best.score[:, :1].copy()
        compare(panel, slices[first : first + 100], best, slice_offset=first)
        came = best.index >= 4 * first
        assert (best.score[came] >= np.broadcast_to(before - 2, best.score.shape)[came]).all()
        assert came.sum() < 200 or first == 0


def test_a_full_list_with_a_margin_is_cut_at_its_end(rng):
    images, weights, slices, *_ = problem(rng, 2, 4, 300, 20)
    panel, best = pack_images(images, weights), new_best(2, 5, (1e3, 0.0))
    compare(panel, slices, best)
    expected = run(images, weights, slices, n_best=5)
    for one, other in zip(fields(best), fields(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def test_equal_scores_stand_by_index(rng):
    images, weights, slices, *_ = problem(rng, 2, 4, 3, 9)
    images[:] = images[:, :1]
    slices = np.concatenate([slices] * 100)
    for split in (300, 7):
        best = run(images, weights, slices, n_best=500, split=split)
        _, index = twin.best_poses(compare_scores(pack_images(images, weights), slices).astype(float), 500)
        np.testing.assert_array_equal(best.index, index)


def test_order_of_calls_changes_no_pose(rng):
    images, weights, slices, *_ = problem(rng, 2, 3, 90, 12)
    slices[60:] = slices[:30]
    panel = pack_images(images, weights)
    there, back = new_best(2, 40), new_best(2, 40)
    for best, firsts in ((there, (0, 30, 60)), (back, (60, 30, 0))):
        for first in firsts:
            compare(panel, slices[first : first + 30], best, slice_offset=first)
    np.testing.assert_array_equal(there.score, back.score)
    np.testing.assert_array_equal(there.index, back.index)


def test_priors_exclude(rng):
    images, weights, slices, prior_shift, prior_slice = problem(rng, 2, 3, 40, 12)
    prior_shift[:, 1], prior_slice[::2] = -np.inf, -np.inf
    best = run(images, weights, slices, prior_shift, prior_slice, n_best=60)
    allowed = [s * 3 + t for s in range(1, 40, 2) for t in (0, 2)]
    for index in best.index:
        np.testing.assert_array_equal(np.sort(index[:40]), allowed)
        assert np.all(index[40:] == -1)
    kept = twin.scores(*(a.astype(float) for a in (images, weights, slices, prior_shift, prior_slice)))[:, ::2, 1::2]
    np.testing.assert_allclose(best.log_evidence(), twin.log_sum_exp(kept), atol=EVIDENCE_ERROR, rtol=0)
    prior_slice[:] = -np.inf
    nothing = run(images, weights, slices, prior_shift, prior_slice)
    assert np.all(np.isneginf(nothing.log_evidence()))
    assert np.all(np.isneginf(nothing.log_max))
    assert np.all(nothing.index == -1)


def test_great_scores_do_not_overflow(rng):
    images, weights, slices, *_ = problem(rng, 3, 2, 50, 30, spread=1e6)
    best = run(images, weights, slices)
    assert np.all(np.isfinite(best.log_evidence()))
    np.testing.assert_array_equal(best.log_max, best.score[:, 0])


def test_threads_change_no_bit(rng):
    data = problem(rng, 37, 21, 300, 140)
    one = run(*data, threads=1)
    for threads in (2, 3):
        for a, b in zip(fields(one), fields(run(*data, threads=threads)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_other_images_change_no_bit(rng):
    images, weights, slices, prior_shift, prior_slice = problem(rng, 31, 9, 300, 140)
    together = run(images, weights, slices, prior_shift, prior_slice)
    for i in (0, 7, 30):
        keep = slice(i, i + 1)
        alone = run(images[keep], weights[keep], slices, prior_shift[keep], prior_slice)
        for a, b in zip(fields(together), fields(alone), strict=True):
            np.testing.assert_array_equal(a[keep], b)


@pytest.mark.parametrize("n_slice", [1, 17, 40, 64])
def test_number_of_rows_changes_no_score(n_slice, rng):
    # Few rows are multiplied with two panels of slices at a time, and an odd panel is left.
    images, weights, slices, *_ = problem(rng, 30, 1, n_slice, 130)
    together = compare_scores(pack_images(images, weights, images_per_group=30), slices)
    np.testing.assert_allclose(together, twin.scores(*(a.astype(float) for a in (images, weights, slices))), atol=1e-4)
    for n_row in range(1, 30):
        panel = pack_images(images[:n_row], weights[:n_row], images_per_group=n_row)
        np.testing.assert_array_equal(compare_scores(panel, slices), together[:n_row])


def test_place_of_a_slice_changes_no_score(rng):
    images, weights, slices, *_ = problem(rng, 3, 4, 290, 37)
    panel = pack_images(images, weights)
    together = compare_scores(panel, slices)
    for first in (1, 30, 256):
        np.testing.assert_array_equal(compare_scores(panel, slices[first:]), together[:, :, first:])


@pytest.mark.parametrize("n_slice", [0, 1, CELL_SLICES - 1, CELL_SLICES, CELL_SLICES + 1, 600])
def test_packed_slices_and_array_give_the_same_bits(n_slice, rng):
    images, weights, slices, prior_shift, prior_slice = problem(rng, 11, 3, n_slice, 30)
    packed = pack_slices(slices)
    for n_image in (11, 1, 4):
        panel = pack_images(images[:n_image], weights[:n_image])
        priors = {"log_prior_shift": prior_shift[:n_image], "log_prior_slice": prior_slice}
        one, other = new_best(n_image, 5), new_best(n_image, 5)
        compare(panel, slices, one, **priors)
        compare(panel, packed, other, **priors)
        for a, b in zip(fields(one), fields(other), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(compare_scores(panel, packed), compare_scores(panel, slices))


def test_memory_of_packed_slices_is_used_again(rng):
    images, weights, slices, *_ = problem(rng, 3, 2, 64, 10)
    panel = pack_images(images, weights)
    packed = pack_slices(slices)
    memory = packed.columns, packed.norms
    for n_slice in (5, 64):
        packed = pack_slices(slices[:n_slice], out=packed)
        assert packed.columns is memory[0]
        assert packed.norms is memory[1]
        np.testing.assert_array_equal(compare_scores(panel, packed), compare_scores(panel, slices[:n_slice]))
    with pytest.raises(ValueError, match=r"columns: expected at least 1920 floats, got shape \(1280\)"):
        pack_slices(np.concatenate([slices, slices[:1]]), out=packed)


def masked_scores(panel, slices, active, **priors):
    """Float32 scores of `compare_scores`, -∞ where a cell is not active."""
    scores = compare_scores(panel, slices, **priors)
    inactive = ~np.repeat(active, CELL_SLICES, axis=1)[:, : len(slices)]
    return np.where(inactive[:, None], np.float32(-np.inf), scores)


def random_mask(rng, n_image, n_slice):
    """A third of the cells active."""
    return rng.random((n_image, -(-n_slice // CELL_SLICES))) < 1 / 3


def run_masked(data, active, images_per_group=None, n_best=7, threads=None):
    """`compare` of active cells in one call."""
    images, weights, slices, prior_shift, prior_slice = data
    panel, best = (
        pack_images(images, weights, images_per_group=images_per_group, threads=threads),
        new_best(len(images), n_best),
    )
    priors = {"log_prior_shift": prior_shift, "log_prior_slice": prior_slice}
    compare(panel, slices, best, active=active, threads=threads, **priors)
    return best


@pytest.mark.parametrize("images_per_group", [None, 1, 4])
@pytest.mark.parametrize("n_slice", [1, 31, 32, 33, 65, 300])
def test_active_cells_equal_twin(n_slice, images_per_group, rng):
    images, weights, slices, *priors = data = problem(rng, 13, 5, n_slice, 140)
    active = random_mask(rng, 13, n_slice)
    best = run_masked(data, active, images_per_group)
    expected = twin.scores(*(a.astype(float) for a in (images, weights, slices, *priors)), active)
    with np.errstate(invalid="ignore"):  # an image without an active cell: -∞ - -∞
        np.testing.assert_allclose(best.log_evidence(), twin.log_sum_exp(expected), atol=EVIDENCE_ERROR, rtol=0)
    panel = pack_images(images, weights)
    scores = masked_scores(panel, slices, active, log_prior_shift=priors[0], log_prior_slice=priors[1])
    np.testing.assert_allclose(scores, expected, atol=SCORE_ERROR, rtol=0)
    score, index = twin.best_poses(scores.astype(float), 7)
    np.testing.assert_array_equal(best.score, score)
    np.testing.assert_array_equal(best.index, index)
    np.testing.assert_array_equal(best.log_max, scores.max(axis=(1, 2)))


def test_all_cells_active_is_as_without(rng):
    data = problem(rng, 9, 4, 600, 30)
    every, without = run_masked(data, np.ones((9, 19), np.uint8)), run(*data)
    for a, b in zip(fields(every)[:3], fields(without)[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    # The same terms in another order, summed in double.
    np.testing.assert_allclose(every.log_sum, without.log_sum, rtol=1e-13)


@pytest.mark.parametrize("n_image, n_slice", [(5, 70), (5, 0), (0, 70)])
def test_no_cell_active(n_image, n_slice, rng):
    images, weights, slices, *_ = problem(rng, n_image, 3, n_slice, 10)
    panel, best = pack_images(images, weights, images_per_group=1), new_best(n_image, 4)
    compare(panel, slices, best, active=np.zeros((n_image, -(-n_slice // CELL_SLICES)), bool))
    assert np.all(best.index == -1)
    assert np.all(np.isneginf(best.log_evidence()))
    assert np.all(np.isneginf(best.log_max))


def test_groups_threads_and_other_images_change_no_bit_of_active_cells(rng):
    # More images than one thread takes at a time.
    images, weights, slices, prior_shift, prior_slice = data = problem(rng, 530, 3, 100, 20)
    active = random_mask(rng, 530, 100)
    expected = run_masked(data, active, 1, threads=1)
    for images_per_group, threads in ((None, 1), (1, 2), (7, 3), (600, 2)):
        best = run_masked(data, active.view(np.uint8), images_per_group, threads=threads)
        for a, b in zip(fields(expected), fields(best), strict=True):
            np.testing.assert_array_equal(a, b)
    for i in (0, 263, 529):
        keep = slice(i, i + 1)
        alone = run_masked((images[keep], weights[keep], slices, prior_shift[keep], prior_slice), active[keep])
        for a, b in zip(fields(expected), fields(alone), strict=True):
            np.testing.assert_array_equal(a[keep], b)


@pytest.mark.parametrize("kept", [slice(0, 1), slice(39, 40), slice(20, 23), slice(0, 0)])
@pytest.mark.parametrize("images_per_group", [1, 3])
def test_uneven_active_cells_are_shared_out(kept, images_per_group, rng):
    """Nearly all the work is that of a few images, wherever they are."""
    data = problem(rng, 40, 3, 100, 20)
    active = np.zeros((40, 4), bool)
    active[kept] = True
    active[7, 2] = True
    expected = run_masked(data, active, 1, threads=1)
    for threads in (2, 3, 50):
        best = run_masked(data, active, images_per_group, threads=threads)
        for a, b in zip(fields(expected), fields(best), strict=True):
            np.testing.assert_array_equal(a, b)


def test_blocks_of_active_cells_in_calls(rng):
    images, weights, slices, *_ = problem(rng, 6, 3, 320, 20)
    active = random_mask(rng, 6, 320)
    panel, best, packed = pack_images(images, weights, images_per_group=1), new_best(6, 40), None
    for first in range(0, 320, 64):
        packed = pack_slices(slices[first : first + 64], out=packed)
        cells = np.ascontiguousarray(active[:, first // CELL_SLICES : (first + 64) // CELL_SLICES])
        compare(panel, packed, best, slice_offset=first, active=cells)
    score, index = twin.best_poses(masked_scores(panel, slices, active).astype(float), 40)
    np.testing.assert_array_equal(best.score, score)
    np.testing.assert_array_equal(best.index, index)


def test_errors_name_argument_and_shape(rng):
    images, weights, slices, prior_shift, prior_slice = problem(rng, 2, 3, 4, 10)
    panel = pack_images(images, weights)
    with pytest.raises(ValueError, match=r"images: expected shape"):
        pack_images(images[0], weights)
    with pytest.raises(ValueError, match=r"weights: expected shape \(2, 10\), got \(1, 10\)"):
        pack_images(images, weights[:1])
    with pytest.raises(ValueError, match=r"slices: expected shape \(any, 2, 10\), got \(4, 2, 9\)"):
        compare(panel, np.ascontiguousarray(slices[:, :, :9]), new_best(2, 1))
    with pytest.raises(ValueError, match=r"slices: expected shape \(..., 2, n\) .*, got \(4, 20\)"):
        pack_slices(slices.reshape(4, 20))
    with pytest.raises(ValueError, match=r"slices: expected shape \(..., 2, n\) .*, got \(4, 1, 20\)"):
        pack_slices(slices.reshape(4, 1, 20))
    with pytest.raises(ValueError, match=r"log_prior_slice: expected shape \(4\), got \(3\)"):
        compare(panel, slices, new_best(2, 1), log_prior_slice=prior_slice[:3])
    with pytest.raises(ValueError, match=r"log_prior_shift: expected shape \(2, 3\)"):
        compare_scores(panel, slices, log_prior_shift=prior_shift[:1])
    with pytest.raises(ValueError, match=r"active: expected shape \(2, 1\), got \(2, 2\)"):
        compare(panel, slices, new_best(2, 1), active=np.ones((2, 2), bool))
    with pytest.raises(ValueError, match=r"images_per_group: expected at least 1, got 0"):
        pack_images(images, weights, images_per_group=0)
    with pytest.raises(ValueError, match=r"score: expected shape \(2, any\), got \(1, 5\)"):
        compare(panel, slices, new_best(1, 5))
    with pytest.raises(ValueError, match=r"active: expected .* uint8, got float64 with others"):
        compare(panel, slices, new_best(2, 1), active=np.full((2, 1), 0.5))
