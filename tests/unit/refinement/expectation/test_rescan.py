"""What the schedule asks of an iteration: a scan of broad posteriors only, sharper posteriors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pycryo import RefineOptions, refine
from pycryo.filter.support import is_broad
from pycryo.io.mrc import read_map
from pycryo.io.particles import read_particles
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


def test_only_broad_posteriors_are_scanned(begun):
    setup, state = begun
    broad = np.arange(setup.partition.particles.n)[::3]
    plain = iterate(setup, local(state, rescans=False, broad=broad))
    again = iterate(setup, local(state, rescans=True, broad=broad))
    assert plain.record.n_slices_scan == 0
    assert again.record.n_slices_scan > 0
    assert again.record.scores_scan > 0
    same = (by_row(plain, "mode_quaternion") == by_row(again, "mode_quaternion")).all(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(~same), broad)
    # The shared scan found for them what a global iteration finds.
    plain_global = replace(state.schedule, stage="global", rescans=False)
    everything = iterate(setup, replace(local(state, rescans=False), schedule=plain_global))
    np.testing.assert_array_equal(by_row(again, "mode_quaternion")[broad], by_row(everything, "mode_quaternion")[broad])


def test_share_of_broad_posteriors_is_measured(begun):
    outcome = iterate(*begun)
    expected = is_broad(by_row(outcome, "spread_rotation")).mean()
    assert outcome.record.broad_share == expected
    np.testing.assert_array_equal(is_broad(np.deg2rad([9.0, 11.0])), [False, True])


def test_none_broad_means_none_scanned(begun):
    """Nor is a rank without such images in anybody's way."""
    setup, state = begun
    plain, again = (iterate(setup, local(state, rescans=rescans)) for rescans in (False, True))
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
