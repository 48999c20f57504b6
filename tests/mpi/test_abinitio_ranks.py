"""The search for an initial map gives the same map and poses on any number of ranks."""

import tempfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from scene import lump, scene

from pycryo.maps.slab_map import gather
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.world import world
from pycryo.refinement.start import contest
from pycryo.refinement.start.abinitio import abinitio
from pycryo.refinement.start.abinitio_options import AbinitioOptions

# How the ranks hold the sums, by their number; 40 kB hold the images of a search one by one.
MODELS = {2: {"model": "slab"}, 3: {"model": "sharded", "memory": 40e3 / 2**30}, 4: {"model": "replicated"}}


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    monkeypatch.setattr(contest, "_LEGS", (2, 1))
    monkeypatch.setattr(contest, "_SHAPING", 1)
    monkeypatch.setattr(contest, "_FINAL", 1)


@pytest.mark.parallel(list(MODELS))
def test_ranks_do_not_change_a_bit():
    """Of 23 images in two geometries: batches of which some ranks hold next to nothing; 20 of them are used."""
    comm = world()
    assert comm.size > 1
    with tempfile.TemporaryDirectory() as folder:
        particles, _, _ = scene(Path(folder), lump(), 23, snr=0.8, geometries=((20, 5.0), (24, 4.5)))
        options = AbinitioOptions(tries=2, max_images=20, first_batch=8, last_batch=16, threads=1, last_resolution=20.0)
        together = abinitio(particles, replace(options, **MODELS[comm.size]), comm=comm)
        alone = abinitio(particles, options, comm=SerialComm()) if comm.rank == 0 else None
    whole = gather(together.planes)
    if alone is not None:
        np.testing.assert_array_equal(together.map.data, alone.map.data)
        np.testing.assert_array_equal(whole.data, alone.map.data)
        for each in fields(alone.poses):
            np.testing.assert_array_equal(getattr(together.poses, each.name), getattr(alone.poses, each.name))
        assert len(alone.poses.rows) == 20
    else:
        assert (together.map, together.poses) == (None, None)
    told = (together.legs, together.resolution, together.diameter)
    assert comm.all_gather(told) == [told] * comm.size
    if alone is not None:
        assert told == (alone.legs, alone.resolution, alone.diameter)
