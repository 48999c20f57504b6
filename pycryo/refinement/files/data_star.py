"""The particles of an iteration with the poses found, as RELION's run_data.star."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.geometry.rotations import quaternion_to_euler
from pycryo.io.particles import Particles, write_particles
from pycryo.refinement.outcome import Poses


def write_data_star(
    path: Path, every: Particles, poses: Poses, half: NDArray[np.int8], norm: NDArray[np.float64]
) -> None:
    """Write the particles that have poses, with all columns of their file, atomically.

    `half` and `norm` (n_all,) are half-set and norm of every particle.
    """
    particles = every.subset(poses.rows)
    columns = pose_columns(poses, half[poses.rows])
    columns["rlnNormCorrection"] = norm[poses.rows]
    if poses.defocus_change.any():
        columns["rlnDefocusU"] = particles.defocus_u + poses.defocus_change
        columns["rlnDefocusV"] = particles.defocus_v + poses.defocus_change
    write_particles(path, particles, columns)


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
