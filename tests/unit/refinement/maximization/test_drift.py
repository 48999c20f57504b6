"""A map that has moved is brought back onto the start reference, on any number of ranks, by way of the poses."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from phantom import Phantom
from scene import lump
from scipy.spatial.transform import Rotation
from thread_comm import run_ranks

from pycryo import RefineOptions, refine
from pycryo.filter.support import Posterior, Support
from pycryo.geometry.rotations import quaternion_to_matrix
from pycryo.geometry.symmetry import symmetry
from pycryo.io.mrc import read_map
from pycryo.io.particles import read_particles
from pycryo.maps.density import Map
from pycryo.maps.registration import Motion
from pycryo.maps.slab_map import from_root
from pycryo.refinement.data.posteriors import moved
from pycryo.refinement.maximization.drift import coarse, motions_to_first, motions_to_start
from pycryo.refinement.step import iterate

BOX, PIXEL = 36, 3.5
RESOLVED = SimpleNamespace(resolution_0143=BOX * PIXEL / 8)
TURN, MOVE = Rotation.from_rotvec([1.5, -2.0, 0.5], degrees=True), np.array([1.2, -1.9, 0.6])


def volume(phantom: Phantom, box: int = BOX) -> Map:
    return Map(phantom.volume(box, PIXEL * BOX / box).astype(np.float32), PIXEL * BOX / box)


def found_on(ranks: int, here: Phantom, start: Phantom, group: str = "C1") -> Motion | None:
    """What `motions_to_start` finds for a map `here`, on a finer grid than the start's; the same on all ranks."""

    def work(comm):
        root = comm.rank == 0
        setup = SimpleNamespace(
            partition=SimpleNamespace(comm=comm),
            group=symmetry(group),
            diameter=100.0,
            prior=None,
            starts=coarse(comm, [volume(start)] if root else []),
            field_of_view=BOX * PIXEL,
        )
        halves = tuple(from_root(comm, volume(here, 40) if root else None) for _ in range(2))
        (motion,) = motions_to_start(setup, [SimpleNamespace(half_maps=halves, fsc=RESOLVED)])
        return motion

    results = run_ranks(ranks, work)
    for other in results[1:]:
        if results[0] is not None:
            np.testing.assert_array_equal(other.quaternion, results[0].quaternion)
            np.testing.assert_array_equal(other.move, results[0].move)
        assert (other is None) == (results[0] is None)
    return results[0]


def test_motion_is_found_and_the_same_on_any_number_of_ranks():
    here = lump()
    start = Phantom(TURN.inv().apply(here.centres - MOVE), here.widths, here.masses)
    alone = found_on(1, here, start)
    away = Rotation.from_matrix(quaternion_to_matrix(alone.quaternion)) * TURN.inv()
    assert np.degrees(away.magnitude()) < 0.1  # as in test_registration
    assert np.linalg.norm(alone.move - MOVE) < 0.05 * PIXEL
    for ranks in (2, 5):
        other = found_on(ranks, here, start)
        np.testing.assert_array_equal(other.quaternion, alone.quaternion)
        np.testing.assert_array_equal(other.move, alone.move)


def test_nothing_is_moved_without_need_or_reason():
    here = lump()
    start = Phantom(TURN.inv().apply(here.centres - MOVE), here.widths, here.masses)
    assert found_on(2, here, here) is None
    assert found_on(2, here, start, "D2") is None
    assert found_on(2, here, Phantom(np.array([[1.0, 2.0, 0.0]]), np.array([15.0]), np.array([1e4]))) is None


@pytest.mark.parametrize("ranks", [1, 3])
def test_half_2_is_brought_to_half_1(ranks):
    """Of each class; and is left alone where it is."""
    first = lump()
    second = Phantom(TURN.apply(first.centres) + MOVE, first.widths, first.masses)

    def work(comm):
        def dealt(phantom):
            return from_root(comm, volume(phantom, 40) if comm.rank == 0 else None)

        setup = SimpleNamespace(
            partition=SimpleNamespace(comm=comm),
            group=symmetry("C1"),
            diameter=100.0,
            prior=None,
            field_of_view=BOX * PIXEL,
        )
        classes = [SimpleNamespace(half_maps=(dealt(first), dealt(each)), fsc=RESOLVED) for each in (second, first)]
        held = SimpleNamespace(**(vars(setup) | {"prior": object()}))
        fixed = SimpleNamespace(**(vars(setup) | {"group": symmetry("D2")}))
        return motions_to_first(setup, classes), motions_to_first(held, classes), motions_to_first(fixed, classes)

    for (motion, none), by_prior, by_symmetry in run_ranks(ranks, work):
        away = Rotation.from_matrix(quaternion_to_matrix(motion.quaternion)) * TURN.inv()
        assert np.degrees(away.magnitude()) < 0.1
        assert np.linalg.norm(motion.move - MOVE) < 0.05 * PIXEL
        assert none is None
        assert by_prior == ()
        assert by_symmetry == ()


