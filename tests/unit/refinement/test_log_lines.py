"""What the log says of an iteration: one line on the screen, figures in run.log, nothing infinite."""

import logging
import math
from types import SimpleNamespace

from pycryo.refinement import loop

RECORD = {
    "number": 1,
    "stage": "global",
    "resolution": 20.9584,
    "spread_rotation": 7.87,
    "spread_shift": 3.5,
    "pose_change": math.inf,
    "class_share": [1.0],
    "class_resolution": [20.9584],
    "class_change": 0.0,
    "r_high": 8.0,
    "n_junk": 3,
    "score_threshold": 0.25,
    "decision": "global search goes on: resolution at shell 15.6, spread 7.87 deg",
    "seconds": {"total": 0.84},
    "load": SimpleNamespace(
        particles=[20, 10], busy=[1.0, 1.5], idle=[0, 0], exposed=[0, 0], way="", ring_size=1, hidden=None
    ),
}


def record(**changes):
    return SimpleNamespace(**(RECORD | changes))


def setup(n_rank):
    return SimpleNamespace(field_of_view=256.0, partition=SimpleNamespace(comm=SimpleNamespace(size=n_rank)))


def test_a_line_for_each_iteration():
    assert loop.in_a_line(record()) == (
        "Auto-refine: Resolution= 20.958 Å in iteration 1 (global search), orientations known to 7.9°, shifts to "
        "3.5 Å, 0.8 s; global search goes on"
    )
    final = loop.in_a_line(record(stage="final", class_share=[0.25, 0.75], decision="resolution at shell 3"))
    assert "(final iteration)" in final
    assert "classes with 25 : 75 % of them" in final
    assert final.endswith(" 0.8 s")


def test_details_of_an_iteration():
    figures, junk, decision = loop._details(setup(1), record())
    assert figures == "iteration 1 (global): r_high 32.0 Å, resolution 20.96 Å, spread 7.87° 3.50 Å"
    assert junk == "images: 3 of 30 (10.0 %) look like junk, suggested threshold of the score 0.250"
    assert decision == f"decision: {RECORD['decision']}"
    later = list(loop._details(setup(2), record(pose_change=1.25, class_share=[0.5, 0.5], class_resolution=[9.0, 8.0])))
    assert later[0].endswith(", poses moved 1.25°")
    assert later[2].startswith("classes: 1 50.0 % 9.00 Å")
    assert later[-1].startswith("load: 2 ranks")
    # The count of the last one is told on the screen.
    assert not any(line.startswith("images") for line in loop._details(setup(1), record(stage="final")))


def test_levels_of_the_plan():
    lines = [
        "warning: little memory",
        "memory per rank      about 3 GiB",
        "files                about 1 MiB",
        "  search  9",
    ]
    levels = [logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG]
    assert [loop._level(line) for line in lines] == levels
