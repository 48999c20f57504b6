"""FREALIGN's .par files of versions 8 and 9, and cisTEM's."""

import numpy as np
import pytest
from foreign_files import PAR_8, PAR_9

from pycryo.errors import InputError
from pycryo.io.foreign.conversion import Given
from pycryo.io.foreign.formats import convert


def read(folder, text, **given):
    (folder / "a.par").write_text(text)
    return convert([folder / "a.par"], Given(**given))


def check_poses(particles, sizes=(1.0, 1.0)):
    angles = [particles[f"rlnAngle{name}"].tolist() for name in ("Rot", "Tilt", "Psi")]
    assert angles == [[30, 200], [20, 95], [10, -10]]
    np.testing.assert_allclose(particles["rlnOriginXAngst"], -np.multiply(sizes, [1.5, -0.5]))
    np.testing.assert_allclose(particles["rlnOriginYAngst"], -np.multiply(sizes, [-2.25, 0.25]))
    assert particles["rlnDefocusU"].tolist() == [12000, 13000]
    assert particles["rlnDefocusV"].tolist() == [11000, 12500]
    assert particles["rlnDefocusAngle"].tolist() == [45, -30]


def test_version_9(tmp_path):
    """Shifts in Å; what its comments say of the microscope is taken over."""
    found = read(tmp_path, PAR_9)
    check_poses(found.particles)
    assert found.particles["rlnImageName"].tolist() == ["000001@stack.mrc", "000003@stack.mrc"]
    assert found.particles["rlnGroupNumber"].tolist() == [7, 8]
    assert found.particles["frealignScore"].tolist() == [12.5, 10.5]
    assert {label: values.tolist() for label, values in found.optics.items()} == {
        "rlnImagePixelSize": [1.5],
        "rlnVoltage": [300],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.07],
    }


def test_asterisks_where_a_number_had_no_room(tmp_path):
    """FORTRAN's; of what a particle does not need."""
    found = read(tmp_path, PAR_9.replace("-1000", "*****"))
    check_poses(found.particles)
    assert "frealignLogp" not in found.particles
    assert "frealignScore" in found.particles
    with pytest.raises(InputError, match=r"DF1 of particle 1 is '\*+'"):
        read(tmp_path, PAR_9.replace("12000.0", "*******"))


def test_version_8(tmp_path):
    """Shifts in px: here of 1.5 Å, so that they are those of the other file."""
    found = read(tmp_path, PAR_8, stack="s.mrcs", pixel_size=1.5)
    check_poses(found.particles, (1.0, 1.5))
    assert "rlnVoltage" in found.notes[1]
    starred = read(tmp_path, PAR_8.replace("50.00   0.00", "*****   0.00"), stack="s.mrcs", pixel_size=1.5)
    check_poses(starred.particles, (1.0, 1.5))
    in_angstrom = read(tmp_path, PAR_8, stack="s.mrcs", pixel_size=1.5, shifts="angst").particles
    np.testing.assert_allclose(in_angstrom["rlnOriginXAngst"], [-1.0, 0.5])


def test_cistem(tmp_path):
    """One more column, in radians, with and without its names."""
    lines = [line for line in PAR_9.splitlines() if not line.startswith("C")]
    lines = [line.replace("45.00", "45.00  0.50").replace("-30.00", "-30.00  0.00") for line in lines]
    head = "C PSI THETA PHI SHX SHY MAG INCLUDE DF1 DF2 ANGAST PSHIFT OCC LogP SIGMA SCORE CHANGE"
    for text in ("\n".join(lines), "\n".join([head, *lines])):
        found = read(tmp_path, text, stack="s.mrc", pixel_size=1.5)
        check_poses(found.particles)
        np.testing.assert_allclose(found.particles["rlnPhaseShift"], [np.degrees(0.5), 0])
        assert "rlnGroupNumber" not in found.particles


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "holds no particles"),
        ("C only a comment\n", "holds no particles"),
        ("1 2 3\n", "has 3 columns"),
        (PAR_8.replace("30.00", "x", 1), "PHI of particle 1 is 'x'"),
        (PAR_8.replace("30.00", "nan", 1), "PHI of particle 1 is 'nan'"),
        (PAR_8.rstrip() + " 7\n", "line 3: 14 values, 13 in the lines before"),
        (PAR_8.replace("      3", "    1.5"), "row 2: the number of the image is 1.5"),
    ],
)
def test_what_is_refused(text, words, tmp_path):
    with pytest.raises(InputError, match=rf"a\.par.*{words}"):
        read(tmp_path, text, stack="s.mrcs", pixel_size=1.5)


def test_what_must_be_given(tmp_path):
    with pytest.raises(InputError, match="give it by --stack"):
        read(tmp_path, PAR_8, pixel_size=1.5)
    with pytest.raises(InputError, match="give it by --pixel-size"):
        read(tmp_path, PAR_8, stack="s.mrcs")
    with pytest.raises(InputError, match="--pixel-size must be above 0"):
        Given(pixel_size=0.0)
    with pytest.raises(InputError, match=r"cannot read .*b\.par"):
        convert([tmp_path / "b.par"], Given(stack="s.mrcs", pixel_size=1.5))
