"""The particles of an iteration with the poses found, as RELION's run_data.star, and those that are left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.geometry.rotations import quaternion_to_euler
from pycryo.io.particles import Particles, write_particles
from pycryo.refinement.data.left_out import LeftOut
from pycryo.refinement.optics.change import Change, changed

if TYPE_CHECKING:
    from pycryo.refinement.outcome import Poses

# Why a particle is left out; RELION keeps columns that it does not know.
REASON_LABEL = "pycryoReason"


def write_data_star(
    path: Path,
    every: Particles,
    poses: Poses,
    half: NDArray[np.int8],
    norm: NDArray[np.float64],
    optics_changes: Mapping[int, Change] | None = None,
) -> None:
    """Write the particles that have poses, with all columns of their file, atomically; see `found_columns`."""
    write_particles(path, *found_columns(every, poses, half, norm, optics_changes))


def found_columns(
    every: Particles,
    poses: Poses,
    half: NDArray[np.int8],
    norm: NDArray[np.float64],
    optics_changes: Mapping[int, Change] | None = None,
) -> tuple[Particles, dict[str, ArrayLike]]:
    """The particles that have poses, and the columns of what was found.

    `half` and `norm` (n_all,) are half-set and norm of every particle, `optics_changes` what was found of its group.
    """
    particles = changed(every, optics_changes or {}).subset(poses.rows)
    columns = pose_columns(poses, half[poses.rows])
    columns["rlnNormCorrection"] = norm[poses.rows]
    if optics_changes:
        columns["rlnDefocusAngle"] = particles.defocus_angle
    if poses.defocus_change.any() or optics_changes:
        columns["rlnDefocusU"] = particles.defocus_u + poses.defocus_change
        columns["rlnDefocusV"] = particles.defocus_v + poses.defocus_change
    return particles, columns


def write_rejected(path: Path, particles: Particles, left_out: LeftOut) -> None:
    """Write the particles that are left out, with the reason in a column of its own; no file if there are none.

    Raises
    ------
    InputError, RunError
        If the file cannot be written.
    """
    if len(left_out.rows):
        write_particles(path, particles.subset(left_out.rows), {REASON_LABEL: left_out.reasons})
    else:
        path.unlink(missing_ok=True)


def pose_columns(poses: Poses, half: NDArray[np.int8]) -> dict[str, ArrayLike]:
    """RELION's columns of what was found for each particle.

    Parameters
    ----------
    poses : Poses
    half : (n,) int8
        Half-set of each of them, 0 or 1.
    """
    rot, tilt, psi = quaternion_to_euler(poses.quaternion)
    return {
        "rlnAngleRot": rot,
        "rlnAngleTilt": tilt,
        "rlnAnglePsi": psi,
        "rlnOriginXAngst": -poses.shift[:, 0],
        "rlnOriginYAngst": -poses.shift[:, 1],
        "rlnClassNumber": poses.class_index.astype(np.int64) + 1,
        "rlnRandomSubset": half.astype(np.int64) + 1,
        "rlnMaxValueProbDistribution": poses.p_max,
        "rlnLogLikeliContribution": poses.log_evidence,
        "rlnNrOfSignificantSamples": np.maximum(1, np.rint(poses.n_significant)).astype(np.int64),
        "rlnParticleFigureOfMerit": poses.figure_of_merit,
    }
