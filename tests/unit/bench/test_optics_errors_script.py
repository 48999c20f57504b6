"""Differences of found optics to the truth in standard errors, by hand."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pycryo.io.star import write_star
from pycryo.io.table import make_table

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench" / "refinement"))
import optics_errors

PARTS = {
    "beam tilt": {"added": [0.1, 0.2], "standard_error": [0.05, 0.1]},
    "trefoil": {"not_significant": [0.0, 0.0], "standard_error": [2.0, 2.0]},
    "fourth order": {"added": [0.0] * 5, "standard_error": [1.0, 2.0, 4.0, 5.0, 10.0]},
    "magnification": {"added": [1.0, 0.5, -1.0], "standard_error": [0.5, 0.5, 0.5]},
    "phase shift": {"added": [3.0], "standard_error": [1.0]},
}


def star(path, tilt, odd, even, matrix):
    labels = ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11")
    optics = {
        "rlnOpticsGroup": [1], "rlnOpticsGroupName": ["one"], "rlnVoltage": [300.0], "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1], "rlnImagePixelSize": [1.0], "rlnImageSize": [16], "rlnImageDimensionality": [2],
        "rlnBeamTiltX": [tilt[0]], "rlnBeamTiltY": [tilt[1]], "rlnOddZernike": [odd], "rlnEvenZernike": [even],
        **{label: [value] for label, value in zip(labels, matrix, strict=True)},
    }  # fmt: skip
    particles = {
        "rlnImageName": ["1@a.mrcs"], "rlnOpticsGroup": [1],
        "rlnDefocusU": [1e4], "rlnDefocusV": [1e4], "rlnDefocusAngle": [0.0],
    }  # fmt: skip
    write_star(path, {"optics": make_table(optics), "particles": make_table(particles)})


@pytest.fixture
def files(tmp_path):
    star(tmp_path / "truth.star", (0.0, 0.1), "[0,0,4,0,0,-6]", "[0,0,0,0,1,2,3,4,5]", (1.0, 0.0, 0.0, 1.0))
    found = "[9,9,9,9,11,6,4,6,0]"
    star(tmp_path / "particles_ctf_refine.star", (0.1, 0.2), "[0,0,0,0,0,0]", found, (1.01, 0.005, 0.005, 0.99))
    groups = [{"name": "one", "particles": 1, "found": PARTS}]
    (tmp_path / "optics.json").write_text(json.dumps({"groups": groups}))
    return tmp_path


def test_deviations(files):
    ((name, away, claimed),) = optics_errors.deviations(files / "truth.star", files)
    assert name == "one"
    assert claimed == {"beam tilt", "fourth order", "magnification"}
    expected = {
        "beam tilt": [2, 1],
        "trefoil": [-2, 3],
        "fourth order": [1, 1, 1, -1, 1],
        "magnification": [2, 1, -2],
    }
    assert away.keys() == expected.keys()
    for kind, values in expected.items():
        np.testing.assert_allclose(away[kind], values, atol=1e-6)


def test_only_what_was_claimed_counts(files, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["optics_errors.py", f"{files / 'truth.star'}={files}"])
    optics_errors.main()
    lines = capsys.readouterr().out.splitlines()
    assert "trefoil (-2.0 3.0)" in lines[0]
    assert lines[-1] == f"aberrations: 7 values, root mean square {np.sqrt(10 / 7):.2f}, largest 2.0"
