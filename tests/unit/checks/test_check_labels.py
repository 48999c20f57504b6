"""Columns that are not used: helices, and names that look like one that would be."""

import re
from pathlib import Path

import pytest
from particle_files import star_31

import pycryo
from pycryo.checks.labels import KNOWN, check_labels, likely_label
from pycryo.findings import Findings
from pycryo.io.particles import examine_particles


def warnings(path, *, uses_priors=False):
    findings = Findings()
    check_labels(examine_particles(path, Findings()), findings, uses_priors=uses_priors)
    assert not findings.errors
    return "\n".join(each.text for each in findings.warnings)


@pytest.mark.parametrize(
    "label, meant",
    [
        ("rlnMagMatrix_00", "rlnMagMat00"),
        ("rlnDefocusu", "rlnDefocusU"),
        ("DefocusV", "rlnDefocusV"),
        ("rlnDefocsAngle", "rlnDefocusAngle"),
        ("rlnSphericalAberation", "rlnSphericalAberration"),
        ("rlnImagePixelsize", "rlnImagePixelSize"),
        ("rlnBeamTilt_X", "rlnBeamTiltX"),
        ("rlnAngleRott", "rlnAngleRot"),
        ("rlnOriginXAngstrom", "rlnOriginXAngst"),
    ],
)
def test_misspelt(label, meant):
    assert likely_label(label) == meant


@pytest.mark.parametrize(
    "label",
    [
        *("rlnCtfMaxResolution", "rlnMicrographName", "rlnOriginZAngst", "rlnCoordinateX", "rlnAutopickFigureOfMerit"),
        *(
            "rlnGroupName",
            "rlnNormCorrection",
            "rlnLogLikeliContribution",
            "rlnMaxValueProbDistribution",
            "rlnCtfImage",
        ),
        *("rlnNrOfSignificantSamples", "rlnHelicalTubeID", "rlnMicrographOriginalPixelSize", "rlnBeamTiltClass"),
        *("rlnImageOriginalName", "rlnImageDimensionality", "rlnTomoName", "rlnGroupNumber", "myColumn", "rlnImageId"),
    ],
)
def test_right_names_are_left_alone(label):
    assert likely_label(label) is None


def test_every_label_that_is_read_is_known():
    """All that the readers of particles name in their text."""
    folder = Path(pycryo.__file__).parent
    files = [*(folder / "io").glob("*.py"), folder / "refinement" / "data" / "prior.py"]
    named = {label for path in files for label in re.findall(r'"(rln\w+)"', path.read_text("utf-8"))}
    # One is only written, the others are beginnings of labels.
    assert named - set(KNOWN) <= {"rlnMicrographOriginalPixelSize", "rlnBeamTilt", "rlnDefocus", "rlnMagMat"}


def test_misspelt_columns_of_a_file(tmp_path):
    assert warnings(star_31(tmp_path)) == ""
    text = warnings(star_31(tmp_path, optics={"rlnMagMatrix_00": "1.01"}, rows={"all": {"rlnPhaseshift": "90"}}))
    assert "data_optics: the column rlnMagMatrix_00 is not known and not used; is it rlnMagMat00?" in text
    assert "data_particles: the column rlnPhaseshift is not known and not used; is it rlnPhaseShift?" in text
    # The column itself is there as well: a further one does no harm.
    assert warnings(star_31(tmp_path, rows={"all": {"rlnDefocusu": "90"}})) == ""


def test_helices(tmp_path):
    rows = {"all": {"rlnHelicalTubeID": "1", "rlnAnglePsiPrior": "3", "rlnAnglePsiFlipRatio": "0.5"}}
    text = warnings(star_31(tmp_path, rows=rows))
    assert "columns rlnHelicalTubeID, rlnAnglePsiFlipRatio, rlnAnglePsiPrior are not used" in text
    assert "rlnAnglePsiPrior" not in warnings(star_31(tmp_path, rows=rows), uses_priors=True)
    assert warnings(star_31(tmp_path, rows={"all": {"rlnAnglePsiPrior": "3"}})) == ""
