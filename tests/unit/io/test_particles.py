"""Particles from the STAR files of RELION 3.0 to 5, every check that names its row, and what is written back."""

import logging
import re

import numpy as np
import pytest
import starfile

from pycryo.errors import InputError
from pycryo.io.mrc_stacks import write_stack
from pycryo.io.particles import read_particles, write_particles
from pycryo.io.star import read_star

OPTICS = {
    "rlnOpticsGroup": "1",
    "rlnOpticsGroupName": "first",
    "rlnVoltage": "300",
    "rlnSphericalAberration": "2.7",
    "rlnAmplitudeContrast": "0.1",
    "rlnImagePixelSize": "1.5",
    "rlnImageSize": "8",
    "rlnImageDimensionality": "2",
}
PARTICLE = {
    "rlnImageName": "{i:06d}@a.mrcs",
    "rlnOpticsGroup": "1",
    "rlnDefocusU": "10000.5",
    "rlnDefocusV": "9000.25",
    "rlnDefocusAngle": "30",
    "myColumn": "x{i}",
}


def loop(name, rows):
    """Text of a loop; all rows have the columns of the first."""
    labels = "".join(f"_{label} #{i}\n" for i, label in enumerate(rows[0], 1))
    return f"data_{name}\n\nloop_\n{labels}" + "".join(" ".join(row.values()) + "\n" for row in rows) + "\n"


def particle(i, change=()):
    return {label: value.format(i=i) for label, value in {**PARTICLE, **dict(change)}.items() if value}


def star_31(folder, *, n=3, optics=(), rows=(), extra="", stack=5, box=8):
    """A 3.1 file with `n` particles and its stack; `optics` and `rows` (by index) change or remove (empty) values."""
    write_stack(folder / "a.mrcs", [np.random.default_rng(1).normal(size=(stack, box, box))], (box, box), 1.5)
    rows = dict(rows)
    first = {label: value for label, value in {**OPTICS, **dict(optics)}.items() if value}
    text = loop("optics", [first]) + loop(
        "particles", [particle(i + 1, rows.get(i, rows.get("all", ()))) for i in range(n)]
    )
    (folder / "in.star").write_text(text + extra)
    return folder / "in.star"


def star_30(folder, *, columns=(), n=2):
    row = {
        "rlnVoltage": "300",
        "rlnSphericalAberration": "2.7",
        "rlnAmplitudeContrast": "0.1",
        "rlnDetectorPixelSize": "5",
        "rlnMagnification": "25000",
        "rlnOriginX": "3",
        "rlnOriginY": "-1.5",
        "rlnClassNumber": "2",
        "rlnOpticsGroup": "",
    }
    write_stack(folder / "a.mrcs", [np.random.default_rng(1).normal(size=(5, 8, 8))], (8, 8), 1.0)
    (folder / "old.star").write_text(loop("images", [particle(i + 1, {**row, **dict(columns)}) for i in range(n)]))
    return folder / "old.star"


def test_relion_31(tmp_path):
    particles = read_particles(star_31(tmp_path))
    assert len(particles) == particles.n == 3
    assert particles.stacks == (tmp_path / "a.mrcs",)
    np.testing.assert_array_equal(particles.image_index, [0, 1, 2])
    np.testing.assert_array_equal(particles.optics_group, 0)
    np.testing.assert_array_equal(particles.defocus_u, 10000.5)
    np.testing.assert_array_equal(particles.random_subset, 0)
    np.testing.assert_array_equal(particles.class_number, 1)
    np.testing.assert_array_equal(particles.ctf_scale, 1)
    optics = particles.optics
    assert optics.name == ("first",)
    assert (optics.pixel_size[0], optics.box[0], optics.voltage[0]) == (1.5, 8, 300)
    assert (optics.spherical_aberration[0], optics.amplitude_contrast[0]) == (2.7, 0.1)
    assert particles.has_ctf
    assert not particles.has_poses
    particles.require_ctf()
    with pytest.raises(ValueError, match="read-only"):
        particles.rot[0] = 1