def test_an_iteration_brings_half_2_back(tiny_set):
    """Its images are inserted turned against those of half 1: the next iteration is told to turn them back."""
    seen = []
    refine(
        read_particles(tiny_set / "particles.star"),
        read_map(tiny_set / "init40A.mrc"),
        RefineOptions(max_iter=5),
        observer=lambda setup, outcome, history: seen.append((setup, outcome.state)),
    )
    setup, state = seen[0]
    turn = Rotation.from_rotvec([0, 0, 4], degrees=True)
    motion = Motion(np.roll(turn.as_quat(), 1), np.zeros(3))
    before, after = (iterate(setup, replace(state, motions=((), of_2))).state for of_2 in ((), (motion,)))
    assert before.motions[0] == after.motions[0] == ()

    def turned_back(of_2):
        (each,) = of_2.motions[1] or (None,)
        return Rotation.identity() if each is None else Rotation.from_matrix(quaternion_to_matrix(each.quaternion))

    # Beside what half 2 does by itself.
    by_itself = turned_back(before)
    assert np.degrees((turned_back(after) * turn * by_itself.inv()).magnitude()) < 1.5
    assert np.degrees(by_itself.magnitude()) < 2.5


def test_moved_poses_show_the_moved_body_where_it_was():
    """Point v of the map is point u = Mᵀ(v - c) of the moved one; both are seen at the same place of the image."""
    rng = np.random.default_rng(2)
    quaternion = np.roll(Rotation.random(6, rng=rng).as_quat(), 1, axis=1).reshape(2, 3, 4)
    shift = rng.normal(size=(2, 3, 2))
    flat = np.zeros(2)
    posterior = Posterior(
        Support(quaternion, shift, np.full((2, 3), 1 / 3), np.array([[0, 0, 1], [1, 0, 0]], np.int32)),
        quaternion[:, 0],
        shift[:, 0],
        np.zeros(2, np.int32),
        np.ones((2, 2)),
        *[flat] * 9,
    )
    pixel_size = np.array([2.0, 3.0])
    point = rng.normal(size=3) * 30
    motion = Motion(np.roll(TURN.as_quat(), 1), MOVE)

    def seen(found: Posterior, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of = [
            quaternion_to_matrix(q)[..., :2, :] @ at + t * pixel_size.reshape((2,) + (1,) * (t.ndim - 1))
            for q, t in ((found.support.quaternion, found.support.shift), (found.mode_quaternion, found.mode_shift))
        ]
        return of[0], of[1]

    after = moved(posterior, (motion, motion), pixel_size)
    for one, other in zip(seen(posterior, point), seen(after, TURN.inv().apply(point - MOVE)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    assert moved(posterior, (), pixel_size) is posterior
    assert moved(posterior, (None, None), pixel_size) is posterior
    # Of one class only.
    some = moved(posterior, (None, motion), pixel_size)
    other = posterior.support.class_index == 1
    np.testing.assert_array_equal((some.support.quaternion != quaternion).any(axis=2), other)
    np.testing.assert_array_equal(some.support.shift[other], after.support.shift[other])
    np.testing.assert_array_equal(some.mode_quaternion, posterior.mode_quaternion)


@pytest.mark.parametrize("box", [15, 31, 64])
def test_start_is_kept_coarse(box):
    kept = run_ranks(2, lambda comm: coarse(comm, [volume(lump(), box)] if comm.rank == 0 else []))
    (kept,) = kept[0]
    assert kept.box == min(box, 32)
    assert kept.box * kept.pixel_size == pytest.approx(BOX * PIXEL)
