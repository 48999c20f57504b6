"""Optics groups of particles: what is resolved, taken from the headers, accepted and written back."""

import logging

import numpy as np
import pytest
from particle_files import OPTICS, loop, particle, star_30, star_31

from pycryo.errors import InputError
from pycryo.io.aberrations import parse_kinds
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


# Columns of an optics table with values that are written in many ways.
ABERRATIONS = {
    "rlnBeamTiltX": "0.1250",
    "rlnBeamTiltY": "-2.50e-1",
    "rlnOddZernike": "[0.5,-0.250,0,0,0,1]",
    "rlnEvenZernike": "[1,0,0,0,0,0,-0.75]",
    "rlnMagMat00": "1.010",
    "rlnMagMat01": "2.0e-03",
    "rlnMagMat10": "-0.003",
    "rlnMagMat11": "0.9900",
    "rlnCtfDataAreCtfPremultiplied": "1",
    "rlnCtfDataArePhaseFlipped": "0",
}
KIND_OF = {
    "beam-tilt": ("rlnBeamTiltX", "rlnBeamTiltY"),
    "odd-zernike": ("rlnOddZernike",),
    "even-zernike": ("rlnEvenZernike",),
    "magnification": ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11"),
    "premultiplied": ("rlnCtfDataAreCtfPremultiplied",),
    "phase-flipped": ("rlnCtfDataArePhaseFlipped",),
}
FIELDS = ("beam_tilt", "odd_zernike", "even_zernike", "magnification", "is_premultiplied", "is_phase_flipped")


def test_aberrations_are_read(tmp_path):
    optics = read_particles(star_31(tmp_path, optics=ABERRATIONS)).optics
    np.testing.assert_array_equal(optics.beam_tilt, [[0.125, -0.25]])
    assert optics.odd_zernike == ((0.5, -0.25, 0, 0, 0, 1),)
    assert optics.even_zernike == ((1, 0, 0, 0, 0, 0, -0.75),)
    np.testing.assert_array_equal(optics.magnification, [[[1.01, 0.002], [-0.003, 0.99]]])
    assert (optics.is_premultiplied.tolist(), optics.is_phase_flipped.tolist()) == ([True], [False])
    assert optics.has_odd.all()
    assert optics.has_even.all()
    assert optics.is_distorted.all()


def test_without_columns_nothing_is_to_be_done(tmp_path):
    optics = read_particles(star_31(tmp_path)).optics
    for name in ("beam_tilt", "has_odd", "has_even", "is_distorted", "is_premultiplied", "is_phase_flipped"):
        assert not getattr(optics, name).any()
    assert (optics.odd_zernike, optics.even_zernike) == (((),), ((),))


@pytest.mark.parametrize("ignored", [(), tuple(KIND_OF)])
def test_columns_of_the_optics_table_are_written_to_the_letter(tmp_path, ignored):
    path = star_31(tmp_path, optics=ABERRATIONS)
    particles = read_particles(path, ignore_optics=ignored)
    write_particles(tmp_path / "o.star", particles, {"rlnAngleRot": np.zeros(3)})
    assert read_star(tmp_path / "o.star")["optics"].equals(read_star(path)["optics"])
    again = read_particles(tmp_path / "o.star").optics
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(again, name), getattr(read_particles(path).optics, name))


@pytest.mark.parametrize("kind", KIND_OF)
def test_what_is_ignored_says_nothing_and_the_rest_stays(tmp_path, caplog, kind):
    path = star_31(tmp_path, optics=ABERRATIONS | {"rlnCtfDataArePhaseFlipped": "1"})
    without = dict.fromkeys(KIND_OF[kind], "")
    (tmp_path / "other").mkdir()
    other = star_31(tmp_path / "other", optics=ABERRATIONS | {"rlnCtfDataArePhaseFlipped": "1"} | without)
    with caplog.at_level(logging.WARNING):
        found = read_particles(path, ignore_optics=[kind]).optics
    assert f"{path}: {kind} is left out, as --ignore-optics asks: {', '.join(KIND_OF[kind])}" in caplog.text
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name), getattr(read_particles(other).optics, name))


def test_columns_that_say_nothing_are_ignored_in_silence(tmp_path, caplog):
    path = star_31(tmp_path, optics={"rlnBeamTiltX": "0.0", "rlnOddZernike": "[0,0]", "rlnMagMat00": "1"})
    with caplog.at_level(logging.WARNING):
        read_particles(path, ignore_optics=list(KIND_OF))
    assert "left out" not in caplog.text


def test_unknown_kinds_are_refused(tmp_path):
    assert parse_kinds(" beam-tilt, ,magnification ") == ("beam-tilt", "magnification")
    assert parse_kinds(None) == ()
    for wrong in (lambda: parse_kinds("tilt"), lambda: read_particles(star_31(tmp_path), ignore_optics=["tilt"])):
        with pytest.raises(InputError, match="--ignore-optics does not know tilt; it takes beam-tilt, odd-zernike"):
            wrong()