def test_relion_30_is_converted(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        particles = read_particles(star_30(tmp_path))
    assert "has no rlnImageSize; it is taken from the MRC headers" in caplog.text
    assert particles.optics.pixel_size[0] == pytest.approx(2.0)
    assert particles.optics.box[0] == 8
    np.testing.assert_allclose(particles.origin_x, 6.0)
    np.testing.assert_allclose(particles.origin_y, -3.0)
    np.testing.assert_array_equal(particles.class_number, 2)
    write_particles(tmp_path / "new.star", particles, {"rlnAngleRot": np.array([1.0, 2.0])})
    new = read_star(tmp_path / "new.star")
    assert list(new) == ["optics", "particles"]
    assert set(new["particles"]) == {
        *("rlnImageName", "rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "myColumn", "rlnClassNumber"),
        *("rlnOriginXAngst", "rlnOriginYAngst", "rlnOpticsGroup", "rlnAngleRot"),
    }
    assert float(new["optics"]["rlnImagePixelSize"][0]) == 2.0
    again = read_particles(tmp_path / "new.star")
    for name in ("defocus_u", "origin_x", "origin_y", "optics_group", "class_number", "image_index"):
        np.testing.assert_array_equal(getattr(again, name), getattr(particles, name))
    np.testing.assert_array_equal(again.rot, [1, 2])
    assert again.has_ctf


def test_optics_groups_are_distinct_combinations_in_30(tmp_path):
    path = star_30(tmp_path, n=4)
    text = path.read_text().splitlines()
    text[-2] = text[-2].replace(" 300 ", " 200 ")
    path.write_text("\n".join(text) + "\n")
    particles = read_particles(path)
    assert len(particles.optics) == 2
    np.testing.assert_array_equal(particles.optics.voltage[particles.optics_group], [300, 300, 300, 200])


def test_writing_keeps_the_letter_and_the_other_tables(tmp_path):
    extra = "data_general\n\n_myValue 'some text'\n\ndata_other\n\nloop_\n_a\n_b\n1 'two words'\n"
    path = star_31(tmp_path, optics={"myOptics": "z"}, extra=extra, rows={"all": {"rlnAngleTilt": "9.0"}})
    particles = read_particles(path)
    (tmp_path / "out").mkdir()
    updates = {"rlnAngleTilt": np.array([1.0, 2, 3]), "rlnRandomSubset": np.array([1, 2, 1])}
    write_particles(tmp_path / "out" / "o.star", particles, updates)
    before, after = read_star(path), read_star(tmp_path / "out" / "o.star")
    assert list(after) == ["optics", "particles", "general", "other"]
    assert after["optics"].equals(before["optics"])
    assert after["general"] == {"myValue": "some text"}
    assert after["other"].equals(before["other"])
    assert list(after["particles"]) == [*before["particles"], "rlnRandomSubset"]
    for label in set(before["particles"]) - {"rlnAngleTilt"}:
        assert after["particles"][label].tolist() == before["particles"][label].tolist()
    assert after["particles"]["rlnAngleTilt"].tolist() == ["1.000000", "2.000000", "3.000000"]
    assert len(starfile.read(tmp_path / "out" / "o.star")["particles"]) == 3


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


def test_absolute_and_bare_names(tmp_path):
    write_stack(tmp_path / "one.mrc", [np.eye(8)], (8, 8), 1.5)
    rows = {
        0: {"rlnImageName": f"2@{tmp_path}/a.mrcs"},
        1: {"rlnImageName": "one.mrc"},
        2: {"rlnImageName": "2@a.mrcs"},
    }
    particles = read_particles(star_31(tmp_path, rows=rows))
    np.testing.assert_array_equal(particles.image_index, [1, 0, 1])
    assert len(particles.stacks) == 3


def test_subset_and_writing_it(tmp_path):
    particles = read_particles(star_31(tmp_path))
    chosen = particles.subset(np.array([False, True, True])).subset([1, 0])
    np.testing.assert_array_equal(chosen.image_index, [2, 1])
    write_particles(tmp_path / "o.star", chosen, {"rlnClassNumber": np.array([1, 2])})
    table = read_star(tmp_path / "o.star")["particles"]
    assert table["myColumn"].tolist() == ["x3", "x2"]
    assert table["rlnClassNumber"].tolist() == ["1", "2"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"stack": 2}, r"row 3: image 3 of .*a\.mrcs is asked for, but the stack has 2"),
        ({"rows": {1: {"rlnImageName": "0@a.mrcs"}}}, "row 2: rlnImageName '0@a.mrcs' is below 1"),
        (
            {"rows": {1: {"rlnImageName": "one@a.mrcs"}}},
            "row 2: rlnImageName 'one@a.mrcs' does not begin with the number",
        ),
        ({"rows": {1: {"rlnImageName": f"{2**70}@a.mrcs"}}}, "row 2: .* does not begin with the number of an image"),
        ({"rows": {1: {"rlnImageName": "a.mrcs"}}}, "row 2: .*has 5 sections, but the name gives no number"),
        ({"rows": {2: {"rlnImageName": "1@b.mrcs"}}}, r"row 3: there is no file 'b\.mrcs'"),
        ({"box": 10}, r"row 1: .*a\.mrcs has images of 10 px, but rlnImageSize is 8"),
        ({"optics": {"rlnImagePixelSize": "0"}}, "row 1: the pixel size is 0; put the pixel size"),
        ({"optics": {"rlnImageDimensionality": "3"}}, "rlnImageDimensionality is not 2"),
        ({"optics": {"rlnBeamTiltX": "0.1"}}, r"does not make: beam tilt \(rlnBeamTiltX\); correct"),
        ({"rows": {"all": {"rlnBeamTiltY": "0.1"}}}, r"beam tilt \(rlnBeamTiltY\)"),
        ({"optics": {"rlnOddZernike": "[0,0.5]"}}, r"antisymmetric aberrations \(rlnOddZernike\)"),
        ({"optics": {"rlnEvenZernike": "[0,-3]"}}, r"symmetric aberrations \(rlnEvenZernike\)"),
        ({"optics": {"rlnMagMat00": "1.01", "rlnMagMat01": "0.0"}}, r"anisotropic magnification \(rlnMagMat00\)"),
        ({"optics": {"rlnCtfDataAreCtfPremultiplied": "1"}}, "images multiplied by their CTF"),
        ({"optics": {"rlnOddZernike": "[a]"}}, "rlnOddZernike is '\\[a\\]', not a number"),
        ({"rows": {1: {"rlnOpticsGroup": "2"}}}, "row 2: optics group 2 is not in data_optics"),
        ({"rows": {1: {"rlnDefocusU": "abc"}}}, "row 2: rlnDefocusU is 'abc', not a number"),
        ({"rows": {"all": {"rlnRandomSubset": "3"}}}, "row 1: rlnRandomSubset is 3; it must be 1 or 2"),
        ({"rows": {"all": {"rlnClassNumber": "1.5"}}}, "row 1: rlnClassNumber is 1.5, not a whole number"),
        ({"rows": {"all": {"rlnAngleRot": "nan"}}}, "row 1: rlnAngleRot is not finite"),
        ({"rows": {"all": {"rlnImageName": ""}}}, r"no table with rlnImageName \(only data_optics, data_particles\)"),
    ],
)
def test_errors_name_file_row_and_remedy(tmp_path, change, words):
    path = star_31(tmp_path, **change)
    with pytest.raises(InputError, match=words) as caught:
        read_particles(path)
    assert str(path) in str(caught.value)
    assert re.search(r";|must|begin|below", str(caught.value))


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


