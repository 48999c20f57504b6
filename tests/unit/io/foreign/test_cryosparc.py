"""cryoSPARC's particles: each column against its definition, classes, several files, what is told and refused."""

import re

import numpy as np
import pytest
from foreign_files import cs_columns, save_cs, structured, write_cs
from scipy.spatial.transform import Rotation

from pycryo.errors import InputError
from pycryo.io.foreign.conversion import Given
from pycryo.io.foreign.formats import convert


def read(path, *more):
    found = convert([path, *more], Given())
    return found, found.particles, "\n".join(found.notes)


def expmap(vector):
    """Rodrigues' formula, as cryoSPARC's users have it: the matrix of a rotation vector."""
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def matrices(particles):
    """A of the angles (docs/conventions.md)."""
    angles = np.stack([particles[f"rlnAngle{name}"] for name in ("Rot", "Tilt", "Psi")], axis=1)
    return Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()


def test_columns_of_a_refinement(tmp_path):
    columns = cs_columns(
        4,
        ctf__phase_shift_rad=np.full(4, np.pi / 4, np.float32),
        ctf__bfactor=np.full(4, 30, np.float32),
        alignments3D__class=np.array([0, 1, 0, 2], np.uint32),
    )
    found, particles, notes = read(save_cs(tmp_path / "a.cs", structured(columns)))
    names = particles["rlnImageName"].tolist()
    assert names == [f"00000{i}@J3/extract/a.mrcs" for i in range(1, 5)]
    # cryoDRGN reads a pose as the transpose of the vector's matrix, a shift as px of the alignment.
    truth = np.array([expmap(vector).T for vector in columns["alignments3D/pose"].astype(float)])
    assert np.abs(matrices(particles) - truth).max() < 1e-6
    for place, axis in enumerate("XY"):
        np.testing.assert_allclose(particles[f"rlnOrigin{axis}Angst"], 3.0 * columns["alignments3D/shift"][:, place])
    assert particles["rlnRandomSubset"].tolist() == [1, 2, 1, 2]
    assert particles["rlnClassNumber"].tolist() == [1, 2, 1, 3]
    np.testing.assert_array_equal(particles["rlnDefocusU"], columns["ctf/df1_A"])
    np.testing.assert_array_equal(particles["rlnDefocusV"], columns["ctf/df2_A"])
    np.testing.assert_allclose(particles["rlnDefocusAngle"], np.degrees(columns["ctf/df_angle_rad"].astype(float)))
    np.testing.assert_allclose(particles["rlnPhaseShift"], 45.0, rtol=1e-6)
    assert (particles["rlnCtfBfactor"] == 30).all()
    assert (particles["rlnCtfScalefactor"] == 1).all()
    optics = {label: values.tolist() for label, values in found.optics.items()}
    assert optics["rlnImageSize"] == [8]
    assert optics["rlnOpticsGroupName"] == ["exposureGroup0"]
    assert (optics["rlnVoltage"], optics["rlnImagePixelSize"]) == ([300], [1.5])
    np.testing.assert_allclose(
        [optics["rlnSphericalAberration"][0], optics["rlnAmplitudeContrast"][0]], [2.7, 0.1], rtol=1e-6
    )
    assert notes == ""


def test_a_pose_without_a_turn(tmp_path):
    found = read(write_cs(tmp_path / "a.cs", alignments3D__pose=np.zeros((4, 3), np.float32)))[1]
    assert np.abs(matrices(found) - np.eye(3)).max() < 1e-12


def test_optics_groups_are_exposure_groups(tmp_path):
    """Parted where images of one differ."""
    path = write_cs(
        tmp_path / "a.cs",
        ctf__exp_group_id=np.array([7, 3, 7, 3], np.uint32),
        ctf__cs_mm=np.array([2.7, 2.7, 2.6, 2.7], np.float32),
    )
    found = read(path)[0]
    assert found.group.tolist() == [2, 0, 1, 0]
    assert found.optics["rlnOpticsGroupName"].tolist() == ["exposureGroup3", "exposureGroup7", "exposureGroup7_2"]
    tables = found.tables()
    assert tables["particles"].values(["rlnOpticsGroup"])["rlnOpticsGroup"].tolist() == [3, 1, 2, 1]