def two_tilts(folder, name, texts, labels=("rlnBeamTiltX", "rlnBeamTiltY")):
    """A RELION 3.0 file of four particles whose rows have columns of the optics, alternating."""
    path = star_30(folder, n=4, columns=dict.fromkeys(labels, "@"))
    lines = path.read_text().splitlines()
    at = [i for i, line in enumerate(lines) if "@a.mrcs" in line]
    for place, i in enumerate(at):
        words = lines[i].split(" ")
        for text in texts[place % 2]:
            words[words.index("@")] = text
        lines[i] = " ".join(words)
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def test_beam_tilts_of_particles_make_groups(tmp_path):
    path = two_tilts(tmp_path, "a.star", [("0.1250", "0"), ("-2e-1", "0.30")])
    particles = read_particles(path)
    group = particles.optics_group
    assert len(particles.optics) == 2
    np.testing.assert_array_equal(particles.optics.beam_tilt[group], [[0.125, 0], [-0.2, 0.3]] * 2)
    write_particles(tmp_path / "o.star", particles, {})
    written = read_star(tmp_path / "o.star")
    assert not {"rlnBeamTiltX", "rlnBeamTiltY"} & set(written["particles"])
    order = written["particles"]["rlnOpticsGroup"].astype(int).to_numpy()[:2] - 1
    assert written["optics"]["rlnBeamTiltX"].to_numpy()[order].tolist() == ["0.1250", "-2e-1"]
    assert written["optics"]["rlnBeamTiltY"].to_numpy()[order].tolist() == ["0", "0.30"]
    again = read_particles(tmp_path / "o.star")
    np.testing.assert_array_equal(again.optics.beam_tilt[again.optics_group], [[0.125, 0], [-0.2, 0.3]] * 2)


def test_lists_of_particles_make_groups(tmp_path):
    path = two_tilts(
        tmp_path, "a.star", [("[0,0,1.5]", "[1]"), ("[0,0,2.5]", "[1]")], ["rlnOddZernike", "rlnEvenZernike"]
    )
    particles = read_particles(path)
    found = [particles.optics.odd_zernike[g] for g in particles.optics_group]
    assert found == [(0, 0, 1.5), (0, 0, 2.5)] * 2
    assert particles.optics.even_zernike == ((1,), (1,))


@pytest.mark.parametrize("texts", [[("0.0", "0.0"), ("0", "0")], [("0.1250", "0"), ("-2e-1", "0.30")]])
def test_ignored_columns_of_particles_make_no_groups_and_stay(tmp_path, texts):
    """Those that say nothing as well."""
    path = two_tilts(tmp_path, "a.star", texts)
    particles = read_particles(path, ignore_optics=["beam-tilt"])
    assert len(particles.optics) == 1
    assert not particles.optics.beam_tilt.any()
    write_particles(tmp_path / "o.star", particles, {})
    written = read_star(tmp_path / "o.star")
    assert "rlnBeamTiltX" not in written["optics"]
    assert (
        list(zip(written["particles"]["rlnBeamTiltX"], written["particles"]["rlnBeamTiltY"], strict=True)) == texts * 2
    )


def test_particles_of_an_optics_group_split_it(tmp_path):
    """RELION 3.1 with a tilt in the particle table."""
    rows = {0: {"rlnBeamTiltX": "0.5"}, "all": {"rlnBeamTiltX": "0.25"}}
    particles = read_particles(star_31(tmp_path, rows=rows, optics={"rlnOddZernike": "[0,0,1]"}))
    np.testing.assert_array_equal(particles.optics.beam_tilt[particles.optics_group, 0], [0.5, 0.25, 0.25])
    assert particles.optics.odd_zernike == ((0, 0, 1),) * 2
    write_particles(tmp_path / "o.star", particles, {})
    again = read_particles(tmp_path / "o.star")
    np.testing.assert_array_equal(again.optics.beam_tilt[again.optics_group, 0], [0.5, 0.25, 0.25])
    assert len(again.optics) == 2


def test_geometry_of_groups(tmp_path):
    """Images share slices where box, pixel size and magnification agree; multiplied ones are kept by themselves."""
    changes = [
        {},
        {"rlnBeamTiltX": "1"},
        {"rlnMagMat01": "0.01"},
        {"rlnCtfDataAreCtfPremultiplied": "1"},
        {"rlnImagePixelSize": "1.6"},
        {"rlnMagMat01": "0.01", "rlnEvenZernike": "[0,1]"},
    ]
    usual = {
        "rlnBeamTiltX": "0", "rlnMagMat01": "0", "rlnCtfDataAreCtfPremultiplied": "0", "rlnEvenZernike": "[0,0]",
    }  # fmt: skip
    groups = [
        {**OPTICS, **usual, **change, "rlnOpticsGroup": str(i + 1), "rlnOpticsGroupName": f"g{i}"}
        for i, change in enumerate(changes)
    ]
    path = star_31(tmp_path)
    path.write_text(
        loop("optics", groups)
        + loop("particles", [particle(1, {"rlnOpticsGroup": str(i + 1)}) for i in range(len(changes))])
    )
    a, b, c, d, e, f = read_particles(path).optics.geometry
    assert a == b
    assert c == f
    assert len({a, c, d, e}) == 4


@pytest.mark.parametrize("label", ["rlnVoltage", "rlnSphericalAberration"])
def test_beam_tilt_needs_voltage_and_spherical_aberration(tmp_path, label):
    path = star_31(tmp_path, optics={label: "", "rlnBeamTiltX": "0.1"})
    with pytest.raises(InputError, match=r"in\.star has a beam tilt, for which .* --ignore-optics beam-tilt"):
        read_particles(path)
    assert len(read_particles(path, ignore_optics=["beam-tilt"])) == 3
