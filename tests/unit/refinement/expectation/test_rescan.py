"""What the schedule asks of an iteration: which images are scanned, sharper posteriors, whose defoci are kept."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pycryo import RefineOptions, refine
from pycryo.filter.support import is_broad
from pycryo.io.mrc import read_map
from pycryo.io.particles import read_particles
from pycryo.refinement import step
from pycryo.refinement.plan import make_plan
from pycryo.refinement.step import iterate


@pytest.fixture(scope="module")
def begun(tiny_set):
    """Setup and state after one global iteration."""
    seen = []
    refine(
        read_particles(tiny_set / "particles.star"),
        read_map(tiny_set / "init40A.mrc"),
        RefineOptions(max_iter=2),
        observer=lambda setup, outcome, history: seen.append((setup, outcome.state)),
    )
    return seen[0]


def local(state, *, rescans, broad=()):
    """The state with a local iteration to follow; only the posteriors of the rows `broad` are broad."""
    halves = []
    for rows, posterior in state.posteriors:
        spread = np.where(np.isin(rows, broad), np.deg2rad(30), np.deg2rad(3))
        halves.append((rows, replace(posterior, spread_rotation=spread)))
    return replace(
        state,
        schedule=replace(state.schedule, stage="local", rescans=rescans),
        posteriors=tuple(halves),
        motions=((), ()),
    )


def by_row(outcome, name):
    values = {}
    for rows, posterior in outcome.state.posteriors:
        values.update(zip(rows.tolist(), getattr(posterior, name), strict=True))
    return np.array([values[row] for row in sorted(values)])


def scanned_globally(setup, state):
    """What a global iteration finds."""
    schedule = replace(state.schedule, stage="global", rescans="")
    return iterate(setup, replace(local(state, rescans=""), schedule=schedule))


def test_only_broad_posteriors_are_scanned(begun):
    setup, state = begun
    broad = np.arange(setup.partition.particles.n)[::3]
    plain = iterate(setup, local(state, rescans="", broad=broad))
    again = iterate(setup, local(state, rescans="broad", broad=broad))
    assert plain.record.n_slices_scan == 0
    assert again.record.n_slices_scan > 0
    assert again.record.scores_scan > 0
    same = (by_row(plain, "mode_quaternion") == by_row(again, "mode_quaternion")).all(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(~same), broad)
    # Their known modes, which are broad, do not count: the shared scan finds for them what a global iteration of such
    # posteriors finds.
    everything = iterate(setup, local(state, rescans="all", broad=broad))
    np.testing.assert_array_equal(by_row(again, "mode_quaternion")[broad], by_row(everything, "mode_quaternion")[broad])


def test_each_image_has_its_turn(begun):
    """Three iterations scan every image once; about its last posterior each is searched as in a local iteration."""
    setup, state = begun
    turns = []
    for number in range(3):
        at = replace(state, number=state.number + number)
        plain, again = (iterate(setup, local(at, rescans=rescans)) for rescans in ("", "in turn"))
        turns.append((by_row(plain, "mode_quaternion") != by_row(again, "mode_quaternion")).any(axis=1))
        assert again.record.n_slices_scan > 0
    np.testing.assert_array_equal(np.sum(turns, axis=0), 1)
    assert min(np.sum(turns, axis=1)) >= 5


def test_all_posteriors_are_scanned(begun):
    """As in the global stage, whether they are broad or not."""
    setup, state = begun
    found, expected = iterate(setup, local(state, rescans="all")), scanned_globally(setup, state)
    assert found.record.scores_scan == expected.record.scores_scan > 0
    for name in ("mode_quaternion", "mode_shift", "spread_rotation", "n_slices"):
        np.testing.assert_array_equal(by_row(found, name), by_row(expected, name))


def test_share_of_broad_posteriors_is_measured(begun):
    outcome = iterate(*begun)
    expected = is_broad(by_row(outcome, "spread_rotation")).mean()
    assert outcome.record.broad_share == expected
    np.testing.assert_array_equal(is_broad(np.deg2rad([9.0, 11.0])), [False, True])


def test_none_broad_means_none_scanned(begun):
    """Nor is a rank without such images in anybody's way."""
    setup, state = begun
    plain, again = (iterate(setup, local(state, rescans=rescans)) for rescans in ("", "broad"))
    np.testing.assert_array_equal(by_row(plain, "mode_quaternion"), by_row(again, "mode_quaternion"))
    assert again.record.scores_scan == 0


def test_sharper_posteriors(begun):
    setup, state = begun
    plain, sharp = (
        iterate(setup, replace(state, schedule=replace(state.schedule, stage="global", sharpness=power)))
        for power in (1.0, 2.0)
    )
    for name in ("spread_rotation", "spread_shift"):
        assert np.mean(by_row(sharp, name) < by_row(plain, name)) > 0.8
    # Not twice as much: what the images say is the same.
    before, after = (by_row(each, "log_evidence") for each in (plain, sharp))
    assert (before < after).all()
    assert np.median(after) < 1.3 * np.median(before)


@pytest.mark.parametrize("spread, n_rotation", [(math.inf, 64), (3.1, 64), (2.9, 32)])
def test_posteriors_that_were_never_narrow_get_more_points(begun, spread, n_rotation):
    setup, state = begun
    plan = make_plan(setup, replace(state, schedule=replace(state.schedule, least_spread=spread)))
    assert plan.sampling.settings.n_rotation == n_rotation


@pytest.mark.parametrize(
    "sigma_turn, best_shell, stage, kept",
    [
        (5.9, 99.0, "final", False),
        (6.1, 99.0, "final", True),  # the defoci found tell more than the file's
        (5.9, 0.1, "defocus", True),  # the search goes on, as the resolution grows
    ],
)
def test_the_files_defoci_are_kept_where_the_search_finds_nothing(
    begun, monkeypatch, sigma_turn, best_shell, stage, kept
):
    """At the end of the defocus stage."""
    setup, state = begun
    setup = replace(setup, options=replace(setup.options, max_iter=9))
    measure = step.measure_defocus
    figures = {"turn": 0.0, "sigma_turn": sigma_turn}
    monkeypatch.setattr(step, "measure_defocus", lambda *args: replace(measure(*args), **figures))
    schedule = replace(state.schedule, stage="defocus", best_shell=best_shell, iterations=1)
    outcome = iterate(setup, replace(state, schedule=schedule, sigma_defocus=200.0))
    assert outcome.state.schedule.stage == stage
    # What was found is told in any case.
    assert outcome.record.defocus_change > 0
    assert (outcome.state.sigma_defocus is not None) == kept
    for name in ("defocus_change", "spread_defocus"):
        assert (by_row(outcome, name) != 0).all() if kept else not by_row(outcome, name).any()
    final = iterate(setup, replace(outcome.state, schedule=replace(outcome.state.schedule, stage="final")))
    # Else the final iteration searches none.
    assert (final.record.sigma_defocus > 0) == kept
    assert by_row(final, "defocus_change").any() == kept
