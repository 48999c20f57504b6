"""Optics found within a refinement: written, kept in checkpoints, and the same on the way on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hidden_optics import HIDDEN, ODD, PIXEL, TILT, simulated

from pycryo import RefineOptions, refine
from pycryo.errors import RunError
from pycryo.io.particles import read_particles
from pycryo.maps.density import low_pass
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.files.live import LiveReport
from pycryo.refinement.files.outputs import Writer
from pycryo.report.page import build_report

OPTIONS = RefineOptions(
    local=True, ini_high=12.0, sigma_ang=2.0, stages="local,defocus,optics", threads=1, max_iter=12, padding=1
)


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    particles, truth = simulated(tmp_path_factory.mktemp("during"), **HIDDEN)
    return particles, low_pass(truth, 12.0)


def test_optics_are_found_before_the_final_iteration(hidden, tmp_path):
    particles, start = hidden
    report = LiveReport(Writer(tmp_path, particles, replace(OPTIONS, keep_iterations="all"), SerialComm()), 0)
    seen, told = [], []

    def observer(setup, outcome, history):
        report(setup, outcome, history)
        seen.append(outcome.state)
        told.append(outcome.optics)

    result = refine(particles, start, OPTIONS, observer=observer, checkpoint=tmp_path / "c")
    stages = [record.stage for record in result.history]
    first = next(number for number, state in enumerate(seen) if state.optics_changes)
    assert stages[first + 1] == "local"  # poses are found anew
    assert result.history[-1].resolution < result.history[first].resolution
    written = read_particles(tmp_path / "run_data.star").optics
    np.testing.assert_allclose(written.beam_tilt[0], TILT, atol=0.25)
    np.testing.assert_allclose(np.array(written.odd_zernike[0])[[2, 5]], np.array(ODD)[[2, 5]], atol=15)
    assert written.is_distorted[0]
    # What it found is with that iteration only, and shown.
    assert [number for number, each in enumerate(told) if each is not None] == [first]
    assert [path.name for path in tmp_path.glob("run_phases_*.png")] == ["run_phases_only.png"]
    assert "Phase errors of the optics groups" in build_report(tmp_path).read_text("utf-8")
    # Earlier files say what was known then.
    assert not read_particles(tmp_path / "run_it001_data.star").optics.has_odd.any()


def test_a_stopped_run_goes_on_with_what_it_found(hidden, tmp_path):
    particles, start = hidden
    whole = refine(particles, start, OPTIONS)

    def stop(setup, outcome, history):
        if len(history) > 1 and history[-2].stage == "defocus" and outcome.state.optics_changes:
            raise RunError("stopped")

    with pytest.raises(RunError, match="stopped"):
        refine(particles, start, OPTIONS, observer=stop, checkpoint=tmp_path)
    again = refine(particles, start, OPTIONS, checkpoint=tmp_path, resume=True)
    np.testing.assert_array_equal(again.map.data, whole.map.data)
    np.testing.assert_array_equal(again.poses.shift, whole.poses.shift)


def test_nothing_is_added_where_there_is_nothing(tmp_path):
    particles, truth = simulated(tmp_path)
    found = []
    refine(particles, low_pass(truth, 12.0), OPTIONS, observer=lambda _, outcome, history: found.append(outcome.state))
    assert found[-1].optics_changes == ()
    assert found[-1].schedule.has_optics


def test_a_map_that_is_too_coarse_asks_for_no_optics(hidden):
    options = RefineOptions(local=True, ini_high=12.0, sigma_ang=2.0, threads=1, max_iter=4, padding=1)
    assert options.optics_resolution() == 4.0
    assert OPTIONS.optics_resolution() == np.inf
    assert PIXEL * 2 < 4


def test_what_the_user_goes_on_without_is_not_looked_for(hidden):
    particles, start = hidden
    options = replace(OPTIONS, ignore_optics="beam-tilt,even-zernike")
    found = []
    refine(particles, start, options, observer=lambda _, outcome, history: found.append(outcome.state))
    ((_, change),) = found[-1].optics_changes
    assert change.magnification.any()
    assert not change.odd.any()
    assert not change.even.any()