def test_the_likeliest_of_several_classes(tmp_path):
    """In one field, and in a field of each class."""
    rng = np.random.default_rng(1)
    posterior = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [1.0, 0.0]], np.float32)
    pose, shift = rng.normal(size=(4, 2, 3)).astype(np.float32), rng.normal(size=(4, 2, 2)).astype(np.float32)
    without = {f"alignments3D__{name}": None for name in ("pose", "shift", "split", "psize_A", "alpha", "class")}
    fields = {"class_posterior": posterior, "pose": pose, "shift": shift, "psize_A": np.full((4, 2), 2.0, np.float32)}
    multi = {f"alignments3D_multi__{name}": values for name, values in fields.items()}
    numbered = {f"alignments_class_{k}__{name}": values[:, k] for k in (0, 1) for name, values in fields.items()}
    best = [1, 0, 1, 0]
    truth = np.array([expmap(pose[i, k].astype(float)).T for i, k in enumerate(best)])
    for columns in (multi, numbered):
        found = read(write_cs(tmp_path / "a.cs", **without, **columns))[1]
        assert np.abs(matrices(found) - truth).max() < 1e-6
        assert found["rlnClassNumber"].tolist() == [2, 1, 2, 1]
        np.testing.assert_allclose(found["rlnOriginXAngst"], [2.0 * shift[i, k, 0] for i, k in enumerate(best)])


def test_alignments_in_the_plane(tmp_path):
    without = {f"alignments3D__{name}": None for name in ("pose", "shift", "split", "psize_A", "alpha", "class")}
    path = write_cs(
        tmp_path / "a.cs",
        **without,
        alignments2D__pose=np.array([0, np.pi / 2, np.pi, 5.5], np.float32),
        alignments2D__shift=np.ones((4, 2), np.float32),
        alignments2D__psize_A=np.full(4, 4.5, np.float32),
        alignments2D__class=np.array([3, 0, 1, 1], np.uint32),
        alignments2D__split=np.zeros(4, np.uint32),
    )
    _, particles, notes = read(path)
    np.testing.assert_allclose(particles["rlnAnglePsi"], [0, 90, -180, np.degrees(5.5) - 360], atol=1e-4)
    assert "rlnAngleRot" not in particles
    assert particles["rlnOriginYAngst"].tolist() == [4.5] * 4
    assert particles["rlnClassNumber"].tolist() == [4, 1, 2, 2]
    assert "in the plane only" in notes


def test_micrographs_and_places_in_them(tmp_path):
    path = write_cs(
        tmp_path / "a.cs",
        location__micrograph_path=np.array([b">J1/m.mrc"] * 4),
        location__center_x_frac=np.full(4, 0.25, np.float32),
        location__center_y_frac=np.full(4, 0.5, np.float32),
        location__micrograph_shape=np.full((4, 2), (3710, 3838), np.uint32),
    )
    _, particles, notes = read(path)
    assert particles["rlnMicrographName"].tolist() == ["J1/m.mrc"] * 4
    assert (particles["rlnCoordinateX"][0], particles["rlnCoordinateY"][0]) == (0.25 * 3838, 0.5 * 3710)
    assert "upside down" in notes


