"""Units of other programs and values that no microscope has: refused or told, and nothing said about good files."""

import mrcfile
import numpy as np
import pytest
from particle_files import star_30, star_31

from pycryo.checks.particles import check_particles
from pycryo.findings import Findings
from pycryo.io.particles import examine_particles

POSE = {"rlnAngleRot": "120", "rlnAngleTilt": "60", "rlnAnglePsi": "-75"}


def found(path, *, uses_ctf=True, poses="", reading=False):
    """Errors and warnings, each as one text; `reading`: with those of reading the file."""
    read, looked = Findings(), Findings()
    particles = examine_particles(path, read)
    check_particles(particles, looked, uses_ctf=uses_ctf, poses=poses)
    kinds = (looked, read) if reading else (looked,)
    errors, warnings = (
        "\n".join(each.text for kind in kinds for each in getattr(kind, name)) for name in ("errors", "warnings")
    )
    return errors, warnings


def optics(folder, **values):
    return found(star_31(folder, optics=values))


def rows(folder, n=30, poses="", **values):
    return found(star_31(folder, n=n, stack=n, rows={"all": values}), poses=poses)


def test_nothing_is_said_about_good_files(tmp_path):
    assert rows(tmp_path, poses="add them", **POSE) == ("", "")
    (tmp_path / "old").mkdir()
    assert found(star_30(tmp_path / "old")) == ("", "")


@pytest.mark.parametrize(
    "u, v, words",
    [
        ("1.52", "1.48", r"seem to be in micrometres, Å are meant; multiply them by 10000"),
        ("1.5e-6", "1.5e-6", r"seem to be in metres, Å are meant; multiply them by 1e10"),
        ("1.5e-3", "1.5e-3", r"seem to be in millimetres, Å are meant; multiply them by 1e7"),
        ("1.5e6", "1.5e6", r"picometres, divide them by 100"),
        ("15000", "1.5", r"far from each other, in row 1 15000 and 1.5: .*correct their units or signs"),
        ("-15000", "14900", r"far from each other, in row 1 -15000 and 14900"),
        ("-10000", "-9000", r"negative: .*count underfocus as positive; change the signs"),
        ("0", "0", r"the defocus of all particles is 0"),
    ],
)
def test_defocus_of_all_particles(tmp_path, u, v, words):
    errors, warnings = rows(tmp_path, rlnDefocusU=u, rlnDefocusV=v)
    assert len(errors.splitlines()) == 1
    assert all(part in errors for part in words.split(".*"))
    assert not warnings


def test_no_word_of_the_defocus_without_ctf(tmp_path):
    path = star_31(tmp_path, rows={"all": {"rlnDefocusU": "1.5", "rlnDefocusV": "1.5"}}, optics={"rlnVoltage": "3e5"})
    assert found(path, uses_ctf=False) == ("", "")


@pytest.mark.parametrize(
    "u, words", [("1.52", "of 1 of 30 particles are about 1.52"), ("-9000", "of 1 particles"), ("0", "of 1 particles")]
)
def test_defocus_of_some_particles(tmp_path, u, words):
    path = star_31(tmp_path, n=30, stack=30, rows={4: {"rlnDefocusU": u, "rlnDefocusV": u}})
    errors, warnings = found(path)
    assert not errors
    assert words in warnings
    assert "row 5" in warnings


@pytest.mark.parametrize(
    "label, value, words",
    [
        ("rlnDefocusU", "1.5", "row 2 has 1.5:"),
        ("rlnDefocusU", "-40000", "(the first in row 2)"),
        ("rlnOriginXAngst", "90", "(row 2: 60 px"),
    ],
)
def test_rows_are_those_of_the_file(tmp_path, label, value, words):
    """The file's rows stand the other way round than the images in their stack."""
    bad = {label: value} | ({"rlnDefocusV": value} if label == "rlnDefocusU" else {})
    good = {} if label == "rlnDefocusU" else {label: "0"}
    names = [{"rlnImageName": f"{12 - i}@a.mrcs"} for i in range(12)]
    rows = {i: name | (bad if i in (1, 4) else good) for i, name in enumerate(names)}
    path = star_31(tmp_path, n=12, stack=12, rows=rows)
    assert words in "".join(found(path))


def test_defocus_near_focus_and_phase_plates(tmp_path):
    assert "nanometres" in rows(tmp_path, rlnDefocusU="150", rlnDefocusV="150")[1]
    assert "nanometres" in rows(tmp_path, rlnDefocusU="1700", rlnDefocusV="1650")[1]
    assert rows(tmp_path, rlnDefocusU="5000", rlnDefocusV="3500") == ("", "")
    assert "very large" in rows(tmp_path, rlnDefocusU="200000", rlnDefocusV="200000")[1]
    plate = {"rlnPhaseShift": "90"}
    assert rows(tmp_path, rlnDefocusU="30", rlnDefocusV="30", **plate) == ("", "")
    assert "micrometres" in rows(tmp_path, rlnDefocusU="0.5", rlnDefocusV="0.5", **plate)[0]
    assert "radians" in rows(tmp_path, rlnPhaseShift="1.57")[1]


