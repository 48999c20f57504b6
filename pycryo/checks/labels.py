"""Columns of a STAR file that are not used: those of helices, and misspelt names of columns that would be."""

from __future__ import annotations

import difflib

from pycryo.findings import Findings
from pycryo.io.particles import Particles
from pycryo.io.selection import as_table

# Columns that say something to pycryo.
KNOWN = (
    *("rlnImageName", "rlnMicrographName", "rlnOpticsGroup", "rlnOpticsGroupName", "rlnRandomSubset"),
    *("rlnClassNumber", "rlnImageSize", "rlnImagePixelSize", "rlnPixelSize", "rlnDetectorPixelSize"),
    *("rlnMagnification", "rlnImageDimensionality", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"),
    *("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnPhaseShift", "rlnCtfBfactor", "rlnCtfScalefactor"),
    *("rlnBeamTiltX", "rlnBeamTiltY", "rlnOddZernike", "rlnEvenZernike"),
    *("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11"),
    *("rlnCtfDataAreCtfPremultiplied", "rlnCtfDataArePhaseFlipped"),
    *("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginX", "rlnOriginY", "rlnOriginXAngst", "rlnOriginYAngst"),
    *("rlnAngleRotPrior", "rlnAngleTiltPrior", "rlnAnglePsiPrior", "rlnOriginXPrior", "rlnOriginYPrior"),
    *("rlnOriginXPriorAngst", "rlnOriginYPriorAngst", "rlnParticleFigureOfMerit"),
)
# Names that resemble those and are right: columns of RELION that mean something else.
_OTHERS = frozenset(
    (
        *("rlnOriginZ", "rlnOriginZAngst", "rlnOriginZPrior", "rlnOriginZPriorAngst", "rlnImageId", "rlnImageWeight"),
        *("rlnImageSizeX", "rlnImageSizeY", "rlnImageSizeZ", "rlnImageOriginalName", "rlnReconstructImageName"),
        *("rlnMicrographNameNoDW", "rlnMicrographId", "rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize"),
        *("rlnMicrographMovieName", "rlnBeamTiltClass", "rlnBeamTiltGroupName", "rlnCtfFigureOfMerit", "rlnCtfImage"),
        *("rlnCtfMaxResolution", "rlnCtfValue", "rlnClassIndex", "rlnClassPriorOffsetX", "rlnClassPriorOffsetY"),
        *("rlnAnglePsiFlip", "rlnAnglePsiFlipRatio", "rlnAnglePsiProbability", "rlnAngleRotFlipRatio"),
        *("rlnMagnificationCorrection", "rlnOpticsStarFile", "rlnPhaseShiftStart", "rlnOriginalImageSize"),
        *(
            "rlnTomoSubtomogramRot",
            "rlnTomoSubtomogramTilt",
            "rlnTomoSubtomogramPsi",
            "rlnParticleName",
            "rlnParticleId",
        ),
    )
)
_HELICAL = ("rlnHelical", "rlnAnglePsiFlip", "rlnAngleRotFlip")
_PRIORS = ("rlnAngleTiltPrior", "rlnAnglePsiPrior")
# Share of the letters that two names must have in common.
_ALIKE = 0.86


def check_labels(particles: Particles, findings: Findings, *, uses_priors: bool) -> None:
    """Warn about columns of helices, and about names that look like one that is known.

    Parameters
    ----------
    particles : Particles
    findings : Findings
    uses_priors : bool
        The command takes prior columns.
    """
    path, optics = particles.path, as_table(particles.tables.get("optics"))
    columns = {} if optics is None else {"optics": optics.columns}
    columns[particles.table_name] = particles.table.columns
    labels = columns[particles.table_name]
    helical = [label for label in labels if label.startswith(_HELICAL)]
    if helical and not uses_priors:
        helical += [label for label in _PRIORS if label in labels]
    if helical:
        findings.warn(
            "helical",
            f"{path}: {_listed(helical)} not used: helices are refined as single particles, without helical symmetry "
            "and priors",
        )
    present = {label for each in columns.values() for label in each}
    for name, each in columns.items():
        for label in each:
            meant = likely_label(label)
            if meant is not None and meant not in present:
                findings.warn(
                    "label", f"{path}, data_{name}: the column {label} is not known and not used; is it {meant}?"
                )


def likely_label(label: str) -> str | None:
    """The known column that a name seems to mean; None for one that is known, or like none."""
    if label in KNOWN or label in _OTHERS or label.startswith(_HELICAL):
        return None
    bare = {_bare(each): each for each in KNOWN}
    if _bare(label) in bare:
        return bare[_bare(label)]
    if not label.startswith("rln"):
        return None
    close = difflib.get_close_matches(_bare(label), bare, 1, _ALIKE)
    return bare[close[0]] if close else None


def _bare(label: str) -> str:
    """Small letters and digits only, without prefix; RELION wrote the magnification in two ways."""
    letters = "".join(c for c in label.lower() if c.isalnum())
    return letters.removeprefix("rln").replace("magmatrix", "magmat")


def _listed(labels: list[str]) -> str:
    return f"the columns {', '.join(labels)} are" if len(labels) > 1 else f"the column {labels[0]} is"
