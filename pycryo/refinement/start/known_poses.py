"""A refinement that begins at the poses in the STAR file, without a global search (``--local``)."""

from __future__ import annotations

import logging

import numpy as np

from pycryo.errors import InputError
from pycryo.filter.support import Posterior, RowsPosterior, Support
from pycryo.geometry.symmetry import Symmetry
from pycryo.io.particles import Particles
from pycryo.maps.density import Map
from pycryo.maps.slab_map import gather
from pycryo.parallel.comm import Comm
from pycryo.refinement.data.prior import PosePrior, poses_of, read_prior
from pycryo.refinement.maximization.references import JOIN_RESOLUTION
from pycryo.refinement.options import RefineOptions
from pycryo.refinement.plan import WIDEN
from pycryo.refinement.reconstruct import ReconstructOptions, reconstruct_slabs
from pycryo.refinement.setup import Setup

log = logging.getLogger(__name__)

# Widths of the first kernels, degrees and as a share of the reference's low-pass.
_SIGMA_ANG = 3.0
_SIGMA_OFFSET = 0.1


def _sigma(options: RefineOptions) -> tuple[float, float]:
    """Widths of the first kernels: radians, Å."""
    return np.deg2rad(options.sigma_ang or _SIGMA_ANG), options.sigma_offset or _SIGMA_OFFSET * options.ini_high


def pose_prior(particles: Particles, group: Symmetry, options: RefineOptions) -> PosePrior | None:
    """What restrains the poses: `sigma_ang`, `sigma_offset` if they were given, and prior columns of the file.

    Raises
    ------
    InputError
        If a local start is asked for, and the file has no poses or incomplete prior columns.
    """
    if not options.local:
        return None
    asked = None if options.sigma_ang is None else np.deg2rad(options.sigma_ang)
    found = read_prior(particles, group, asked, options.sigma_offset, *_sigma(options))
    if found is not None:
        rotation = "free" if found.sigma_rotation is None else f"{np.rad2deg(found.sigma_rotation):.2f}°"
        shift = "free" if found.sigma_shift is None else f"{found.sigma_shift:.2f} Å"
        log.info("poses are restrained: standard deviation of rotations %s, of shifts %s per axis", rotation, shift)
    return found


def reference_from_poses(comm: Comm, particles: Particles, options: RefineOptions) -> Map | None:
    """The reference, on rank 0, that the poses in the file make. Collective.

    Raises
    ------
    InputError
        If the file has no poses, or detail is asked for that half-sets must not share.
    """
    poses_of(particles)
    if options.ini_high < JOIN_RESOLUTION:
        raise InputError(
            f"ini-high is {options.ini_high:g} Å, but without --ref both half-sets begin with one map, which must not "
            f"be finer than {JOIN_RESOLUTION:g} Å: give --ref, or a larger --ini-high"
        )
    names = ("symmetry", "padding", "ctf", "invert_contrast", "max_bad_fraction", "model", "single", "memory")
    same = ReconstructOptions(**{name: getattr(options, name) for name in names})
    found = reconstruct_slabs(particles, same, comm=comm)
    log.info("reference: made of the poses in the file")
    return gather(found.map)


def first_posteriors(setup: Setup) -> tuple[RowsPosterior | None, RowsPosterior | None]:
    """This rank's poses in the file, or the centres of their priors, as posteriors of one point."""
    first, second = (_posterior(setup, half) for half in (0, 1))
    return first, second


def _posterior(setup: Setup, half: int) -> RowsPosterior | None:
    particles, rows = setup.partition.particles, setup.partition.rows_of(half)
    if not len(rows):
        return None
    prior = setup.prior
    start = poses_of(particles) if prior is None else (prior.quaternion, prior.shift)
    quaternion, shift = (values[rows] for values in start)
    pixel_size = particles.pixel_size[rows]
    shift /= pixel_size[:, None]
    sigma_rotation, sigma_shift = _sigma(setup.options)
    # With references of their own, the classes in the file count.
    classes = np.clip(particles.class_number[rows] - 1, 0, len(setup.starts) - 1).astype(np.int32)
    zeros = np.zeros((5, len(rows)))
    return rows, Posterior(
        Support(quaternion[:, None], shift[:, None], np.ones((len(rows), 1)), classes[:, None]),
        mode_quaternion=quaternion,
        mode_shift=shift,
        mode_class=classes,
        class_probability=np.eye(setup.options.classes)[classes],
        spread_rotation=np.full(len(rows), sigma_rotation / WIDEN),
        spread_shift=sigma_shift / WIDEN / pixel_size,
        p_max=zeros[0],
        n_significant=zeros[1],
        log_evidence=zeros[2],
        n_slices=np.zeros(len(rows), np.int64),
        n_phases=np.zeros(len(rows), np.int64),
        defocus_change=zeros[3],
        spread_defocus=zeros[4],
    )


def first_sigma_shift(setup: Setup) -> float:
    """Spread of the shifts in the file over the particles, per axis, Å."""
    shift = poses_of(setup.partition.particles)[1][setup.partition.half >= 0]
    # The median of a Rayleigh distribution is 1.1774 σ.
    return float(np.median(np.hypot(*shift.T))) / 1.1774
