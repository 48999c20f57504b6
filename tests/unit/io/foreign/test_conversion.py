"""What the readers of all programs share."""

from pathlib import Path

import numpy as np
import pytest

from pycryo.errors import InputError
from pycryo.io.foreign.conversion import Converted, Given, distinct, grouped_optics, image_names, numbers_text, whole

PATH = Path("a.par")


def test_distinct_rows(rng):
    columns = [rng.integers(0, 3, 50).astype(float), rng.integers(0, 2, (50, 2)).astype(np.float32)]
    first, group = distinct(columns)
    rows = [(a, *b) for a, b in zip(columns[0].tolist(), columns[1].tolist(), strict=True)]
    values = sorted(set(rows))
    assert [rows[i] for i in first] == values
    assert [values[i] for i in group] == rows


def test_what_particles_share():
    """The user's word goes first; what nobody knows is not there."""
    given = Given(voltage=200.0, spherical_aberration=0.0)
    shared = given.shared({"rlnVoltage": 300.0, "rlnImagePixelSize": [1.0, 2.0, 1.0]}, 3)
    assert {label: values.tolist() for label, values in shared.items()} == {
        "rlnImagePixelSize": [1, 2, 1],
        "rlnVoltage": [200, 200, 200],
        "rlnSphericalAberration": [0, 0, 0],
    }
    optics, group = grouped_optics(shared)
    assert optics["rlnImagePixelSize"].tolist() == [1, 2]
    assert group.tolist() == [0, 1, 0]


def test_names_and_numbers():
    assert image_names(np.array([0, 12]), np.array(["a", "b c"], object)).tolist() == ["000001@a", "000013@b c"]
    assert numbers_text(np.array([0.0, -1e-7, 1 / 3])) == "[0,-1e-07,0.333333333]"
    assert whole(PATH, "x", np.array([1.0, 2.0])).tolist() == [1, 2]
    for bad in (0.5, -1.0, np.nan, 1e300):
        with pytest.raises(InputError, match=r"a\.par, row 2: x is .*, not a whole number"):
            whole(PATH, "x", np.array([1.0, bad]))


def converted(**columns):
    particles = {"rlnImageName": np.array(["1@a.mrcs", "2@a.mrcs"], object), **columns}
    return Converted(PATH, particles, {"rlnImagePixelSize": np.array([1.5])}, np.zeros(2, np.int64))


def test_tables():
    tables = converted(rlnDefocusU=np.array([np.nan, 1.0])).tables()
    assert tables["optics"].columns[:3] == ("rlnOpticsGroupName", "rlnOpticsGroup", "rlnImagePixelSize")
    assert tables["particles"].columns == ("rlnImageName", "rlnDefocusU", "rlnOpticsGroup")
    with pytest.raises(InputError, match=r"a\.par, row 2: rlnAngleRot is not finite"):
        converted(rlnAngleRot=np.array([0.0, np.inf])).tables()
    assert not converted().has_mrc
    assert converted(rlnImageName=np.array(["1@a.mrcs", "1@b.MRC"], object)).has_mrc
