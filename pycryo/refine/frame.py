"""The frame of the start reference: a refinement may turn and move its map as a whole, and is brought back at the end.

In the final iteration poses are found in the frame that the references have come to; the images are inserted with poses
in the frame of the start reference. So no map is resampled.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.support import Posterior
from pycryo.geometry.rotations import multiply, quaternion_to_matrix
from pycryo.maps import Map
from pycryo.model.slab_map import SlabMap, from_root, gather, resample_grid
from pycryo.parallel.agree import on_root
from pycryo.parallel.comm import Comm
from pycryo.refine.start import to_grid
from pycryo.refine.state import Setup, State
from pycryo.registration import Motion, register

log = logging.getLogger(__name__)

# Fourier px that are compared, at most: a tenth of a degree is told by them already.
_MOST = 12
# Points of the maps that are compared, over the field of view: not below twice the finest wave.
_POINTS = 32
# A start that resembles the map less has no frame to go back to: a blob.
_LEAST_CORRELATION = 0.7
# χ² that a motion must explain for each free parameter.
_LEAST_GAIN = 3.0


def coarse(comm: Comm, start: Map | None) -> SlabMap:
    """What is kept of the start reference of rank 0: its coarse features on a small grid. Collective."""
    return from_root(comm, None if start is None else to_grid(start, min(start.box, _POINTS)))


def motion_to_start(setup: Setup, half_maps: tuple[SlabMap, SlabMap], shell: float) -> Motion | None:
    """How the map moved against the start: read at M u + c it is like it at u. Collective.

    The half-maps are compared as they were reconstructed, up to their resolution, `shell`: of the references, which
    end with the mask, the same motion would look many times as significant. None if the symmetry or the start leave the
    motion open, if priors hold the poses, or if it is no more than chance.
    """
    if setup.prior is not None:
        return None
    first, second = half_maps
    mean = replace(first, data=np.float32(0.5) * (first.data + second.data))
    here, start = gather(resample_grid(mean, setup.start.box)), gather(setup.start)

    def find() -> Motion | None:
        assert here is not None
        assert start is not None
        found = register(here, start, setup.group, r_high=min(_MOST, shell), diameter=setup.diameter)
        if found is None:
            return None
        text = f"turn of {found.motion.angle:.2f}°, move of {found.motion.distance:.2f} Å"
        figures = f"correlation {found.correlation:.2f}, χ² {found.gain:.0f} for {found.n_free} parameters"
        if found.correlation < _LEAST_CORRELATION or not found.is_small:
            log.info("frame: the map stays where it is, it does not resemble the reference (%s; %s)", text, figures)
            return None
        if found.gain < _LEAST_GAIN * found.n_free:
            log.info("frame: the map is where the reference was (%s; %s)", text, figures)
            return None
        log.info("frame: map moved back onto the reference (%s; %s)", text, figures)
        return found.motion

    # Measured by one: processors of another kind might round otherwise.
    return on_root(setup.share.comm, find)


def moved_state(setup: Setup, state: State, motion: Motion | None) -> State:
    """The state with the poses in the map read at M u + c; its references stay where they are."""
    pixel_size = setup.share.particles.pixel_size
    first, second = (
        None if found is None else (found[0], moved(found[1], motion, pixel_size[found[0]]))
        for found in state.posteriors
    )
    return replace(state, posteriors=(first, second))


def moved(posterior: Posterior, motion: Motion | None, pixel_size: NDArray[np.float64]) -> Posterior:
    """Poses in the map read at M u + c, from those in the map; `pixel_size` (n,) of the images, Å."""
    if motion is None:
        return posterior
    turn, support = motion.quaternion, posterior.support

    def shifted(quaternion: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
        """A point M u + c is seen at A (M u + c) + t."""
        per_px = pixel_size.reshape((-1,) + (1,) * (shift.ndim - 1))
        return np.asarray(shift + (quaternion_to_matrix(quaternion)[..., :2, :] @ motion.move) / per_px)

    return replace(
        posterior,
        support=replace(
            support,
            quaternion=multiply(support.quaternion, turn),
            shift=shifted(support.quaternion, support.shift),
        ),
        mode_quaternion=multiply(posterior.mode_quaternion, turn),
        mode_shift=shifted(posterior.mode_quaternion, posterior.mode_shift),
    )