def test_bad_stacks_are_named_with_the_row(tmp_path):
    path = star_31(tmp_path)
    write_stack(tmp_path / "a.mrcs", [np.zeros((5, 8, 6))], (8, 6), 1.5)
    with pytest.raises(InputError, match=r"row 1: .*a\.mrcs has images of 6 × 8 px; extract them again as squares"):
        read_particles(path)
    (tmp_path / "a.mrcs").write_bytes(b"\x1f\x8b\x08" + bytes(2000))
    with pytest.raises(InputError, match=r"row 1: .*a\.mrcs is packed with gzip; unpack it first"):
        read_particles(path)


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


def test_zero_defocus(tmp_path):
    zero = {"rlnDefocusU": "0", "rlnDefocusV": "0.000"}
    particles = read_particles(star_31(tmp_path, rows={1: zero}))
    np.testing.assert_array_equal(particles.has_no_defocus, [False, True, False])
    particles.require_ctf()
    with pytest.raises(InputError, match="the defocus of all particles is 0; correct rlnDefocusU"):
        read_particles(star_31(tmp_path, rows={"all": zero})).require_ctf()
    read_particles(star_31(tmp_path, rows={"all": {**zero, "rlnPhaseShift": "90"}})).require_ctf()


def test_empty_table_and_ambiguous_tables(tmp_path):
    path = tmp_path / "a.star"
    path.write_text("data_particles\n\nloop_\n_rlnImageName #1\n\n")
    with pytest.raises(InputError, match="data_particles has no particles"):
        read_particles(path)
    path.write_text(loop("x", [particle(1)]) + loop("y", [particle(1)]))
    with pytest.raises(InputError, match=r"several tables \(data_x, data_y\); call the right one data_particles"):
        read_particles(path)


