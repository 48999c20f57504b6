"""Gaussian priors of the poses of single particles, about the poses or the prior columns of their STAR file."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.geometry.rotations import conjugate, euler_to_quaternion, multiply
from pycryo.geometry.symmetry import Symmetry
from pycryo.io.particles import Particles

Array = NDArray[np.float64]

# What to do where `--local` finds no poses.
NO_POSES = "--local begins at the poses in the file: add them, or leave out --local for a global search"
_ANGLES = ("rlnAngleRotPrior", "rlnAngleTiltPrior", "rlnAnglePsiPrior")
_ORIGINS = ("rlnOriginXPriorAngst", "rlnOriginYPriorAngst")
_PIXEL_ORIGINS = ("rlnOriginXPrior", "rlnOriginYPrior")


@dataclass(frozen=True, slots=True)
class PosePrior:
    """N(0, σ²) per axis of the rotation and of the shift from a centre, for n particles.

    Attributes
    ----------
    group : Symmetry
        The nearest of the equivalents of a centre counts.
    quaternion : (n, 4) float64
    sigma_rotation : float or None
        Radians; None: rotations are not restrained.
    shift : (n, 2) float64
        Where the particle sits, Å.
    sigma_shift : float or None
        Å; None: shifts are not restrained, but for the prior that all particles have in common.
    """

    group: Symmetry
    quaternion: Array
    sigma_rotation: float | None
    shift: Array
    sigma_shift: float | None

    def of(self, rows: NDArray[np.int64]) -> PosePrior:
        """Of some particles, in this order."""
        return replace(self, quaternion=self.quaternion[rows], shift=self.shift[rows])

    def log_rotation(self, rows: NDArray[np.int64], rotations: Array) -> Array:
        """(k, R) log density, 0 at the centre, of rotations (k, R, 4) of the particles `rows` (k,)."""
        if self.sigma_rotation is None:
            return np.zeros(rotations.shape[:2])
        # q·s is c turned by an angle of cosine |q · c·s⁻¹| = cos(angle / 2).
        centres = multiply(self.quaternion[rows][:, None], conjugate(self.group.quaternions))
        cosine = np.abs(rotations @ centres.transpose(0, 2, 1)).max(axis=2)
        angle = 2 * np.arccos(np.minimum(cosine, 1))
        return np.asarray(-0.5 * np.square(angle / self.sigma_rotation))

    def log_shift(self, rows: NDArray[np.int64], shifts: Array, pixel_size: float, common: float) -> Array:
        """(k, T) the same of shifts (k, T, 2); `common` is the σ of the common prior about 0. Both in px."""
        if self.sigma_shift is None:
            return np.asarray(-0.5 * np.square(shifts).sum(-1) / common**2)
        away = shifts * pixel_size - self.shift[rows][:, None]
        return np.asarray(-0.5 * np.square(away).sum(-1) / self.sigma_shift**2)


def poses_of(particles: Particles) -> tuple[Array, Array]:
    """Quaternions (n, 4) and shifts (n, 2), Å, that the file says.

    Raises
    ------
    InputError
        If it has no poses.
    """
    particles.require_poses(NO_POSES)
    quaternion = euler_to_quaternion(particles.rot, particles.tilt, particles.psi)
    return quaternion, -np.stack([particles.origin_x, particles.origin_y], axis=1)


def read_prior(
    particles: Particles,
    group: Symmetry,
    sigma_rotation: float | None,
    sigma_shift: float | None,
    default_rotation: float,
    default_shift: float,
) -> PosePrior | None:
    """The priors that options and file ask for; None if there are none.

    Parameters
    ----------
    particles : Particles
        With poses; prior columns, where the file has them, are the centres instead.
    group : Symmetry
    sigma_rotation, sigma_shift : float or None
        Radians and Å that were asked for; None: restrained only if the file has prior columns.
    default_rotation, default_shift : float
        Radians and Å for files with prior columns.

    Raises
    ------
    InputError
        If there are no poses, or if prior columns are incomplete or not finite.
    """
    quaternion, shift = poses_of(particles)
    angles = _prior_columns(particles, _ANGLES)
    if angles is not None:
        quaternion, sigma_rotation = euler_to_quaternion(*angles), sigma_rotation or default_rotation
    origins = _prior_columns(particles, _ORIGINS)
    if origins is None and (pixels := _prior_columns(particles, _PIXEL_ORIGINS)) is not None:
        origins = pixels * particles.pixel_size
    if origins is not None:
        shift, sigma_shift = -origins.T, sigma_shift or default_shift
    if sigma_rotation is None and sigma_shift is None:
        return None
    return PosePrior(group, quaternion, sigma_rotation, shift, sigma_shift)


def _prior_columns(particles: Particles, labels: tuple[str, ...]) -> Array | None:
    """(n_label, n) values of the particles; None if the file has none of the columns."""
    table = particles.table
    there = [label for label in labels if label in table.columns]
    if not there:
        return None
    if missing := [label for label in labels if label not in there]:
        raise InputError(
            f"{particles.path} has {', '.join(there)}, but no {', '.join(missing)}; --local needs all of them or none: "
            "add or remove columns"
        )
    columns = table.values(labels)
    values = np.stack([columns[label][particles.rows] for label in labels])
    for label, column in zip(labels, values, strict=True):
        if np.any(bad := ~np.isfinite(column)):
            raise InputError(
                f"{particles.path}, row {int(particles.rows[np.argmax(bad)]) + 1}: {label} is not finite; correct or "
                "remove the row"
            )
    return values
