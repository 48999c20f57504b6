"""Half-sets of opposite hands: they are noticed, and poses follow a map that is inverted."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from phantom import blobs
from scipy.spatial.transform import Rotation
from thread_comm import run_ranks

from pycryo.filter.support import Posterior, Support
from pycryo.geometry.rotations import quaternion_to_matrix
from pycryo.maps.density import Map
from pycryo.maps.fsc import corrected_fsc
from pycryo.maps.slab_map import from_map
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.expectation.half_pass import HalfResult
from pycryo.refinement.maximization.handedness import hands_differ, inverted_result

PIXEL = 3.0


def noisy(data, rng, share):
    return (data + share * data.std() * rng.standard_normal(data.shape)).astype(np.float32)


@pytest.mark.parametrize("box", [32, 33, 66])
def test_opposite_hands_are_noticed(box, rng):
    """The phantom has no symmetry: it differs from its inverse by far more than by this noise."""
    truth = blobs().volume(box, PIXEL)
    inverse = replace(blobs(), centres=-blobs().centres).volume(box, PIXEL)
    first, same, other = (noisy(each, rng, 0.5) for each in (truth, truth, inverse))

    def work(comm):
        found = []
        for second in (same, other):
            pair = tuple(from_map(comm, Map(each, PIXEL)) for each in (first, second))
            curves = corrected_fsc(pair[0].data, pair[1].data, PIXEL, comm=comm)
            found.append(hands_differ(pair, curves))
        return found

    for size in (1, 3):
        assert run_ranks(size, work) == [[False, True]] * size


def test_noise_has_no_hand(rng):
    """Chance makes one FSC go further than the other, not by so much."""
    comm, n_found = SerialComm(), 0
    for _ in range(20):
        pair = tuple(from_map(comm, Map(rng.standard_normal((24,) * 3, np.float32), PIXEL)) for _ in range(2))
        n_found += hands_differ(pair, corrected_fsc(pair[0].data, pair[1].data, PIXEL))
    # It would do no harm: where there is nothing but noise, the inverse is as good.
    assert n_found <= 2


def test_poses_follow_the_inverted_map():
    """Views of the inverse at the new poses are those of the phantom at the old ones."""
    phantom = blobs()
    turns = Rotation.random(5, rng=np.random.default_rng(2))
    quaternions = np.roll(turns.as_quat(), 1, axis=1)
    classes = np.array([0, 0, 1, 0, 0], np.int32)
    support = Support(quaternions[:, None], np.zeros((5, 1, 2)), np.ones((5, 1)), classes[:, None])
    figures = {field.name: np.zeros(5) for field in fields(Posterior)[4:]}
    posterior = Posterior(support, quaternions, np.zeros((5, 2)), classes, **figures)
    sums = {name: np.zeros((5, 1)) for name in ("cross", "model", "residual", "expected", "excess")}
    result = HalfResult(np.arange(5), np.ones(5, bool), posterior, **sums, insertions=None)
    found = inverted_result(result, [0, 1])
    inverse = replace(phantom, centres=-phantom.centres)
    expected = phantom.images(turns.as_matrix(), np.zeros((5, 2)), 32, PIXEL)
    for new in (found.posterior.mode_quaternion, found.posterior.support.quaternion[:, 0]):
        images = inverse.images(quaternion_to_matrix(new), np.zeros((5, 2)), 32, PIXEL)
        np.testing.assert_allclose(images, expected, atol=1e-9 * expected.max())
    assert inverted_result(None, [0]) is None
    empty = replace(result, posterior=None)
    assert inverted_result(empty, [0]) is empty
    some = inverted_result(result, [1]).posterior
    np.testing.assert_array_equal((some.mode_quaternion != quaternions).any(axis=1), classes == 1)
    np.testing.assert_array_equal(some.mode_quaternion[2], found.posterior.mode_quaternion[2])
