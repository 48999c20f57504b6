"""cisTEM's STAR files."""

import numpy as np
import pytest
from foreign_files import CISTEM

from pycryo.errors import InputError
from pycryo.io.foreign.conversion import Given
from pycryo.io.foreign.formats import convert


def read(folder, text=CISTEM, **given):
    (folder / "a.star").write_text(text)
    return convert([folder / "a.star"], Given(**given))


def test_columns(tmp_path):
    found = read(tmp_path)
    particles = {label: values.tolist() for label, values in found.particles.items()}
    assert particles["rlnImageName"] == ["000001@a b.mrc", "000003@a b.mrc"]
    angles = [particles[f"rlnAngle{name}"] for name in ("Rot", "Tilt", "Psi")]
    assert angles == [[30, 200], [20, 95], [10, -10]]
    assert particles["rlnOriginXAngst"] == [-1.5, 0.5]
    assert particles["rlnOriginYAngst"] == [2.25, -0.25]
    assert particles["rlnDefocusU"] == [12000, 13000]
    assert particles["rlnDefocusV"] == [11000, 12500]
    assert particles["rlnDefocusAngle"] == [45, -30]
    np.testing.assert_allclose(particles["rlnPhaseShift"], [np.degrees(0.5), 0])
    assert particles["rlnRandomSubset"] == [1, 2]
    assert particles["cisTEMScore"] == [12.5, 10.5]
    optics = {label: values.tolist() for label, values in found.optics.items()}
    assert optics == {
        "rlnImagePixelSize": [1.5],
        "rlnVoltage": [300],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.07],
    }
    assert found.notes == []


def test_what_the_user_says_goes_first(tmp_path):
    found = read(tmp_path, stack="other.mrcs", pixel_size=2.0)
    assert found.particles["rlnImageName"][0] == "000001@other.mrcs"
    assert found.optics["rlnImagePixelSize"].tolist() == [2.0]


def test_a_beam_tilt_is_told(tmp_path):
    assert "cisTEMBeamTiltX" in read(tmp_path, CISTEM.replace("0.000 1", "0.100 1")).notes[0]


def test_no_particles(tmp_path):
    with pytest.raises(InputError, match=r"a\.star has no particles"):
        read(tmp_path, CISTEM[: CISTEM.index("  1  10.00")])


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("_cisTEMStackFilename", "_other", "does not name the stack of the particles; give it by --stack"),
        ("_cisTEMPixelSize", "_other", "give it by --pixel-size"),
        ("  3 -10.00", "  0 -10.00", "row 2: cisTEMPositionInStack is 0"),
        ("  95.00", "  x", "cisTEMAngleTheta is 'x'"),
    ],
)
def test_what_is_refused(old, new, words, tmp_path):
    assert old in CISTEM
    with pytest.raises(InputError, match=rf"a\.star.*{words}"):
        read(tmp_path, CISTEM.replace(old, new))
