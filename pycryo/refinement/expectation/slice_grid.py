"""The grid of slices and shifts of a global search, chosen by resolution and particle size.

See docs/method.md, Global search.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.draws import normal
from pycryo.geometry.grids import rotation_count, shift_grid
from pycryo.geometry.symmetry import Symmetry
from pycryo.refinement.expectation.scan import Scan, make_scan

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


def choose_scans(
    group: Symmetry,
    box: int,
    r_high: float,
    step: float,
    sigma_shift: float,
    turn: NDArray[np.float64],
    *,
    coarse_to_fine: bool,
) -> tuple[Scan, Scan | None]:
    """The fine scan and the coarse one before it: as fine as r_high asks, or as the allowed number of slices allows.

    Parameters
    ----------
    group : Symmetry
    box : int
        Of the model, px.
    r_high : float
        Samples below it are compared, Fourier px of the model.
    step : float
        Angle, radians, that moves the outermost sample by the width of the particle's transform.
    sigma_shift : float
        Shift prior per axis, px of the model.
    turn : (4,) float64
        Rotation of the whole grid.
    coarse_to_fine : bool
        Else there is no coarse scan.
    """
    r_scan, order = r_high, len(group)
    count = rotation_count(_STEP * step, group)
    most = _MAX_SLICES // order
    if count > most:
        r_scan = max(5.0, r_scan * (most / count) ** (1 / 3))
        count = most
    count = max(count, _MIN_SLICES // order, _LEAST_SLICES)

    def scan(count: int, r_high: float) -> Scan:
        step_shift = max(1.0, box / (4 * r_high))
        return make_scan(count, group, turn, shift_grid(_SHIFT_RADIUS * sigma_shift, step_shift), step_shift, r_high)

    r_coarse = max(_COARSE * r_scan, _LEAST_COARSE)
    if not coarse_to_fine or r_coarse > _MOST_COARSE * r_scan:
        return scan(count, r_scan), None
    return scan(count, r_scan), scan(max(1, round(count * (r_coarse / r_scan) ** 3)), r_coarse)


def random_turn(seed: int, number: int) -> NDArray[np.float64]:
    """(4,) rotation of the grid in the iteration after iteration `number`."""
    turn = normal(seed, _TURN_STREAM + number, np.zeros(1, np.int64), 4)[0]
    return np.asarray(turn / np.linalg.norm(turn))
