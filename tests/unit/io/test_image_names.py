"""Image names of particles: where the stacks are looked for, and which image is meant."""

from pathlib import Path

import numpy as np
import pytest
from particle_files import star_31

from pycryo.errors import InputError
from pycryo.io import image_names
from pycryo.io.batches import read_images
from pycryo.io.image_names import names_from
from pycryo.io.mrc_stacks import write_stack
from pycryo.io.particles import read_particles, write_particles
from pycryo.io.star import read_star


def test_places_of_stacks(tmp_path, monkeypatch):
    (tmp_path / "star").mkdir()
    (tmp_path / "work" / "deep").mkdir(parents=True)
    path = star_31(tmp_path / "star", rows={"all": {"rlnImageName": "{i}@deep/a.mrcs"}})
    (tmp_path / "star" / "a.mrcs").rename(tmp_path / "work" / "deep" / "a.mrcs")
    words = r"row 1: there is no file 'deep/a\.mrcs' in .*star.*; name its folder by --particles-dir"
    with pytest.raises(InputError, match=words):
        read_particles(path)
    assert read_particles(path, particles_dir=tmp_path / "work").stacks[0].name == "a.mrcs"
    assert read_particles(path, particles_dir=tmp_path / "work" / "deep").stacks[0].name == "a.mrcs"
    monkeypatch.chdir(tmp_path / "work")
    particles = read_particles(path)
    monkeypatch.chdir(tmp_path)
    write_particles(tmp_path / "o.star", particles, {})
    assert len(read_particles(tmp_path / "o.star")) == 3


def two_jobs(folder, names=("jobA/a.mrcs", "jobB/a.mrcs")):
    """A STAR file in a folder of its own whose images are in two stacks of one name; one is of ones, one of twos."""
    for number, job in enumerate(("jobA", "jobB"), 1):
        (folder / "data" / job).mkdir(parents=True)
        write_stack(folder / "data" / job / "a.mrcs", [np.full((2, 8, 8), float(number))], (8, 8), 1.5)
    (folder / "star").mkdir()
    path = star_31(folder / "star", n=2, rows={i: {"rlnImageName": f"1@{name}"} for i, name in enumerate(names)})
    (folder / "star" / "a.mrcs").unlink()
    return path


def test_two_names_never_become_one_file(tmp_path):
    """Looked up by the last part of their names both would be the stack of jobA."""
    path = two_jobs(tmp_path)
    for folder in ("jobA", "jobB"):
        words = rf"stacks 'jobA/a.mrcs' and 'jobB/a.mrcs' would both be read from .*{folder}/a\.mrcs"
        with pytest.raises(InputError, match=words):
            read_particles(path, particles_dir=tmp_path / "data" / folder)
    particles = read_particles(path, particles_dir=tmp_path / "data")
    np.testing.assert_array_equal(read_images(particles, [0, 1])[:, 0, 0], [1, 2])


def test_another_stack_that_the_whole_name_leads_to(tmp_path):
    """Only jobB is named, the folder is jobA's: its stack has the same last part."""
    path = two_jobs(tmp_path, ("jobB/a.mrcs", "jobB/a.mrcs"))
    words = r"'jobB/a.mrcs' would be read from .*jobA/a\.mrcs, though there is .*data/jobB/a\.mrcs; name by"
    with pytest.raises(InputError, match=words):
        read_particles(path, particles_dir=tmp_path / "data" / "jobA")
    for folder in ("data", "data/jobB"):
        particles = read_particles(path, particles_dir=tmp_path / folder)
        np.testing.assert_array_equal(read_images(particles, [0, 1])[:, 0, 0], [2, 2])


def test_one_of_two_names_found_as_it_is(tmp_path):
    path = two_jobs(tmp_path, ("a.mrcs", "jobB/a.mrcs"))
    with pytest.raises(InputError, match="would both be read from"):
        read_particles(path, particles_dir=tmp_path / "data" / "jobA")


def test_two_ways_to_write_one_name_are_no_mistake(tmp_path):
    path = two_jobs(tmp_path, ("jobA/a.mrcs", "jobA/../jobA/./a.mrcs"))
    for folder in ("data", "data/jobA"):
        particles = read_particles(path, particles_dir=tmp_path / folder)
        np.testing.assert_array_equal(read_images(particles, [0, 1])[:, 0, 0], [1, 1])


def test_all_stacks_that_are_missing_are_named(tmp_path):
    rows = {i: {"rlnImageName": f"1@{i}.mrcs"} for i in range(9)}
    with pytest.raises(InputError) as caught:
        read_particles(star_31(tmp_path, n=9, rows=rows))
    lines = str(caught.value).splitlines()
    assert lines[0] == "6 errors in the input"
    assert ["there is no file" in line for line in lines[1:]] == [True] * 5 + [False]
    assert lines[-1].endswith("the same holds for 4 further stacks")