@pytest.mark.parametrize(
    "values, words",
    [
        ({"rlnVoltage": "300000"}, "rlnVoltage is 300000: it seems to be in V, kV are meant"),
        ({"rlnVoltage": "0.3"}, "kV are meant"),
        ({"rlnSphericalAberration": "2.7e7"}, "seems to be in Å; mm are meant, such as 2.7: divide it by 1e7"),
        ({"rlnSphericalAberration": "2700"}, "seems to be in µm; mm are meant, such as 2.7: divide it by 1000"),
        (
            {"rlnAmplitudeContrast": "7"},
            "meant; it seems to be in percent: divide it by 100 (0.07)",
        ),
        ({"rlnAmplitudeContrast": "-0.1"}, "a share from 0 to 1 is meant; correct it"),
        ({"rlnImagePixelSize": "0.12"}, "seems to be in nm; Å are meant: multiply it by 10 (1.2)"),
        ({"rlnImagePixelSize": "1.2e-10"}, "seems to be in m; Å are meant: multiply it by 1e+10 (1.2)"),
        ({"rlnImagePixelSize": "120"}, "seems to be in pm"),
    ],
)
def test_units_of_the_microscope(tmp_path, values, words):
    errors, _ = optics(tmp_path, **values)
    assert len(errors.splitlines()) == 1
    assert words in errors


@pytest.mark.parametrize(
    "values, words",
    [
        ({"rlnVoltage": "30"}, "unusual"),
        ({"rlnSphericalAberration": "0.0027"}, "if it is in m, multiply it by 1000"),
        ({"rlnSphericalAberration": "-2.7"}, "microscopes have a positive one: check its sign"),
        ({"rlnImagePixelSize": "0.3"}, "if it is in nm, multiply it by 10"),
        ({"rlnImagePixelSize": "3"}, "a.mrcs has a pixel size of 1.5 Å in its header, the STAR file 3 Å"),
    ],
)
def test_unusual_values_are_told(tmp_path, values, words):
    errors, warnings = optics(tmp_path, **values)
    assert not errors
    assert words in warnings


def test_a_pixel_size_of_one_in_a_header_says_nothing(tmp_path):
    path = star_31(tmp_path)
    with mrcfile.open(tmp_path / "a.mrcs", "r+") as file:
        file.voxel_size = 1.0
    assert found(path) == ("", "")


def test_shifts_out_of_the_image(tmp_path):
    """The box is 8 px of 1.5 Å; in px they lead out of it, as Å they would not."""
    assert rows(tmp_path, rlnOriginX="5.5", rlnOriginY="0", **POSE)[0] == ""
    errors, warnings = rows(tmp_path, poses="add them", rlnOriginX="5.5", rlnOriginY="0", **POSE)
    assert "30 of 30 particles out of their images (row 1: 6 px, the box is 8 px): they seem to be in Å" in errors
    assert not warnings
    assert "correct them" in rows(tmp_path, poses="add them", rlnOriginXAngst="50", rlnOriginYAngst="0", **POSE)[0]
    path = star_31(tmp_path, n=30, stack=30, rows={"all": POSE | {"rlnOriginX": "1"}, 3: POSE | {"rlnOriginX": "99"}})
    errors, warnings = found(path, poses="add them")
    assert not errors
    assert "move 1 of 30 particles" in warnings


def test_columns_of_shifts_that_contradict(tmp_path):
    assert rows(tmp_path, rlnOriginX="2", rlnOriginXAngst="3") == ("", "")
    assert "contradict each other" in rows(tmp_path, rlnOriginX="2", rlnOriginXAngst="2")[1]


def test_poses(tmp_path):
    assert "rlnAnglePsi; add them" in rows(tmp_path, poses="add them")[0]
    radians = {"rlnAngleRot": "3.1", "rlnAngleTilt": "1.2", "rlnAnglePsi": "-2"}
    assert "radians? Degrees are meant" in rows(tmp_path, poses="add them", **radians)[1]
    assert rows(tmp_path, **radians) == ("", "")
    assert rows(tmp_path, n=5, poses="add them", **radians) == ("", "")


def test_each_optics_group_is_named(tmp_path):
    path = star_31(tmp_path, rows={0: {"rlnOpticsGroup": "2"}})
    text = path.read_text()
    row = next(line for line in text.splitlines() if " first " in line)
    path.write_text(text.replace(row, f"{row}\n{row.replace('1 first 300', '2 second 200000')}"))
    errors, _ = found(path)
    assert "rlnVoltage of second is 200000" in errors
    assert "first" not in errors


def test_fast_for_many_particles(tmp_path):
    """Nothing is looked at row by row: a hundred thousand particles in the time of some sorts."""
    import time

    path = star_31(tmp_path)
    particles = examine_particles(path, Findings()).subset(np.zeros(100_000, np.int64))
    began = time.process_time()
    check_particles(particles, Findings(), uses_ctf=True, poses="x")
    assert time.process_time() - began < 1.0
