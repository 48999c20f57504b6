"""A user with several errors sees all of them at once."""

import logging

import pytest
from particle_files import star_31

from pycryo.checks.inputs import Wanted, examine
from pycryo.errors import InputError

BAD = {"rlnDefocusU": "1.5", "rlnDefocusV": "1.5", "rlnRandomSubset": "7", "rlnAngleRot": "nan", "rlnAngleTilt": "0"}


def test_all_at_once(tmp_path, caplog):
    rows = {"all": BAD | {"rlnAnglePsi": "0", "rlnHelicalTubeID": "1"}, 1: BAD | {"rlnAnglePsi": "0"}}
    rows[1] |= {"rlnImageName": "000009@a.mrcs", "rlnHelicalTubeID": "1"}
    path = star_31(tmp_path, rows=rows, optics={"rlnVoltage": "300000"})
    found = examine(Wanted(particles=path, references=("none.mrc",), mask="no.mrc", low_pass={"--ini-high": 40.0}))
    codes = [each.code for each in found.findings.errors]
    expected = ["stack", "pose", "defocus", "voltage", "low-pass", "reference", "mask"]
    assert sorted(codes) == sorted(expected), found.findings.errors
    assert "half-set" in [each.code for each in found.findings.warnings]
    with pytest.raises(InputError, match="7 errors in the input\n  1"), caplog.at_level(logging.WARNING):
        found.usable(logging.getLogger("pycryo"))
    assert any(each.startswith(f"{path}: the column rlnHelicalTubeID is not used") for each in caplog.messages)


def test_a_table_that_cannot_be_read_and_the_rest(tmp_path):
    path = star_31(tmp_path, rows={0: {"rlnDefocusU": "word"}})
    found = examine(Wanted(particles=path, mask="no.mrc"))
    assert found.particles is None
    assert [each.code for each in found.findings.errors] == ["table", "mask"]
    assert "word" in found.findings.errors[0].text


def test_good_input(tmp_path):
    found = examine(Wanted(particles=star_31(tmp_path)))
    assert found.findings.items == []
    assert found.usable(logging.getLogger("pycryo")).n == 3
