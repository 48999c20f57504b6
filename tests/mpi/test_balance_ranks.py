"""Images that move between MPI ranks take their posteriors along and change no bit of the result."""

import tempfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from moving import force_moves, hurry, refine_moving
from scene import lump, scene

from pycryo import RefineOptions, refine
from pycryo.maps.slab_map import gather
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.world import world


@pytest.mark.parallel(3)
@pytest.mark.parametrize("preread", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_moves_do_not_change_a_bit(monkeypatch, preread):
    comm = world()
    force_moves(monkeypatch)
    hurry(monkeypatch)
    with tempfile.TemporaryDirectory() as folder:
        particles, _, start = scene(Path(folder), lump(), 33, snr=0.8, geometries=((20, 5.0), (24, 4.5)))
        options = RefineOptions(ini_high=30.0, threads=1, preread=preread, stages="global,local,defocus")
        outcome, history, held = refine_moving(particles, start, options, comm)
        alone = refine(particles, start, options, comm=SerialComm()) if comm.rank == 0 else None
    assert {record.stage for record in history} == {"global", "local", "defocus", "final"}
    for rows in zip(*comm.all_gather(held), strict=True):
        np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(33))
    assert len({tuple(rows.tolist()) for rows in held}) > 1
    found = gather(outcome.classes[0].map)
    if comm.rank == 0:
        np.testing.assert_array_equal(found.data, alone.map.data)
        for field in fields(alone.poses):
            np.testing.assert_array_equal(getattr(outcome.poses, field.name), getattr(alone.poses, field.name))
        assert [each.decision for each in history] == [each.decision for each in alone.history]