def test_poses_without_images(tmp_path):
    path = tmp_path / "a.star"
    path.write_text(loop("particles", [{"rlnAngleRot": "1", "rlnAngleTilt": "2", "rlnAnglePsi": "3"}] * 2))
    particles = read_particles(path, validate=False)
    assert len(particles) == 2
    assert particles.has_poses
    with pytest.raises(InputError, match="no table with rlnImageName"):
        read_particles(path)


def test_published_files(shared):
    star = shared / "data" / "star"
    for name, n, pixel_size, has_ctf in [
        ("relion31.star", 5, 2.806, True),
        ("relion31.v2.star", 5, 2.806, True),
        ("sample_particles_relion30.star", 17, None, True),
        ("sample_particles_relion31.star", 17, 1.4, True),
        ("cryolike_relion_style_particles.star", 106, 0.725, True),
        ("FinalRefinement-OriginalParticles-PfCRT.star", 5, 1.035, False),
        ("sample_incomplete_ctf_params.star", 1, None, False),
        ("empiar_10076_7.star", 7, 5e4 / 38168, True),
    ]:
        particles = read_particles(star / name, validate=False)
        assert len(particles) == n
        assert particles.has_ctf == has_ctf
        if pixel_size:
            np.testing.assert_allclose(particles.pixel_size, pixel_size, rtol=1e-12)
    for name, words in [
        ("relion5.star", "beam tilt .*antisymmetric aberrations .*symmetric aberrations"),
        ("relion31.6opticsgroups.star", "beam tilt"),
        ("cryocat_relion_4.0_sta.star", "2D images"),
    ]:
        with pytest.raises(InputError, match=words):
            read_particles(star / name, validate=False)
    assert len(read_particles(star / "toy_projections.star", validate=False)) == 1000


def test_data_sets(shared, tmp_path):
    data = shared / "data"
    for path, n in [
        (data / "sim64" / "particles.star", 500),
        (data / "sim128" / "truth.star", None),
        (data / "betagal" / "particles.star", 150),
        (data / "relion_projections" / "rln_proj_65_shifted.star", 4),
        (data / "relion_projections" / "rln_proj_64.star", 5),
        (data / "relion_projections" / "sim128_relion_project.star", 24),
    ]:
        particles = read_particles(path)
        assert n is None or len(particles) == n
        write_particles(tmp_path / "o.star", particles, {})
        again = read_particles(tmp_path / "o.star")
        np.testing.assert_array_equal(again.defocus_u, particles.defocus_u)
        np.testing.assert_allclose(again.origin_x, particles.origin_x, atol=1e-6)
