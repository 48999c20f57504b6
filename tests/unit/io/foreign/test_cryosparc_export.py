"""What is written for cryoSPARC: its fields, and the same particles when it is read again."""

import numpy as np
import pytest
from foreign_files import write_cs
from particle_files import star_31
from scipy.spatial.transform import Rotation

from pycryo.errors import InputError
from pycryo.geometry.aberrations import even_sum
from pycryo.io.foreign.conversion import Given
from pycryo.io.foreign.cryosparc_export import write_cryosparc
from pycryo.io.foreign.formats import convert
from pycryo.io.foreign.structured import read_structured
from pycryo.io.mrc_stacks import write_stack
from pycryo.io.particles import read_particles, write_particles
from pycryo.kernels.reference.ctf import ctf as reference_ctf

POSES = {
    "rlnAngleRot": "-170.5",
    "rlnAngleTilt": "33.25",
    "rlnAnglePsi": "12.125",
    "rlnOriginXAngst": "1.5",
    "rlnOriginYAngst": "-3.75",
    "rlnRandomSubset": "2",
    "rlnClassNumber": "3",
    "rlnPhaseShift": "30",
    "rlnCtfBfactor": "20",
    "rlnCtfScalefactor": "0.9",
    "rlnMicrographName": "m/{i}.mrc",
}
OPTICS = {
    "rlnBeamTiltX": "0.2",
    "rlnBeamTiltY": "-0.1",
    "rlnOddZernike": "[0,0,12,0,0,-30]",
    "rlnEvenZernike": "[0,9,0,-6,20,3,0,-2,40]",
    "rlnMagMat00": "1.01",
    "rlnMagMat01": "0.002",
    "rlnMagMat10": "-0.001",
    "rlnMagMat11": "0.99",
}


