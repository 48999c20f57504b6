"""A result follows from the images: not from the order of their rows, their folder, or the pieces they are read in."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import starfile
from moving import hurry
from scene import lump, scene

from pycryo import AbinitioOptions, RefineOptions, abinitio, reconstruct, refine
from pycryo.errors import InputError
from pycryo.io.particles import read_particles
from pycryo.io.star import read_star
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.data import partition
from pycryo.refinement.files.outputs import Writer

# 40 kB hold the images of a search one by one.
LITTLE_MEMORY = 40e3 / 2**30
OPTIONS = RefineOptions(ini_high=30.0, threads=1, max_iter=3)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Folder and tables of 26 rows of 24 images in two stacks, without half-sets; the true map at 30 Å."""
    folder = tmp_path_factory.mktemp("rows")
    *_, start = scene(folder, lump(), 24, snr=0.8, geometries=((20, 5.0), (24, 4.5)))
    found = starfile.read(folder / "particles.star")
    rows = found["particles"].drop(columns="rlnRandomSubset")
    rows = rows.assign(tag=np.arange(24)).iloc[[*range(24), 3, 20]]
    rows.iloc[24:, rows.columns.get_loc("rlnAnglePsi")] += 40.0
    return folder, {**found, "particles": rows}, start


@pytest.fixture(scope="module")
def plain(tables):
    """Particles in the order of the stacks, and what is made of them."""
    folder, found, start = tables
    starfile.write(found, folder / "plain.star", overwrite=True)
    particles = read_particles(folder / "plain.star")
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        return particles, refine(particles, start, OPTIONS)


@pytest.fixture(scope="module")
def moved(tables, tmp_path_factory):
    """The same rows in another order, with the stacks in another folder, under absolute names."""
    folder, found, _ = tables
    other = tmp_path_factory.mktemp("other")
    for path in folder.glob("*.mrcs"):
        shutil.copy(path, other / path.name)
    rows = found["particles"].iloc[np.random.default_rng(2).permutation(26)]
    rows = rows.assign(rlnImageName=rows["rlnImageName"].str.replace("@", f"@{other}/"))
    starfile.write({**found, "particles": rows}, other / "moved.star")
    return read_particles(other / "moved.star")


def tags(particles):
    """Which image of the set each particle is."""
    return particles.tables["particles"].values(["tag"])["tag"].astype(int)[particles.rows]


def assert_same(one, other):
    np.testing.assert_array_equal(one.map.data, other.map.data)
    for half, same in zip(one.half_maps, other.half_maps, strict=True):
        np.testing.assert_array_equal(half.data, same.data)


def test_refinement_does_not_depend_on_rows_and_folder(plain, moved, tables, monkeypatch, tmp_path):
    particles, before = plain
    hurry(monkeypatch)
    monkeypatch.chdir(moved.path.parent)  # where names begin
    writer = Writer(tmp_path, moved, replace(OPTIONS, keep_iterations="none"), SerialComm())
    after = refine(moved, tables[2], OPTIONS, observer=writer)
    assert_same(before, after)
    assert tags(particles).tolist() == tags(moved).tolist()
    for name in ("quaternion", "shift", "log_evidence", "figure_of_merit"):
        np.testing.assert_array_equal(getattr(before.poses, name), getattr(after.poses, name))
    # The file has its rows in the order of the input.
    given = read_star(moved.path)["particles"]
    found = read_star(tmp_path / "run_data.star")["particles"]
    assert found["rlnImageName"].tolist() == given["rlnImageName"].tolist()
    shown = found["rlnOriginXAngst"].to_numpy(float)[moved.rows]
    np.testing.assert_allclose(shown, -after.poses.shift[:, 0], atol=1e-6)
    # Both rows of an image are in one half.
    assert (found.groupby("rlnImageName")["rlnRandomSubset"].nunique() == 1).all()


def test_another_order_goes_on_from_a_checkpoint(plain, moved, tables, monkeypatch, tmp_path):
    particles, before = plain
    hurry(monkeypatch)
    refine(particles, tables[2], OPTIONS, checkpoint=tmp_path)
    after = refine(moved, tables[2], OPTIONS, checkpoint=tmp_path, resume=True)
    assert_same(before, after)
    np.testing.assert_array_equal(before.poses.quaternion, after.poses.quaternion)
    with pytest.raises(InputError, match=r"of another run, these differ: number of particles .*, image names"):
        refine(moved.subset(np.arange(25)), tables[2], OPTIONS, checkpoint=tmp_path, resume=True)


def test_refinement_does_not_depend_on_batches_and_memory(plain, tables, monkeypatch):
    particles, before = plain
    hurry(monkeypatch)
    # Batches of 16 images, of 24 before.
    monkeypatch.setattr(partition, "_BATCH_PIXELS", 1)
    assert_same(before, refine(particles, tables[2], replace(OPTIONS, memory=LITTLE_MEMORY)))


def test_reconstruction_does_not_depend_on_rows_and_folder(plain, moved):
    assert_same(reconstruct(plain[0], half_maps=True), reconstruct(moved, half_maps=True, memory=LITTLE_MEMORY))


def test_initial_map_does_not_depend_on_rows_and_folder(plain, moved):
    options = AbinitioOptions(tries=1, threads=1, diameter=70.0, first_batch=8)
    before, after = (abinitio(particles, options) for particles in (plain[0], moved))
    np.testing.assert_array_equal(before.map.data, after.map.data)
    np.testing.assert_array_equal(before.poses.quaternion, after.poses.quaternion)
    # Each image once.
    assert len(before.used) == len(np.unique(tags(plain[0])[before.used])) == 24
