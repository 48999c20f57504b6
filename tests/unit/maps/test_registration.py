"""Maps turned and moved on purpose, and poses that go with them."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import Phantom
from scene import lump
from scipy.spatial.transform import Rotation

from pycryo.geometry.rotations import quaternion_to_matrix
from pycryo.geometry.symmetry import symmetry
from pycryo.maps import registration
from pycryo.maps.density import Map, low_pass
from pycryo.maps.registration import register

BOX, PIXEL, DIAMETER = 32, 4.0, 96.0


def volume(phantom: Phantom, noise: float = 0.0) -> Map:
    data = phantom.volume(BOX, PIXEL)
    data += noise * data.std() * np.random.default_rng(5).standard_normal(data.shape)
    return Map(data.astype(np.float32), PIXEL)


def read_at(phantom: Phantom, turn: Rotation, move: np.ndarray) -> Phantom:
    """The phantom V as it is if it is seen at u = Mᵀ(v - c)."""
    return Phantom(turn.inv().apply(phantom.centres - move), phantom.widths, phantom.masses)


@pytest.mark.parametrize("vector, move", [((0, 0, 0), (0, 0, 0)), ((2.5, -1.2, 0.8), (1.6, -3.0, 0.7))])
@pytest.mark.parametrize("resolution", [40.0, 12.0])
def test_known_motion_is_found(vector, move, resolution):
    turn, move = Rotation.from_rotvec(vector, degrees=True), np.array(move)
    body = lump()
    target = low_pass(volume(read_at(body, turn, move)), resolution)
    found = register(volume(body), target, symmetry("C1"), r_high=10, diameter=DIAMETER)
    away = Rotation.from_matrix(quaternion_to_matrix(found.motion.quaternion)) * turn.inv()
    # Without noise the low-pass, whose edge the shells' gains follow in steps, and the prior are what is left: their
    # errors are measured to be half of these limits.
    assert np.degrees(away.magnitude()) < 0.1
    assert np.linalg.norm(found.motion.move - move) < 0.05 * PIXEL
    assert found.correlation > 0.8  # the edge of the low-pass is in steps, too
    assert found.is_small
    assert (found.gain > 100) == bool(np.any(vector))
    assert found.motion.angle == pytest.approx(np.linalg.norm(vector), abs=0.1)
    assert found.motion.distance == pytest.approx(np.linalg.norm(move), abs=0.05 * PIXEL)


def test_noise_is_not_taken_for_motion():
    body = lump()
    found = register(volume(body, noise=1.0), volume(body), symmetry("C1"), r_high=10, diameter=DIAMETER)
    assert found.gain < 18  # χ² of 6 parameters: 0.6 % of all draws are above


def test_cyclic_maps_are_turned_about_their_axis_and_moved_along_it():
    body = lump(Rotation.from_matrix(symmetry("C3").matrices), n=8)
    turn, move = Rotation.from_rotvec([0, 0, -2], degrees=True), np.array([0, 0, 2.2])
    source, target = volume(body), volume(read_at(body, turn, move))
    found = register(source, target, symmetry("C3"), r_high=10, diameter=DIAMETER)
    vector = Rotation.from_matrix(quaternion_to_matrix(found.motion.quaternion)).as_rotvec(degrees=True)
    assert found.n_free == 2
    np.testing.assert_allclose(vector, [0, 0, -2], atol=0.1)
    np.testing.assert_allclose(found.motion.move, move, atol=0.05 * PIXEL)
    np.testing.assert_array_equal(found.motion.move[:2], 0)


@pytest.mark.parametrize("name", ["D2", "D7", "T", "O", "I1"])
def test_other_groups_hold_the_frame(name):
    assert register(volume(lump()), volume(lump()), symmetry(name), r_high=10, diameter=DIAMETER) is None


def test_a_blob_tells_no_motion():
    """A ball, and a ball beside the centre: a turn of the one, any correlation of the other's shape would be chance."""
    for centre in ((0.0, 0.0, 0.0), (3.0, -2.0, 1.0)):
        ball = Phantom(np.array([centre]), np.array([14.0]), np.array([1e4]))
        found = register(volume(lump()), volume(ball), symmetry("C1"), r_high=10, diameter=DIAMETER)
        assert found.correlation < 0.4


@pytest.mark.parametrize("box", [15, 16])
def test_small_and_odd_boxes(box):
    data = lump().volume(box, 8.0).astype(np.float32)
    found = register(Map(data, 8.0), Map(data, 8.0), symmetry("C1"), r_high=50, diameter=DIAMETER)
    assert found.gain == pytest.approx(0, abs=1e-6)
    assert found.correlation == pytest.approx(1, abs=1e-3)  # splines read between the samples


def test_nothing_to_compare():
    """No sample below the limit, or an empty map: no motion, no correlation."""
    empty = Map(np.zeros((16, 16, 16), np.float32), 8.0)
    full = Map(lump().volume(16, 8.0).astype(np.float32), 8.0)
    for source, target, r_high in ((full, full, 0.5), (empty, full, 6), (full, empty, 6)):
        found = register(source, target, symmetry("C1"), r_high=r_high, diameter=DIAMETER)
        assert (found.motion.angle, found.motion.distance, found.gain, found.correlation) == (0, 0, 0, 0)


def test_slopes_are_those_of_the_model():
    """Against differences, at a large motion; and the map's own against those of its model at none."""
    source = volume(lump())
    fit = registration._Fit.of(source, source, np.arange(6), 6.0, DIAMETER, registration.Expected())
    values, step = np.array([1.0, -2.0, 0.5, 1.5, 1.0, -2.0]), 1e-3
    _, slopes = fit.model(values)
    for j, one in enumerate(np.eye(6) * step):
        difference = (fit.model(values + one)[0] - fit.model(values - one)[0]) / (2 * step)
        # The small turn is of second order in the turn of 5°.
        np.testing.assert_allclose(slopes[:, j], difference, atol=1e-3 * np.abs(difference).max())
    _, slopes = fit.model(np.zeros(6))
    # The soft edge of the sphere takes little of the map; the splines' slopes are as near.
    np.testing.assert_allclose(fit.own, slopes, atol=0.02 * np.abs(slopes).max())
