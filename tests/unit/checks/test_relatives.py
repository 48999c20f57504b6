"""Rows of one image and of one particle, against comparisons of all pairs."""

import numpy as np
import pytest

from pycryo.checks.relatives import Picks, find_relatives, joined, near_pairs, same_image


def chains(n, linked):
    """(n,) the first of the rows that chains lead to; `linked` (n, n) bool."""
    reached = linked | np.eye(n, dtype=bool)
    for _ in range(n):
        reached = reached @ reached
    return reached.argmax(axis=1)


def test_rows_of_one_image(rng):
    stack, index = rng.integers(0, 4, 60), rng.integers(0, 9, 60)
    same = (stack[:, None] == stack) & (index[:, None] == index)
    np.testing.assert_array_equal(same_image(stack, index), same.argmax(axis=1))
    assert same_image(np.empty(0, np.int32), np.empty(0, np.int64)).shape == (0,)


def test_numbers_of_images_may_be_huge():
    """4 · 2⁶² is 0 in 64 bits: stack 4 must not be taken for stack 0."""
    index = np.array([2**62 - 1, 0, 2**62 - 1, 0])
    np.testing.assert_array_equal(same_image(np.array([0, 4, 0, 0]), index), [0, 1, 0, 3])


@pytest.mark.parametrize("reach", [5.0, 40.0])
def test_families_are_chains_within_reach_of_one_micrograph(rng, reach):
    n = 80
    image = same_image(np.zeros(n, int), rng.integers(0, 60, n))
    picks = Picks(rng.integers(0, 3, n), (rng.uniform(0, 300, (n, 2)), rng.uniform(0, 300, (n, 2))))
    picks.positions[1][:20] = picks.positions[1][20:40]
    linked = image[:, None] == image
    for position in picks.positions:
        apart = np.linalg.norm(position[:, None] - position, axis=2)
        is_first = image == np.arange(n)
        linked |= (picks.micrograph[:, None] == picks.micrograph) & (apart <= reach) & is_first & is_first[:, None]
    found = find_relatives(image, picks, reach)
    np.testing.assert_array_equal(found.family, chains(n, linked))
    np.testing.assert_array_equal(found.image, image)
    first = np.unique(image)
    alone = sum(np.count_nonzero(found.family[first] == found.family[row]) == 1 for row in first)
    assert found.n_near == len(first) - alone > 0


def test_positions_that_tell_nothing():
    image = np.arange(4)
    zeros = Picks(np.zeros(4, int), (np.zeros((4, 2)),))
    np.testing.assert_array_equal(find_relatives(image, zeros, 10.0).family, image)
    unknown = Picks(np.zeros(4, int), (np.array([[0.0, 0], [np.nan, 0], [np.inf, 0], [1, 0]]),))
    np.testing.assert_array_equal(find_relatives(image, unknown, 10.0).family, [0, 1, 2, 0])
    np.testing.assert_array_equal(find_relatives(image, unknown, 0.0).family, image)
    assert find_relatives(image).n_near == 0
    assert find_relatives(np.empty(0, np.int64)).family.shape == (0,)


def test_many_at_one_place_make_few_pairs():
    at = np.concatenate([np.zeros((1000, 2)), [[3.0, 0.0]]])
    assert len(near_pairs(np.zeros(1001, int), at, 5.0)) == 1000


def test_joined_sets():
    one, other = np.array([0, 0, 2, 3, 4, 4]), np.array([0, 1, 1, 3, 4, 5])
    np.testing.assert_array_equal(joined(one, other), [0, 0, 0, 3, 4, 4])
    np.testing.assert_array_equal(joined(other, one), joined(one, other))
