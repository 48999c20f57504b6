"""Optics groups of particles: what is resolved, taken from the headers, accepted and written back."""

import logging

import numpy as np
import pytest
from particle_files import OPTICS, loop, particle, star_30, star_31

from pycryo.errors import InputError
from pycryo.io.mrc_stacks import write_stack
from pycryo.io.particles import read_particles, write_particles
from pycryo.io.star import read_star


def test_optics_groups_are_distinct_combinations_in_30(tmp_path):
    path = star_30(tmp_path, n=4)
    text = path.read_text().splitlines()
    text[-2] = text[-2].replace(" 300 ", " 200 ")
    path.write_text("\n".join(text) + "\n")
    particles = read_particles(path)
    assert len(particles.optics) == 2
    np.testing.assert_array_equal(particles.optics.voltage[particles.optics_group], [300, 300, 300, 200])


def test_identity_corrections_are_accepted(tmp_path):
    optics = {
        "rlnBeamTiltX": "0.000000",
        "rlnOddZernike": "[0,0,0]",
        "rlnEvenZernike": "[0.0]",
        "rlnMagMat00": "1.000000",
        "rlnMagMat01": "-0.0",
        "rlnCtfDataAreCtfPremultiplied": "0",
    }
    assert len(read_particles(star_31(tmp_path, optics=optics))) == 3


def test_missing_size_and_pixel_size_come_from_the_header(tmp_path, caplog):
    path = star_31(tmp_path, optics={"rlnImagePixelSize": "", "rlnImageSize": ""})
    with caplog.at_level(logging.WARNING):
        particles = read_particles(path)
    assert caplog.text.count("it is taken from the MRC headers") == 2
    assert (particles.optics.pixel_size[0], particles.optics.box[0]) == (1.5, 8)
    write_particles(tmp_path / "o.star", particles, {})
    optics = read_star(tmp_path / "o.star")["optics"]
    assert optics["rlnImageSize"][0] == "8"
    assert optics["rlnOpticsGroupName"][0] == "first"
    write_stack(tmp_path / "a.mrcs", [np.zeros((5, 8, 8))], (8, 8), 0.0)
    with pytest.raises(InputError, match="row 1: the MRC header has no pixel size; put the pixel size in Å into"):
        read_particles(path)


def test_several_groups_stacks_and_boxes(tmp_path):
    path = star_31(tmp_path, n=2)
    write_stack(tmp_path / "b.mrcs", [np.ones((2, 6, 6))], (6, 6), 2.0)
    second = {**OPTICS, "rlnOpticsGroup": "7", "rlnOpticsGroupName": "b", "rlnImageSize": "6", "rlnVoltage": "200"}
    unused = {**OPTICS, "rlnOpticsGroup": "3", "rlnOpticsGroupName": "unused"}
    rows = [particle(1), particle(2, {"rlnImageName": "2@b.mrcs", "rlnOpticsGroup": "7"})]
    path.write_text(loop("particles", rows) + loop("optics", [second, unused, OPTICS]))
    particles = read_particles(path)
    assert particles.optics.name == ("b", "first")
    np.testing.assert_array_equal(particles.optics.box[particles.optics_group], [8, 6])
    np.testing.assert_array_equal(particles.optics.number, [7, 1])
    write_particles(tmp_path / "o.star", particles, {})
    again = read_star(tmp_path / "o.star")
    assert again["optics"]["rlnOpticsGroup"].tolist() == ["7", "3", "1"]
    assert again["particles"]["rlnOpticsGroup"].tolist() == ["1", "7"]


def test_without_optics_poses_can_be_read(tmp_path):
    path = star_31(tmp_path)
    rows = [{"rlnImageName": "1@a.mrcs", "rlnAngleRot": "1", "rlnAngleTilt": "2", "rlnAnglePsi": "3"}]
    path.write_text(loop("", rows))
    particles = read_particles(path)
    assert particles.has_poses
    assert not particles.has_ctf
    with pytest.raises(
        InputError, match=r"has no rlnDefocusU, .*rlnVoltage.*, which the CTF needs; add it, or run with"
    ):
        particles.require_ctf()
    write_particles(tmp_path / "o.star", particles, {})
    assert read_particles(tmp_path / "o.star").optics.box[0] == 8


def test_no_pixel_size_anywhere_without_microscope(tmp_path, caplog):
    (tmp_path / "a.star").write_text(loop("", [{"rlnImageName": "1@a.mrcs"}]))
    write_stack(tmp_path / "a.mrcs", [np.zeros((5, 8, 8))], (8, 8), 0.0)
    with caplog.at_level(logging.WARNING):
        assert read_particles(tmp_path / "a.star").pixel_size[0] == 1
    assert "have no pixel size; 1 Å is assumed: put it into rlnImagePixelSize" in caplog.text
