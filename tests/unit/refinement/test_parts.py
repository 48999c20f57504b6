"""The first iterations of a large set compare a part of its images; nothing of the result depends on it but chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scene import lump, pose_errors, scene

from pycryo import RefineOptions, refine
from pycryo.parallel.comm import SerialComm
from pycryo.refinement import parts
from pycryo.refinement.parts import begins_anew, first_part, images_of, most_part
from pycryo.refinement.schedule import Limits, Measured, Schedule
from pycryo.refinement.stage_schedule import next_schedule
from pycryo.refinement.start.first_setup import set_up

OPTIONS = RefineOptions(ini_high=30.0, threads=1)
PART = Schedule("global", 8.0, part=100, compared=100)
LATER = replace(PART, best_shell=12.0, iterations=2, r_high=10.0)


def measured(shell, change, spread, **more):
    return Measured((shell,), change, spread, **more)


def after(now, seen, most=1000, *, is_last=False):
    limits = Limits(("global", "local"), 100.0, unknown_spread=50.0, most_part=most)
    found, reason = next_schedule(now, seen, limits, is_last=is_last)
    assert "\n" not in reason
    return found, reason


def test_a_part_does_while_r_high_grows_fast():
    """As far as it grows with all images."""
    seen = measured(25.0, 30.0, 20.0, sure_shell=22.0)
    for now in (PART, LATER):
        found, reason = after(now, seen)
        assert (found.part, found.compared, found.is_new) == (100, 100, False)
        assert found.r_high == pytest.approx(1.6 * now.r_high)
        assert "100 images of each half-set still do" in reason
        with_all, _ = after(replace(now, part=0, compared=0), seen)
        assert replace(found, part=0, compared=0) == with_all


@pytest.mark.parametrize(
    "seen", [measured(9.0, np.inf, 60.0, sure_shell=7.0), measured(20.0, np.inf, 60.0, log_evidence=0.1)]
)
def test_a_first_part_that_is_too_small_is_forgotten(seen):
    """Half-maps that agree little, or images that noise explains as well."""
    found, reason = after(PART, seen)
    assert found == Schedule("global", PART.r_high)
    assert begins_anew(PART, found)
    assert "too few" in reason


@pytest.mark.parametrize(("most", "part"), [(1000, 400), (400, 400), (399, 0), (0, 0)])
def test_a_part_grows_when_it_does_no_longer(most, part):
    found, reason = after(LATER, measured(12.5, 3.0, 5.0, sure_shell=11.0), most)
    assert (found.stage, found.part, found.compared, found.iterations) == ("global", part, 100, 0)
    assert found.is_new
    assert not begins_anew(LATER, found)
    assert (f"{part} of each half-set are taken" if part else "all are taken") in reason


def test_all_images_are_searched_globally_before_the_local_stage():
    """With the r_high that a local stage would have; then it begins, if the images of the part show few changes."""
    seen = measured(15.0, 0.1, 2.0, sure_shell=14.0, changed_mode=0.0)
    found, _ = after(LATER, seen, 0)
    local, _ = after(replace(LATER, part=0, compared=0), seen)
    assert (found.stage, local.stage) == ("global", "local")
    assert (found.r_high, found.part, found.compared) == (local.r_high, 0, 100)
    onward, _ = after(found, seen)
    assert (onward.stage, onward.part, onward.is_new) == ("local", 0, False)


def test_sharpness_is_kept_when_a_part_grows():
    """It is asked for anew: large sets show more than a part."""
    sharp = replace(LATER, sharpness=1.3)
    grown, _ = after(sharp, measured(12.5, 3.0, 5.0, sure_shell=11.0), 0)
    assert grown.sharpness == 1.3
    assert after(grown, measured(12.5, 3.0, 5.0))[0].sharpness == 1.3


def test_the_final_iteration_scans_all():
    """Also where a part was compared before it."""
    found, _ = after(LATER, measured(25.0, 3.0, 5.0, sure_shell=20.0), is_last=True)
    assert (found.stage, found.part, found.rescans, found.is_new) == ("final", 0, "all", True)


def test_large_sets_only():
    half = np.repeat(np.array([0, 1, -1], np.int8), [3500, 3000, 100])
    assert most_part(half) == 1000
    assert most_part(half[:6000]) == 833


@pytest.fixture(scope="module")
def lumps(tmp_path_factory):
    return scene(tmp_path_factory.mktemp("lumps"), lump(), 90, snr=0.5)


@pytest.fixture
def setup(lumps):
    particles, _, start = lumps
    return set_up(SerialComm(), particles, start, None, OPTIONS)[0]


def test_parts_hold_smaller_ones(setup, monkeypatch):
    whole = setup.partition
    assert first_part(setup) == 0
    monkeypatch.setattr(parts, "FIRST_PART", 10)
    assert first_part(setup) == 10
    assert first_part(replace(setup, options=replace(OPTIONS, classes=2))) == 0
    assert images_of(setup, 0) is setup
    few, more = (images_of(setup, count) for count in (10, 20))
    assert set(few.partition.rows) < set(more.partition.rows) < set(whole.rows)
    for found, count in ((few, 10), (more, 20)):
        part = found.partition
        assert (part.count(0), part.count(1)) == (count, count)
        chosen = part.half >= 0
        np.testing.assert_array_equal(part.half[chosen], whole.half[chosen])
        np.testing.assert_array_equal(np.flatnonzero(chosen), np.sort(part.rows))
        np.testing.assert_allclose(found.statistics.power, setup.statistics.power * 2 * count / 90)
        assert found.statistics.count.sum() == 2 * count


def test_refinement_ends_as_with_all_images(lumps, monkeypatch):
    particles, _, start = lumps
    whole = refine(particles, start, OPTIONS)
    monkeypatch.setattr(parts, "FIRST_PART", 12)
    seen = []
    found = refine(particles, start, OPTIONS, observer=lambda _, outcome, history: seen.append(outcome.poses.rows))
    compared = [sum(record.load.particles) for record in found.history]
    assert compared == [len(rows) for rows in seen]
    assert compared[:2] == [24, 24]
    assert compared[-2:] == [90, 90]
    first_of_all = compared.index(90)
    assert found.history[first_of_all].stage == "global"
    # The images of the part tell how far poses have moved.
    assert np.isfinite(found.history[first_of_all].pose_change)
    np.testing.assert_array_equal(found.poses.rows, np.arange(90))
    errors = [np.median(pose_errors(each.poses, particles)[0]) for each in (whole, found)]
    assert errors[1] < 1.15 * errors[0]
    assert found.resolution < 1.05 * whole.resolution
