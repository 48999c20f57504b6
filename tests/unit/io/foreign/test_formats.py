"""Files of all programs through one door, and those that others have published."""

import numpy as np
import pytest
from foreign_files import CISTEM, write_cs
from particle_files import star_31
from scipy.spatial.transform import Rotation

from pycryo.errors import InputError
from pycryo.io.foreign.conversion import Given
from pycryo.io.foreign.formats import convert, relion_tables
from pycryo.io.mrc_stacks import write_stack
from pycryo.io.particles import read_particles, write_particles


def test_a_cs_file_is_read_as_particles(tmp_path):
    """From anywhere in the project, and written as a STAR file."""
    (tmp_path / "J3" / "extract").mkdir(parents=True)
    (tmp_path / "J7").mkdir()
    write_stack(tmp_path / "J3" / "extract" / "a.mrcs", [np.zeros((4, 8, 8), np.float32)], (8, 8), 1.5)
    path = write_cs(tmp_path / "J7" / "particles.cs", ctf__trefoil_A=np.full((4, 2), 1e3, np.float32))
    particles = read_particles(path)
    assert particles.n == 4
    assert particles.has_poses
    assert particles.has_ctf
    assert particles.optics.has_odd.all()
    assert particles.stacks == (tmp_path / "J3" / "extract" / "a.mrcs",)
    assert not read_particles(path, ignore_optics=["odd-zernike"]).optics.has_odd.any()
    write_particles(tmp_path / "out.star", particles, {})
    again = read_particles(tmp_path / "out.star")
    for name in ("rot", "tilt", "psi", "origin_x", "defocus_u", "random_subset"):
        np.testing.assert_array_equal(getattr(again, name), getattr(particles, name))
    assert again.optics.odd_zernike == particles.optics.odd_zernike


def test_other_programs_need_the_import(tmp_path):
    (tmp_path / "a.star").write_text(CISTEM)
    with pytest.raises(InputError, match="is cisTEM's; make it RELION's: pycryo import"):
        read_particles(tmp_path / "a.star")


def test_what_needs_no_import(tmp_path):
    with pytest.raises(InputError, match="RELION's need no import"):
        convert([star_31(tmp_path)], Given())


def test_several_files_are_cryosparcs(tmp_path):
    (tmp_path / "a.star").write_text(CISTEM)
    with pytest.raises(InputError, match="several files are for cryoSPARC"):
        convert([tmp_path / "a.star", tmp_path / "a.star"], Given())


def cryodrgn_poses(table):
    """Rotations and shifts as cryoDRGN's users read them: Rodrigues' formula, transposed; px over the box."""
    vectors = table["alignments3D/pose"].astype(float)
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    x, y, z = (vectors / angle[:, 0]).T
    zero = np.zeros_like(x)
    cross = np.stack([[zero, -z, y], [z, zero, -x], [-y, x, zero]]).transpose(2, 0, 1)
    turns = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turns.transpose(0, 2, 1), table["alignments3D/shift"] / table["blob/shape"][:, :1]


@pytest.mark.maintainers
def test_poses_of_a_refinement_are_those_that_cryodrgn_reads(shared):
    path = shared / "data" / "cs" / "cryosparc_P12_J24_001_particles.cs"
    with open(path, "rb") as file:
        table = np.lib.format.read_array(file, allow_pickle=False)
    particles = read_particles(path, validate=False)
    assert particles.n == 2019
    turns, shifts = cryodrgn_poses(table)
    angles = np.stack([particles.rot, particles.tilt, particles.psi], axis=1)
    assert np.abs(Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix() - turns).max() < 1e-4
    found = np.stack([particles.origin_x, particles.origin_y], axis=1) / particles.pixel_size[:, None] / 180
    assert np.abs(found - shifts).max() < 1e-6
    assert np.bincount(particles.random_subset).tolist()[0] == 0


@pytest.mark.maintainers
def test_the_same_particles_in_both_formats(shared):
    """cryoSPARC's numbers are single."""
    folder = shared / "data"
    one, other = (read_particles(folder / kind / f"empiar_10076_7.{kind}", validate=False) for kind in ("cs", "star"))
    for name in ("defocus_u", "defocus_v", "defocus_angle", "image_index", "pixel_size"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=2e-7)
    for name in ("voltage", "spherical_aberration", "amplitude_contrast"):
        np.testing.assert_allclose(getattr(one.optics, name), getattr(other.optics, name), rtol=2e-7)
    assert [str(each) for each in one.stacks] == [str(each) for each in other.stacks]


@pytest.mark.maintainers
def test_each_published_file_is_read_or_refused_by_one_sentence(shared):
    files = [
        path
        for kind in ("cs", "star")
        for path in sorted((shared / "data" / kind).rglob("*"))
        if path.suffix in (".cs", ".star")
    ]
    assert len(files) > 20
    for path in files:
        try:
            assert read_particles(path, validate=False).n > 0
        except InputError as error:
            text = str(error)
            assert path.name in text
            assert "\n" not in text
            assert ";" in text, text  # what to do
            assert path.suffix == ".star"


def test_a_star_file_of_relion_stays_as_it_is(tmp_path):
    tables, folders, notes = relion_tables(star_31(tmp_path))
    assert list(tables) == ["optics", "particles"]
    assert (folders, notes) == ([], [])