def test_rows_are_looked_for_only_where_they_are_told(tmp_path, monkeypatch):
    """Each look goes through all rows: with a file for each image the time would grow with the square of the images."""
    looks = []
    monkeypatch.setattr(image_names, "_first_row", lambda names, number: looks.append(number) or number + 1)
    rows = {i: {"rlnImageName": f"1@{i}.mrcs"} for i in range(50)}
    with pytest.raises(InputError, match="45 further stacks"):
        read_particles(star_31(tmp_path, n=50, rows=rows))
    assert looks == [0, 1, 2, 3, 4]


def test_output_is_read_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    particles = read_particles(star_31(tmp_path / "in"))
    write_particles(tmp_path / "out" / "o.star", particles, {})
    again = read_particles(tmp_path / "out" / "o.star")
    assert again.stacks == (tmp_path / "in" / "a.mrcs",)
    (tmp_path / "third").mkdir()
    write_particles(tmp_path / "third" / "p.star", again, {})  # the note is handed on
    assert read_particles(tmp_path / "third" / "p.star").stacks == again.stacks
    monkeypatch.chdir(tmp_path / "in")
    assert len(read_particles("in.star")) == 3


def test_absolute_and_bare_names(tmp_path):
    write_stack(tmp_path / "one.mrc", [np.eye(8)], (8, 8), 1.5)
    rows = {
        0: {"rlnImageName": f"2@{tmp_path}/a.mrcs"},
        1: {"rlnImageName": "one.mrc"},
        2: {"rlnImageName": "2@a.mrcs"},
    }
    particles = read_particles(star_31(tmp_path, rows=rows))
    np.testing.assert_array_equal(particles.image_index, [1, 1, 0])
    assert len(particles.stacks) == 3


def test_bad_stacks_are_named_with_the_row(tmp_path):
    path = star_31(tmp_path)
    write_stack(tmp_path / "a.mrcs", [np.zeros((5, 8, 6))], (8, 6), 1.5)
    with pytest.raises(InputError, match=r"row 1: .*a\.mrcs has images of 6 × 8 px; extract them again as squares"):
        read_particles(path)
    (tmp_path / "a.mrcs").write_bytes(b"\x1f\x8b\x08" + bytes(2000))
    with pytest.raises(InputError, match=r"row 1: .*a\.mrcs is packed with gzip; unpack it first"):
        read_particles(path)


def test_names_from_a_folder(tmp_path):
    """They lead to the same file from there; those that do already, and absolute ones, stay."""
    project, outside = tmp_path / "project", tmp_path / "outside"
    for folder in (project / "Extract", project / "x", outside):
        folder.mkdir(parents=True)
        (folder / "s.mrcs").touch()
    (project / "link.mrcs").symlink_to(outside / "s.mrcs")
    cases = [
        ("000001@s.mrcs", project / "Extract" / "s.mrcs", "000001@Extract/s.mrcs"),
        ("000002@s.mrcs", outside / "s.mrcs", f"000002@{outside}/s.mrcs"),
        ("000003@s.mrcs", project / "Extract" / ".." / "x" / "s.mrcs", "000003@x/s.mrcs"),
        ("4@Extract/s.mrcs", project / "Extract" / "s.mrcs", "4@Extract/s.mrcs"),
        ("000005@link.mrcs", outside / "s.mrcs", "000005@link.mrcs"),
        (f"6@{outside}/s.mrcs", outside / "s.mrcs", f"6@{outside}/s.mrcs"),
        ("s.mrcs", project / "x" / "s.mrcs", "x/s.mrcs"),
        ("000007@gone.mrcs", project / "x" / "gone.mrcs", "000007@x/gone.mrcs"),
    ]
    found = names_from(project, [name for name, _, _ in cases], [stack for _, stack, _ in cases])
    assert found.tolist() == [expected for _, _, expected in cases]
    # A relative path of a working folder that was left.
    assert names_from(outside, ["1@x/s.mrcs"], [Path("x/s.mrcs")], [project]).tolist() == [f"1@{project}/x/s.mrcs"]


def test_written_names_begin_in_the_working_folder(tmp_path, monkeypatch):
    """There RELION looks for them; pycryo finds them from anywhere."""
    (tmp_path / "project" / "Import").mkdir(parents=True)
    path = star_31(tmp_path / "project" / "Import")
    monkeypatch.chdir(tmp_path / "project")
    particles = read_particles(f"Import/{path.name}")
    write_particles("o.star", particles, {})
    names = read_star("o.star")["particles"]["rlnImageName"].tolist()
    assert names == [f"{number:06d}@Import/a.mrcs" for number in (1, 2, 3)]
    write_particles("again.star", read_particles("o.star"), {})
    assert read_star("again.star")["particles"]["rlnImageName"].tolist() == names
    monkeypatch.chdir("/")
    assert read_particles(tmp_path / "project" / "o.star").n == 3
    # What somebody names is left alone.
    write_particles(tmp_path / "p.star", read_particles(path), {"rlnImageName": np.array(["1@x", "2@x", "3@x"])})
    assert read_star(tmp_path / "p.star")["particles"]["rlnImageName"].tolist() == ["1@x", "2@x", "3@x"]
