"""What all images told is read back as it was, for the same images only."""

import dataclasses
import json
import os
import re
import shutil

import h5py
import numpy as np
import pytest

from pycryo import RefineOptions, refine
from pycryo.io.mrc import read_map
from pycryo.io.particles import read_particles
from pycryo.io.sources.scratch import on_scratch
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.data import image_statistics
from pycryo.refinement.files.saved.array_file import sign
from pycryo.refinement.files.saved.measured import Measured
from pycryo.refinement.start import first_setup
from pycryo.refinement.start.first_setup import set_up
from pycryo.version import RELEASE

OPTIONS = RefineOptions(max_iter=3)


@pytest.fixture(scope="module")
def images(tiny_set, tmp_path_factory):
    """The small set, with an image that is constant and one with a hot pixel."""
    folder = tmp_path_factory.mktemp("images")
    shutil.copytree(tiny_set, folder, dirs_exist_ok=True)
    stack = folder / "particles.mrcs"
    os.chmod(stack, 0o644)
    box = read_particles(folder / "particles.star").optics.box[0]
    with open(stack, "r+b") as file:
        values = np.memmap(file, np.float32, "r+", 1024, (20, box, box))
        values[3] = 1.5
        values[7, 5, 5] = 1e5
        values.flush()
    return folder


def begin(images, folder, resume, options=OPTIONS, comm=None):
    particles = read_particles(images / "particles.star")
    reference = read_map(images / "init40A.mrc")
    return set_up(comm or SerialComm(), particles, reference, None, options, Measured(folder, resume))[0]


def assert_same(found, expected):
    for each in dataclasses.fields(expected):
        one, other = getattr(found, each.name), getattr(expected, each.name)
        if dataclasses.is_dataclass(other):
            assert_same(one, other)
        elif isinstance(other, dict):
            assert one.keys() == other.keys()
            for name, value in other.items():
                np.testing.assert_array_equal(one[name], value)
        else:
            assert np.asarray(one).dtype == np.asarray(other).dtype
            np.testing.assert_array_equal(one, other)


@pytest.fixture
def counted(monkeypatch):
    """How often images were measured."""
    calls = []

    def count(*args, **kwargs):
        calls.append(1)
        return image_statistics.measure_images(*args, **kwargs)

    monkeypatch.setattr(first_setup, "measure_images", count)
    return calls


def test_a_run_that_goes_on_takes_what_was_measured(images, tmp_path, monkeypatch):
    first = begin(images, tmp_path, resume=False)
    assert first.statistics.left_out.counts
    assert first.statistics.n_mended["pixels"] == 1
    monkeypatch.setattr(first_setup, "measure_images", None)
    again = begin(images, tmp_path, resume=True)
    assert_same(again.statistics, first.statistics)
    np.testing.assert_array_equal(again.partition.half, first.partition.half)


def test_images_in_memory_are_read(images, tmp_path):
    options = dataclasses.replace(OPTIONS, preread=True)
    first = begin(images, tmp_path, False, options)
    again = begin(images, tmp_path, True, options)
    assert again.partition.cache.keys() == first.partition.cache.keys()
    for row, image in first.partition.cache.items():
        np.testing.assert_array_equal(again.partition.cache[row], image)


def test_a_new_run_measures_anew(images, tmp_path, counted):
    begin(images, tmp_path, False)
    begin(images, tmp_path, False)
    assert len(counted) == 2


def _touched(folder, path):
    os.utime(folder / "particles.mrcs", (1, 1))


def _cut(folder, path):
    path.write_bytes(path.read_bytes()[:-100])


def _gone(folder, path):
    path.unlink()


def _of_another_version(folder, path):
    _change_header(path, '"format": 1', '"format": 0')


def _change_header(path, old, new):
    with h5py.File(path, "r+") as file:
        text = file["header"][()].decode()
        assert old in text
        del file["header"]
        file["header"] = text.replace(old, new)
    with open(path, "r+b") as raw:
        sign(raw)


def _foreign_rows(folder, path):
    with h5py.File(path, "r+") as file:
        file["judged/twin"][0] = 10**9
    with open(path, "r+b") as raw:
        sign(raw)


@pytest.mark.parametrize("harm", [_touched, _cut, _gone, _of_another_version, _foreign_rows])
def test_other_images_or_a_damaged_file_are_measured_again(images, tmp_path, counted, harm):
    folder = tmp_path / "set"
    shutil.copytree(images, folder)
    first = begin(folder, tmp_path, False)
    harm(folder, tmp_path / "images.h5")
    again = begin(folder, tmp_path, True)
    assert len(counted) == 2
    assert_same(again.statistics, first.statistics)
    begin(folder, tmp_path, True)  # the file is a good one again
    assert len(counted) == 2


def test_the_release_is_compared(images, tmp_path):
    """Not the version, which each commit has its own of: another one goes on with what was measured."""
    begin(images, tmp_path, False)
    with h5py.File(tmp_path / "images.h5") as file:
        assert json.loads(file["header"][()])["pycryo"] == RELEASE
    assert not re.search(r"\+|dev", RELEASE)


def test_copies_on_scratch_are_the_same_images(images, tmp_path, counted):
    particles = read_particles(images / "particles.star")
    reference = read_map(images / "init40A.mrc")
    for resume in (False, True):
        with on_scratch(SerialComm(), particles, tmp_path / "fast") as copied:
            set_up(SerialComm(), copied, reference, None, OPTIONS, Measured(tmp_path, resume))
    begin(images, tmp_path, True)
    assert len(counted) == 1


def test_a_refinement_that_goes_on_ends_in_the_same_map(images, tmp_path, counted):
    particles = read_particles(images / "particles.star")
    reference = read_map(images / "init40A.mrc")

    class StopError(Exception):
        pass

    def stop(setup, outcome, history):
        raise StopError

    whole = refine(particles, reference, OPTIONS)
    with pytest.raises(StopError):
        refine(
            particles, reference, OPTIONS, checkpoint=tmp_path, observer=lambda *each: len(each[2]) > 1 and stop(*each)
        )
    found = refine(particles, reference, OPTIONS, checkpoint=tmp_path, resume=True)
    assert len(counted) == 2
    np.testing.assert_array_equal(found.map.data, whole.map.data)
