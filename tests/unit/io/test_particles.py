"""Particles from the STAR files of RELION 3.0 to 5, every check that names its row, and what is written back."""

import logging
import re

import numpy as np
import pytest
import starfile
from particle_files import loop, particle, star_30, star_31
from phantom import blobs, write_30, write_set, write_single_table

from pycryo.errors import InputError
from pycryo.io.particles import read_particles, write_particles
from pycryo.io.star import read_star


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


def test_writing_keeps_the_letter_and_the_other_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
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


def test_subset_and_writing_it(tmp_path):
    particles = read_particles(star_31(tmp_path))
    chosen = particles.subset(np.array([False, True, True])).subset([1, 0])
    np.testing.assert_array_equal(chosen.image_index, [2, 1])
    write_particles(tmp_path / "o.star", chosen, {"rlnClassNumber": np.array([1, 2])})
    table = read_star(tmp_path / "o.star")["particles"]
    # In the order of the rows of the file.
    assert table["myColumn"].tolist() == ["x2", "x3"]
    assert table["rlnClassNumber"].tolist() == ["2", "1"]


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
        ({"optics": {"rlnOddZernike": "[a]"}}, "rlnOddZernike is '\\[a\\]', not a number"),
        ({"optics": {"rlnEvenZernike": "[0,nan]"}}, r"rlnEvenZernike is '\[0,nan\]', not a number or a list"),
        ({"optics": {"rlnBeamTiltX": "inf"}}, "rlnBeamTiltX is 'inf', not a number"),
        ({"rows": {1: {"rlnBeamTiltY": "x"}, "all": {"rlnBeamTiltY": "0"}}}, "rlnBeamTiltY is 'x', not a number"),
        ({"optics": {"rlnBeamTiltX": "[0.1,0.2]"}}, r"rlnBeamTiltX is '\[0.1,0.2\]', expected one number"),
        (
            {"optics": {"rlnMagMat00": "1.6"}},
            "rlnMagMat00 to 11 .* are 1.6, 0, 0, 1, which is no magnification",
        ),
        ({"optics": {"rlnMagMat00": "0", "rlnMagMat11": "0"}}, "no magnification; .* --ignore-optics magnification"),
        ({"optics": {"rlnMagMat11": "-1"}}, "are 1, 0, 0, -1, which is no magnification"),
        ({"optics": {"rlnCtfDataAreCtfPremultiplied": "2"}}, "rlnCtfDataAreCtfPremultiplied is 2; it must be 0 or 1"),
        ({"optics": {"rlnCtfDataArePhaseFlipped": "-1"}}, "rlnCtfDataArePhaseFlipped is -1; it must be 0 or 1"),
        ({"rows": {1: {"rlnOpticsGroup": "2"}}}, "row 2: optics group 2 is not in data_optics"),
        ({"rows": {1: {"rlnDefocusU": "abc"}}}, "row 2: rlnDefocusU is 'abc', not a number"),
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


MAINTAINERS = pytest.param("maintainers", marks=pytest.mark.maintainers)
# Particles, pixel size (Å; None: not stated) and whether the CTF is known, by file.
FILES = {
    "own": {
        "relion30.star": (4, 1.4, True),
        "relion30_no_contrast.star": (2, 1.25, False),
        "relion31.star": (5, 1.63, True),
        "relion31_groups.star": (6, [0.82, 0.82, 1.1, 0.82, 0.82, 1.1], True),
        "relion4.star": (3, 3.54, True),
        "relion5.star": (3, 1.48, True),
        "converted_cs.star": (3, 1.3100436681222707, True),
        "relion5_aberrations.star": (1, 1.1, True),
        "relion31_beam_tilt.star": (2, 1.2, False),
        "one_particle.star": (1, 2.0, True),
        "incomplete_ctf.star": (2, None, False),
        "poses.star": (4, None, False),
    },
    "maintainers": {
        "relion31.star": (5, 2.806, True),
        "relion31.v2.star": (5, 2.806, True),
        "sample_particles_relion30.star": (17, None, True),
        "sample_particles_relion31.star": (17, 1.4, True),
        "cryolike_relion_style_particles.star": (106, 0.725, True),
        "FinalRefinement-OriginalParticles-PfCRT.star": (5, 1.035, False),
        "sample_incomplete_ctf_params.star": (1, None, False),
        "empiar_10076_7.star": (7, 5e4 / 38168, True),
        "relion5.star": (17, 0.89, True),
        "relion31.6opticsgroups.star": (139, None, True),
    },
}
# What is said of files that are refused.
REFUSED = {
    "own": {
        "relion4_tomo.star": "2D images",
        "model.star": "no table with rlnImageName",
    },
    "maintainers": {
        "cryocat_relion_4.0_sta.star": "2D images",
    },
}


