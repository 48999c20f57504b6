"""An iteration that one number of ranks did not finish goes on with another, and ends the same."""

from dataclasses import fields, replace

import h5py
import numpy as np
import pytest
from phantom import blobs, write_set

from pycryo import RefineOptions, refine
from pycryo.errors import RunError
from pycryo.io.particles import read_particles
from pycryo.maps.density import Map
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.world import world
from pycryo.refinement import step
from pycryo.refinement.data import partition
from pycryo.refinement.expectation import half_pass, rounds
from pycryo.refinement.files.saved import unfinished
from pycryo.refinement.files.saved.checkpoint import load, save
from pycryo.refinement.files.saved.unfinished import Unfinished
from pycryo.refinement.start.first_setup import set_up
from pycryo.refinement.start.first_state import first_state
from pycryo.refinement.step import iterate

N_IMAGE = 50


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Batches of 16 images, scans of 10, a file after each batch."""
    monkeypatch.setattr(partition, "_BATCH_PIXELS", 1)
    monkeypatch.setattr(rounds, "MOST_SEARCHED", 10)
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", 0.0)


def inputs(comm, folder):
    particles = read_particles(on_root(comm, lambda: write_set(folder, blobs(), N_IMAGE, noise=2.0)))
    return particles, Map(blobs().volume(32, 3.0).astype(np.float32), 3.0)


def rows_in(path):
    with h5py.File(path) as file:
        return file["rows"][()].tolist()


def drop_some(comm, path):
    """Remove every other file of posteriors, as if they had not been written yet; the rows in the others."""

    def drop():
        files = sorted(path.iterdir())
        for each in files[1::2]:
            each.unlink()
        return [row for each in files[::2] for row in rows_in(each)]

    comm.all_gather(None)
    kept = on_root(comm, drop)
    assert 0 < len(kept) < N_IMAGE
    return kept


def count_searched(comm, monkeypatch):
    """A function that tells the rows whose posterior was sampled in an iteration, on all ranks."""
    rows, sample = {}, half_pass.sample_posterior

    def sampled(comparison, candidates, widths, draws, *rest, **more):
        rows.setdefault(draws.stream, []).extend(draws.ids.tolist())
        return sample(comparison, candidates, widths, draws, *rest, **more)

    monkeypatch.setattr(half_pass, "sample_posterior", sampled)
    return lambda number: [row for each in comm.all_gather(rows.get(number, [])) for row in each]


@pytest.mark.parallel(3)
def test_refinement_goes_on_with_other_ranks(folder, monkeypatch):
    """Its second iteration, a global one, fails on all ranks when its images are done."""
    comm, alone = world(), SerialComm()
    particles, reference = inputs(comm, folder)
    options = RefineOptions(max_iter=3, threads=1)
    expected = on_root(comm, lambda: refine(particles, reference, options, comm=alone))

    def stopped(some_comm, checkpoint):
        run_images, kept = step.run_images, []

        def run(setup, plan, *rest):
            results = run_images(setup, plan, *rest)
            if plan.number == 2:
                kept.extend(drop_some(some_comm, rest[-1].path))
                raise RunError("stopped")
            return results

        with monkeypatch.context() as patch:
            patch.setattr(step, "run_images", run)
            with pytest.raises(RunError, match="stopped"):
                refine(particles, reference, options, comm=some_comm, checkpoint=checkpoint)
        return kept

    def continued(some_comm, checkpoint, kept):
        with monkeypatch.context() as patch:
            searched = count_searched(some_comm, patch)
            found = refine(particles, reference, options, comm=some_comm, checkpoint=checkpoint, resume=True)
            assert sorted(searched(2) + kept) == sorted(searched(3)) == list(range(N_IMAGE))
        if found.map is not None:
            np.testing.assert_array_equal(found.map.data, expected.map.data)
            np.testing.assert_array_equal(found.poses.quaternion, expected.poses.quaternion)
            scores = [[record.scores_scan for record in run.history] for run in (found, expected)]
            assert scores[0] == scores[1]
        assert not on_root(some_comm, lambda: list(checkpoint.glob("iteration*")))

    kept = stopped(comm, folder / "many")
    on_root(comm, lambda: continued(alone, folder / "many", kept))
    continued(comm, folder / "one", on_root(comm, lambda: stopped(alone, folder / "one")))


@pytest.mark.parallel(3)
def test_local_iteration_goes_on_with_other_ranks(folder, monkeypatch):
    """Of some of its images that are scanned, and of others."""
    comm, alone = world(), SerialComm()
    given = *inputs(comm, folder), None, RefineOptions(threads=1)

    def begun(some_comm):
        setup, starts = set_up(some_comm, *given)
        state = iterate(setup, first_state(setup, starts)).state
        return setup, replace(state, schedule=replace(state.schedule, stage="local", rescans="in turn"))

    def cut(some_comm, checkpoint):
        setup, state = begun(some_comm)
        keeper = Unfinished(checkpoint)
        keeper.begin(setup, state, save(setup, state, [], checkpoint))
        return iterate(setup, state, keeper).poses, drop_some(some_comm, keeper.path)

    def continued(some_comm, checkpoint, kept):
        setup, _ = set_up(some_comm, *given)
        state, _ = load(setup, checkpoint)
        keeper = Unfinished(checkpoint)
        keeper.resume(setup, state)
        with monkeypatch.context() as patch:
            searched = count_searched(some_comm, patch)
            poses = iterate(setup, state, keeper).poses
            assert sorted(searched(2) + kept) == list(range(N_IMAGE))
        return poses

    poses, kept = cut(comm, folder / "many")
    found = [poses, on_root(comm, lambda: continued(alone, folder / "many", kept))]
    poses, kept = on_root(comm, lambda: cut(alone, folder / "one"))
    found += [poses, continued(comm, folder / "one", kept)]
    if comm.rank == 0:
        for each in found[1:]:
            for field in fields(each):
                np.testing.assert_array_equal(getattr(each, field.name), getattr(found[0], field.name))