def test_there_and_back(tmp_path):
    """Single numbers are 1e-7 of their size: of angles 180°, of defoci 1e4 Å. Even coefficients are cryoSPARC's."""
    rows = {0: POSES, 1: {**POSES, "rlnAngleTilt": "179.5", "rlnRandomSubset": "1"}, 2: {**POSES, "rlnAngleTilt": "0"}}
    first = read_particles(star_31(tmp_path, optics=OPTICS, rows=rows))
    assert write_cryosparc(tmp_path / "out.cs", first, None) == []
    again = read_particles(tmp_path / "out.cs")
    assert again.n == 3
    turns = [
        Rotation.from_euler("ZYZ", np.stack([each.rot, each.tilt, each.psi], axis=1), degrees=True)
        for each in (first, again)
    ]
    assert (turns[0].inv() * turns[1]).magnitude().max() < 1e-6
    for name in ("origin_x", "origin_y", "ctf_b_factor", "ctf_scale", "phase_shift", "pixel_size"):
        np.testing.assert_allclose(getattr(again, name), getattr(first, name), rtol=3e-7)
    for name in ("defocus_u", "defocus_v", "defocus_angle"):
        np.testing.assert_allclose(getattr(again, name), getattr(first, name), rtol=1e-6)
    for name in ("random_subset", "class_number", "image_index", "optics_group"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    for name in ("voltage", "spherical_aberration", "amplitude_contrast", "beam_tilt", "magnification", "box"):
        np.testing.assert_allclose(getattr(again.optics, name), getattr(first.optics, name), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(again.optics.odd_zernike[0], first.optics.odd_zernike[0], rtol=1e-6, atol=1e-5)
    names = [each.table.values(texts=["rlnMicrographName"])["rlnMicrographName"].tolist() for each in (first, again)]
    assert names[0] == names[1]
    np.testing.assert_allclose(ctf(again), ctf(first), atol=1e-4)


def ctf(particles):
    """At some frequencies up to 1/3 Å⁻¹, with the even coefficients, by the float64 twin."""
    rng = np.random.default_rng(3)
    kx, ky = rng.integers(-4, 5, (2, 30)).astype(float)
    optics = particles.optics
    offset = -even_sum(optics.even_zernike[0], kx / 12, ky / 12)
    found = []
    for row in range(particles.n):
        # The phase of each frequency is shifted: one call for each.
        found.append(
            [
                reference_ctf(
                    kx[i : i + 1], ky[i : i + 1], frequency_step=1 / 12,
                    defocus_u=particles.defocus_u[row], defocus_v=particles.defocus_v[row],
                    defocus_angle=particles.defocus_angle[row], voltage=optics.voltage[0],
                    spherical_aberration=optics.spherical_aberration[0],
                    amplitude_contrast=optics.amplitude_contrast[0],
                    phase_shift=particles.phase_shift[row] + np.degrees(offset[i]),
                ).item()
                for i in range(len(kx))
            ]
        )  # fmt: skip
    return np.array(found)


def test_even_coefficients_that_cryosparc_states_otherwise(tmp_path):
    """Defocus, astigmatism, Cs and phase shift take them over: the CTF stays."""
    optics = {**OPTICS, "rlnEvenZernike": "[0.1,9,5,-6,20,3,30,-2,40]"}
    first = read_particles(star_31(tmp_path, optics=optics, rows={"all": POSES}))
    write_cryosparc(tmp_path / "out.cs", first, None)
    again = read_particles(tmp_path / "out.cs")
    assert abs(again.defocus_u[0] - first.defocus_u[0]) > 10
    np.testing.assert_allclose(ctf(again), ctf(first), atol=1e-4)


def test_fields(tmp_path):
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    particles = read_particles(star_31(project / "data", rows={"all": POSES}))
    write_cryosparc(tmp_path / "out.cs", particles, project)
    table = read_structured(tmp_path / "out.cs")
    assert table["blob/path"].tolist() == [b"data/a.mrcs"] * 3
    assert table["blob/idx"].tolist() == [0, 1, 2]
    assert table["alignments3D/split"].tolist() == [1] * 3
    assert table["alignments3D/class"].tolist() == [2] * 3
    np.testing.assert_allclose(table["alignments3D/shift"], [[1.0, -2.5]] * 3)
    truth = Rotation.from_euler("ZYZ", [-170.5, 33.25, 12.125], degrees=True).as_rotvec()
    np.testing.assert_allclose(table["alignments3D/pose"], [truth] * 3, atol=1e-6)
    np.testing.assert_allclose(table["ctf/phase_shift_rad"], np.pi / 6, rtol=1e-6)
    assert len(set(table["uid"].tolist())) == 3
    assert {name: table.dtype[name].base.str for name in ("uid", "ctf/df1_A", "ctf/exp_group_id", "ctf/type")} == {
        "uid": "<u8",
        "ctf/df1_A": "<f4",
        "ctf/exp_group_id": "<u4",
        "ctf/type": "|S8",
    }
    text = (tmp_path / "out.csg").read_text()
    for kind in ("blob", "ctf", "alignments3D", "location"):
        assert f"  {kind}:\n    metafile: '>out.cs'\n    num_items: 3\n    type: particle.{kind}\n" in text


def test_the_same_particles_have_the_same_uids(tmp_path):
    """Also of rows of one image."""
    changes = {i: {"rlnImageName": "2@a.mrcs", "rlnDefocusU": f"{9000 + i}"} for i in (0, 1)}
    particles = read_particles(star_31(tmp_path, rows=changes))
    for name in ("one", "two"):
        write_cryosparc(tmp_path / f"{name}.cs", particles, None)
    one, two = (read_structured(tmp_path / f"{name}.cs") for name in ("one", "two"))
    assert len(set(one["uid"].tolist())) == 3
    assert (one["uid"] == two["uid"]).all()


def test_exposure_groups_keep_their_numbers(tmp_path):
    write_stack(tmp_path / "a.mrcs", [np.zeros((4, 8, 8), np.float32)], (8, 8), 1.5)
    path = write_cs(
        tmp_path / "a.cs",
        blob__path=np.array([b"a.mrcs"] * 4),
        ctf__exp_group_id=np.array([7, 3, 7, 3], np.uint32),
    )
    write_particles(tmp_path / "a.star", read_particles(path), {})
    write_cryosparc(tmp_path / "b.cs", read_particles(tmp_path / "a.star"), None)
    assert read_structured(tmp_path / "b.cs")["ctf/exp_group_id"].tolist() == [7, 3, 7, 3]
    assert convert([tmp_path / "b.cs"], Given()).optics["rlnOpticsGroupName"].tolist() == [
        "exposureGroup3",
        "exposureGroup7",
    ]


@pytest.mark.parametrize(
    "optics, rows, words",
    [
        ({"rlnOddZernike": "[0,0,0,0,0,0,1]"}, {}, "rlnOddZernike beyond the 6th.*--ignore-optics odd-zernike"),
        ({"rlnEvenZernike": "[0,0,0,0,0,0,0,0,0,1]"}, {}, "rlnEvenZernike beyond the 9th"),
        ({"rlnCtfDataAreCtfPremultiplied": "1"}, {}, "no field for premultiplied images"),
        ({"rlnCtfDataArePhaseFlipped": "1"}, {}, "no field for phase-flipped images"),
        ({}, {"all": {"rlnDefocusU": ""}}, "has no rlnDefocusU"),
    ],
)
def test_what_is_refused(optics, rows, words, tmp_path):
    with pytest.raises(InputError, match=words):
        write_cryosparc(tmp_path / "out.cs", read_particles(star_31(tmp_path, optics=optics, rows=rows)), None)


def test_what_is_told(tmp_path):
    rows = {"all": {"rlnMicrographName": "m.mrc", "rlnCoordinateX": "7", "rlnCoordinateY": "9"}}
    notes = write_cryosparc(tmp_path / "out.cs", read_particles(star_31(tmp_path, rows=rows)), None)
    assert "has no poses" in notes[0]
    assert "coordinates in micrographs are left out" in notes[1]
    assert "alignments3D" not in (tmp_path / "out.csg").read_text()


def test_stacks_outside_the_project(tmp_path):
    (tmp_path / "project").mkdir()
    with pytest.raises(InputError, match=r"\.\./a\.mrcs is not within --project-dir"):
        write_cryosparc(tmp_path / "out.cs", read_particles(star_31(tmp_path)), tmp_path / "project")