@pytest.mark.parametrize("source", ["own", MAINTAINERS])
def test_published_files(source, request):
    own = source == "own"
    star = request.getfixturevalue("own_star") if own else request.getfixturevalue("shared") / "data" / "star"
    for name, (n, pixel_size, has_ctf) in FILES[source].items():
        particles = read_particles(star / name, validate=False)
        assert len(particles) == n
        assert particles.has_ctf == has_ctf
        if pixel_size:
            np.testing.assert_allclose(particles.pixel_size, pixel_size, rtol=1e-12)
    for name, words in REFUSED[source].items():
        with pytest.raises(InputError, match=words):
            read_particles(star / name, validate=False)
    if not own:
        assert len(read_particles(star / "toy_projections.star", validate=False)) == 1000


def test_origins_are_in_angstrom(own_star):
    """RELION 3.0 has them in px of 7 µm / 50 000 = 1.4 Å; the numbers are those of the files."""
    pixels = read_particles(own_star / "relion30.star", validate=False)
    np.testing.assert_allclose(pixels.origin_x, 1.4 * np.array([1.5, 0, -4, 0]), rtol=1e-12)
    np.testing.assert_allclose(pixels.origin_y, 1.4 * np.array([-2, 3.25, 0.5, 0]), rtol=1e-12)
    angstrom = read_particles(own_star / "relion5.star", validate=False)
    np.testing.assert_array_equal(angstrom.origin_x, [0.1, -0.1, 2])
    np.testing.assert_array_equal(angstrom.origin_y, [-0.2, 0.2, 4])


def own_sets(folder):
    """The same 12 particles as RELION 3.1 and 3.0 and as one table with Å; nine of two geometries."""
    for name in ("one", "two"):
        (folder / name).mkdir()
    path = write_set(folder / "one", blobs(), 12)
    old, single = write_30(path), write_single_table(path)
    two = write_set(folder / "two", blobs(), 9, geometries=((32, 3.0), (24, 4.0)))
    return [(path, 12), (old, 12), (single, 12), (two, 9)]


def test_forms_say_the_same(tmp_path):
    path = write_set(tmp_path, blobs(), 12)
    first = read_particles(path)
    for other in map(read_particles, (write_30(path), write_single_table(path))):
        for name in ("stack", "image_index", "pixel_size", "defocus_u", "rot", "tilt", "psi", "origin_x", "origin_y"):
            # starfile writes six decimals; of the magnification, 16 667, and of origins in px they are 1e-6 Å.
            np.testing.assert_allclose(getattr(other, name), getattr(first, name), rtol=1e-9, atol=3e-6)


def maintainers_sets(data):
    return [
        (data / "sim64" / "particles.star", 500),
        (data / "sim128" / "truth.star", None),
        (data / "betagal" / "particles.star", 150),
        (data / "relion_projections" / "rln_proj_65_shifted.star", 4),
        (data / "relion_projections" / "rln_proj_64.star", 5),
        (data / "relion_projections" / "sim128_relion_project.star", 24),
    ]


@pytest.mark.parametrize("source", ["own", MAINTAINERS])
def test_data_sets(source, request, tmp_path):
    if source == "own":
        sets = own_sets(tmp_path)
    else:
        sets = maintainers_sets(request.getfixturevalue("shared") / "data")
    for path, n in sets:
        particles = read_particles(path)
        assert n is None or len(particles) == n
        table = starfile.read(path, always_dict=True).popitem()[1]
        if "rlnDefocusU" in table:
            # pandas' parser is off by one unit in the last place now and then.
            np.testing.assert_allclose(particles.defocus_u, table["rlnDefocusU"], rtol=1e-15)
        write_particles(tmp_path / "o.star", particles, {})
        again = read_particles(tmp_path / "o.star")
        np.testing.assert_array_equal(again.defocus_u, particles.defocus_u)
        np.testing.assert_allclose(again.origin_x, particles.origin_x, atol=1e-6)


def test_micrographs_are_numbered_by_their_names(tmp_path):
    names = ("b.mrc", "a.mrc", "b.mrc")
    path = star_31(tmp_path, rows={row: {"rlnMicrographName": name} for row, name in enumerate(names)})
    particles = read_particles(path)
    np.testing.assert_array_equal(particles.micrographs(), [1, 0, 1])
    np.testing.assert_array_equal(particles.subset([1, 2]).micrographs(), [0, 1])
    (tmp_path / "none").mkdir()
    assert read_particles(star_31(tmp_path / "none", rows={"all": {"rlnMicrographName": ""}})).micrographs() is None


def test_poses_that_are_missing_are_named(tmp_path):
    particles = read_particles(
        star_31(tmp_path, rows={"all": {"rlnAngleRot": "", "rlnAngleTilt": "1", "rlnAnglePsi": ""}})
    )
    with pytest.raises(InputError, match=r"in\.star has no rlnAngleRot, rlnAnglePsi; add them"):
        particles.require_poses("add them")
