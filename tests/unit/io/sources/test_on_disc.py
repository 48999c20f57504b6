"""Images in memory become stacks beside the STAR file, and never in the place of others."""

import numpy as np
import pytest

from pycryo.io.batches import read_images
from pycryo.io.particle_set import Particles
from pycryo.io.particles import read_particles, write_particles


@pytest.fixture
def sets(rng):
    return [Particles.from_arrays(rng.standard_normal((n, 8, 8)), 2.0) for n in (3, 3, 5)]


@pytest.mark.parametrize("is_here", [True, False])
def test_sets_in_one_folder_keep_their_images(sets, tmp_path, monkeypatch, is_here):
    folder = tmp_path / "sets"
    folder.mkdir()
    monkeypatch.chdir(folder if is_here else tmp_path)
    for number, particles in enumerate(sets):
        write_particles(folder / f"{number}.star", particles)
    write_particles(folder / "some.star", sets[1][[2, 0]])
    assert sorted(path.name for path in folder.glob("*.mrcs")) == ["images.mrcs", "images_2.mrcs", "images_3.mrcs"]
    for number, particles in enumerate(sets):
        found = read_particles(folder / f"{number}.star")
        np.testing.assert_array_equal(read_images(found), read_images(particles))
    np.testing.assert_array_equal(read_images(read_particles(folder / "some.star")), read_images(sets[1])[[0, 2]])


def test_the_same_images_are_one_file(sets, tmp_path):
    """Those of a program that is run again."""
    write_particles(tmp_path / "a.star", sets[0])
    again = Particles.from_arrays(read_images(sets[0]), 2.0)
    write_particles(tmp_path / "a.star", again)
    assert [path.name for path in tmp_path.glob("*.mrcs")] == ["images.mrcs"]


def test_a_file_that_is_no_stack_stays(sets, tmp_path):
    (tmp_path / "images.mrcs").write_bytes(b"mine")
    write_particles(tmp_path / "a.star", sets[0])
    assert (tmp_path / "images.mrcs").read_bytes() == b"mine"
    np.testing.assert_array_equal(read_images(read_particles(tmp_path / "a.star")), read_images(sets[0]))
