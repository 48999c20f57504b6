"""The model of an iteration as RELION's tables: references, FSC, signal and noise spectra."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycryo.io.star import write_star
from pycryo.io.table import Table, make_table
from pycryo.kernels.shells import shell_counts
from pycryo.maps.fsc import Fsc
from pycryo.refinement.outcome import Outcome
from pycryo.refinement.setup import Setup

# RELION's number for the infinite resolution of shell 0.
_INFINITE = 999.0


def write_model_star(path: Path, setup: Setup, outcome: Outcome, reference_names: list[str]) -> None:
    """Write run_model.star, or that of an iteration, atomically.

    RELION divides the transform of a box px image by box², so its σ² and τ² (per real component) are ours divided by
    box⁴.

    Parameters
    ----------
    path : Path
    setup : Setup
    outcome : Outcome
        Of rank 0.
    reference_names : list of str
        File of each class.
    """
    partition = setup.partition
    optics = partition.particles.optics
    group = partition.particles.optics_group[partition.half >= 0]
    tables: dict[str, Table | dict[str, object]] = {
        "model_general": _general(setup, outcome),
        "model_classes": make_table(
            {
                "rlnReferenceImage": reference_names,
                "rlnClassDistribution": outcome.record.class_share,
                "rlnAccuracyRotations": [outcome.record.spread_rotation] * len(reference_names),
                "rlnAccuracyTranslationsAngst": [outcome.record.spread_shift] * len(reference_names),
                "rlnEstimatedResolution": [maps.fsc.resolution_0143 for maps in outcome.classes],
            }
        ),
        **{f"model_class_{k}": make_table(_spectra(setup, maps.fsc)) for k, maps in enumerate(outcome.classes, 1)},
        "model_groups": make_table(
            {
                "rlnGroupNumber": np.arange(1, len(optics) + 1),
                "rlnGroupName": list(optics.name),
                "rlnGroupNrParticles": np.bincount(group, minlength=len(optics)),
                "rlnGroupScaleCorrection": outcome.state.scale,
            }
        ),
    }
    for g in range(len(optics)):
        tables[f"model_optics_group_{optics.number[g]}"] = make_table(_noise(setup, outcome, g))
    write_star(path, tables)


def _general(setup: Setup, outcome: Outcome) -> dict[str, object]:
    record, poses, optics = outcome.record, outcome.poses, setup.partition.particles.optics
    assert poses is not None
    return {
        "rlnReferenceDimensionality": 3,
        "rlnDataDimensionality": 2,
        "rlnOriginalImageSize": setup.box,
        "rlnCurrentResolution": record.resolution,
        "rlnCurrentImageSize": min(setup.box, 2 * int(np.ceil(record.r_high))),
        "rlnPaddingFactor": float(setup.options.padding),
        "rlnPixelSize": setup.pixel_size,
        "rlnNrClasses": len(outcome.classes),
        "rlnNrBodies": 1,
        "rlnNrGroups": len(optics),
        "rlnNrOpticsGroups": len(optics),
        "rlnTau2FudgeFactor": 1.0,
        "rlnSigmaOffsetsAngst": record.sigma_shift,
        "rlnLogLikelihood": float(poses.log_evidence.sum()),
        "rlnAveragePmax": float(poses.p_max.mean()) if len(poses.p_max) else 0.0,
    }


def _spectra(setup: Setup, fsc: Fsc) -> dict[str, NDArray[np.float64] | NDArray[np.int64]]:
    """Signal-to-noise ratio, FSC and power of the half-maps per shell; columns of data_model_class_1."""
    assert fsc.power is not None
    power = fsc.power.mean(1) * (setup.box / fsc.box) ** 6
    count = shell_counts(fsc.box)[: len(fsc.corrected)]
    likely = np.clip(fsc.corrected, 1e-3, 0.999)
    ssnr = likely / (1 - likely)
    # Per real component, of the signal that both half-maps share.
    tau2 = np.clip(fsc.corrected, 0, 1) * power / (2 * np.maximum(count, 1)) / float(setup.box) ** 4
    return {
        "rlnSpectralIndex": np.arange(len(ssnr)),
        "rlnResolution": fsc.frequency,
        "rlnAngstromResolution": _angstrom(fsc),
        "rlnSsnrMap": ssnr,
        "rlnGoldStandardFsc": fsc.corrected,
        "rlnReferenceSigma2": tau2 / ssnr,
        "rlnReferenceTau2": tau2,
    }


def _angstrom(fsc: Fsc) -> NDArray[np.float64]:
    return np.where(np.isfinite(fsc.resolution), fsc.resolution, _INFINITE)


def _noise(setup: Setup, outcome: Outcome, group: int) -> dict[str, NDArray[np.float64] | NDArray[np.int64]]:
    """Columns of the table of an optics group."""
    optics = setup.partition.particles.optics
    box = int(optics.box[group])
    index = np.arange(box // 2 + 1)
    frequency = index / (box * optics.pixel_size[group])
    return {
        "rlnSpectralIndex": index,
        "rlnResolution": frequency,
        "rlnSigma2Noise": outcome.state.noise[group, : len(index)] / float(box) ** 4,
    }