def test_passthrough_files_are_matched_by_uid(tmp_path):
    """Whatever their order, and if they have more particles; what is in both comes from the first."""
    whole = cs_columns(6)
    first = {name: whole[name][[4, 1, 3]] for name in ("uid", "alignments3D/pose", "alignments3D/shift", "ctf/df1_A")}
    first["ctf/df1_A"] = first["ctf/df1_A"] + 1
    second = {name: values for name, values in whole.items() if name == "uid" or name.startswith(("blob", "ctf"))}
    one, other = (save_cs(tmp_path / name, structured(each)) for name, each in (("a.cs", first), ("b.cs", second)))
    particles = read(one, other)[1]
    assert particles["rlnImageName"].tolist() == [f"00000{i}@J3/extract/a.mrcs" for i in (5, 2, 4)]
    np.testing.assert_array_equal(particles["rlnDefocusU"], first["ctf/df1_A"])
    np.testing.assert_array_equal(particles["rlnDefocusV"], whole["ctf/df2_A"][[4, 1, 3]])
    with pytest.raises(InputError, match=r"a\.cs has no blob/shape|a\.cs has no blob/psize_A; give the passthrough"):
        read(one)
    with pytest.raises(InputError, match=r"a\.cs lacks 3 of the 6 particles of .*b\.cs"):
        read(other, one)
    del second["uid"]
    with pytest.raises(InputError, match=r"b\.cs has no uid"):
        read(one, save_cs(tmp_path / "b.cs", structured(second)))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"blob__sign": -np.ones(4, np.float32)}, "dark on light .*--invert-contrast"),
        ({"alignments3D__split": np.zeros(4, np.uint32)}, "split is 0 for all particles: no half-sets"),
        ({"alignments3D__split": np.full(4, 9, np.uint32)}, "split is neither 0 nor 1"),
        ({"alignments3D__psize_A": None}, "no alignments3D/psize_A: shifts are taken as pixels of the images"),
        ({"alignments3D__alpha": np.array([1, -1, 1, 1], np.float32)}, "alpha of 1 particles is negative"),
        ({"ctf__scale": np.array([1, -1, 0, 1], np.float32)}, "ctf/scale of 2 particles is not above 0"),
        ({"ctf__df1_A": None}, "no defocus"),
        ({"filament__arc_length_A": np.ones(4, np.float32)}, "left out: filament/arc_length_A"),
        ({"alignments3D__pose": None}, "no alignments: the particles have no poses"),
        ({"ctf__tilt_A": np.ones((4, 2), np.float32)}, "sign of ctf/tilt_A"),
    ],
)
def test_what_is_told(changes, words, tmp_path):
    assert re.search(words, read(write_cs(tmp_path / "a.cs", **changes))[2])


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"blob__sign": np.array([1, -1, 1, 1], np.float32)}, "1 of 4 images are dark on light"),
        ({"blob__path": None}, "has no blob/path; give the passthrough file"),
        ({"blob__path": np.array([b"a", b"", b"b", b"c"])}, "row 2: blob/path is empty"),
        ({"blob__path": np.ones(4)}, "blob/path is no text"),
        ({"blob__psize_A": np.zeros(4, np.float32)}, "row 1: blob/psize_A is not above 0"),
        ({"blob__shape": np.full((4, 2), (8, 9), np.uint32)}, "row 1: the image has 9 × 8 px"),
        ({"blob__shape": np.full(4, 8, np.uint32)}, r"blob/shape is uint32 of shape \(\)"),
        ({"alignments3D__pose": np.full((4, 3), np.nan, np.float32)}, "row 1: rlnAngleRot is not finite"),
        ({"alignments3D__pose": np.full((4, 2), 1, np.float32)}, r"pose is float32 of shape \(2,\)"),
        ({"alignments3D__class": np.full(4, np.nan, np.float32)}, "alignments3D/class is nan"),
        ({"ctf__tilt_A": np.full((4, 2), np.inf, np.float32)}, "not finite"),
        ({"ctf__tilt_A": np.ones((4, 2), np.float32), "ctf__accel_kv": None}, "no voltage and Cs"),
        ({"uid": np.zeros(0, np.uint64)}, "no particles"),
    ],
)
def test_what_is_refused(changes, words, tmp_path):
    columns = cs_columns(4, **changes)
    if "uid" in changes:
        columns = {name: values[:0] for name, values in columns.items()}
    with pytest.raises(InputError, match=rf"a\.cs.*{words}"):
        read(save_cs(tmp_path / "a.cs", structured(columns)))[0].tables()
