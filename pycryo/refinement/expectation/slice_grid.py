"""The grid of slices and shifts of a global search, chosen by resolution and particle size (docs/method.md)."""

from __future__ import annotations

import numpy as np

from pycryo.filter.draws import normal
from pycryo.geometry.grids import rotation_count, shift_grid
from pycryo.refinement.expectation.scan import Scan, make_scan
from pycryo.refinement.setup import Setup
from pycryo.refinement.state import State

# Slices of a scan over the whole of SO(3): at most, at least.
_MAX_SLICES = 20_000
_MIN_SLICES = 3_000
# In the asymmetric unit, however small it is.
_LEAST_SLICES = 50
# Spacing of the scan's rotations in units of resolution / diameter.
_STEP = 1.1
# The coarse scan goes to this share of the fine one's r_high, but not below so many shells, nor above the last share.
_COARSE = 0.6
_LEAST_COARSE = 4.5
_MOST_COARSE = 0.75
# Radius of the scan's shifts in units of the prior's standard deviation.
_SHIFT_RADIUS = 2.5
_TURN_STREAM = 1 << 41


def choose_scans(setup: Setup, state: State, step: float) -> tuple[Scan, Scan | None]:
    """The fine scan and the coarse one before it: as fine as r_high asks, or as the allowed number of slices allows.

    `step` is the angle, radians, by which a turn moves the outermost sample by the width of the particle's transform.
    """
    r_scan = state.schedule.r_high
    order = len(setup.group)
    count = rotation_count(_STEP * step, setup.group)
    most = _MAX_SLICES // order
    if count > most:
        r_scan = max(5.0, r_scan * (most / count) ** (1 / 3))
        count = most
    count = max(count, _MIN_SLICES // order, _LEAST_SLICES)
    fine = _scan(setup, state, count, r_scan)
    r_coarse = max(_COARSE * r_scan, _LEAST_COARSE)
    if not setup.options.coarse_to_fine or r_coarse > _MOST_COARSE * r_scan:
        return fine, None
    return fine, _scan(setup, state, max(1, round(count * (r_coarse / r_scan) ** 3)), r_coarse)


def _scan(setup: Setup, state: State, count: int, r_high: float) -> Scan:
    """A scan of about `count` rotations, turned anew in each iteration."""
    turn = normal(setup.options.seed, _TURN_STREAM + state.number, np.zeros(1, np.int64), 4)[0]
    step_shift = max(1.0, setup.box / (4 * r_high))
    shifts = shift_grid(_SHIFT_RADIUS * state.sigma_shift / setup.pixel_size, step_shift)
    return make_scan(count, setup.group, turn / np.linalg.norm(turn), shifts, step_shift, r_high)
