"""Sizes and limits of one iteration, from the state alone: the same on every rank."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.draws import normal
from pycryo.filter.phases import PhaseSettings
from pycryo.geometry.grids import rotation_count, shift_grid
from pycryo.refinement.expectation.defocus import first_sigma
from pycryo.refinement.expectation.scan import Scan, make_scan
from pycryo.refinement.schedule import insertion_limit
from pycryo.refinement.state import Motions, Setup, State

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
# r_high grows by this factor at most from the scan to the phases, and from one guiding phase to the next.
_CLIMB = 1.5
_TURN_STREAM = 1 << 41
# Local stage: kernels of the first phase in units of the last spread.
WIDEN = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What every batch of an iteration needs to know.

    Attributes
    ----------
    number : int
        Of the iteration; part of the key of all draws.
    final : bool
        The last iteration: the map of all data follows, no references.
    r_high, r_insert : float
        Limits of comparison and insertion, Fourier px of the model.
    is_joined : bool
        The halves share their references.
    sharpness : float
        See `pycryo.refinement.schedule.Schedule`.
    guides : tuple of float
        r_high of the phases between the scan's and the full one, ascending, of images compared with a scan.
    scan : Scan or None
        Shared slices of a global search, shifts in px of the model; None if all images are searched locally.
    rescans : bool
        Only images whose posterior is broad are compared with them.
    coarse : Scan or None
        Forerunner of `scan` at low resolution, which tells what of it an image needs.
    settings : PhaseSettings
    class_share : (n_class,) float64
        Prior of the classes.
    sigma_shift : float
        Shift prior per axis, Å.
    sigma_defocus : float or None
        Prior of the changes of the defocus, Å; None: they are not searched.
    widen : float
        Local stage: kernels of the first phase in units of the last spread.
    floor_rotation, floor_shift : float
        Narrowest kernels: radians, Å.
    noise : (n_group, n_shell) float64
    scale : (n_group,) float64
    norm : (n_all,) float64
        Divides each image.
    box, pixel_size, padding : int, float, int
        Of the model.
    background_radius : float
        Å.
    use_ctf : bool
    sign : float
        -1 inverts the contrast of the images.
    seed : int
    motions : two tuples of (Motion or None)
        Of each half and class, from the frame of its reference to that in which the images are inserted; () for none.
    """

    number: int
    final: bool
    r_high: float
    r_insert: float
    is_joined: bool
    sharpness: float
    guides: tuple[float, ...]
    scan: Scan | None
    coarse: Scan | None
    rescans: bool
    settings: PhaseSettings
    class_share: NDArray[np.float64]
    sigma_shift: float
    sigma_defocus: float | None
    widen: float
    floor_rotation: float
    floor_shift: float
    noise: NDArray[np.float64]
    scale: NDArray[np.float64]
    norm: NDArray[np.float64]
    box: int
    pixel_size: float
    padding: int
    background_radius: float
    use_ctf: bool
    sign: float
    seed: int
    motions: Motions


def make_plan(setup: Setup, state: State) -> Plan:
    """The plan of the next iteration."""
    options, r_high = setup.options, state.schedule.r_high
    final = state.schedule.stage == "final"
    # Angle that moves the outermost sample by the width of the particle's transform.
    step = setup.field_of_view / (setup.diameter * r_high)
    r_insert = setup.box / 2 if final else insertion_limit(r_high, setup.box / 2)
    is_scanned = state.schedule.stage == "global" or state.schedule.rescans
    scan, coarse = _scans(setup, state, step) if is_scanned else (None, None)
    return Plan(
        number=state.number + 1,
        final=final,
        r_high=r_high,
        r_insert=r_insert,
        is_joined=state.schedule.is_joined,
        sharpness=state.schedule.sharpness,
        guides=() if scan is None else _guides(scan.r_high, r_high),
        scan=scan,
        coarse=coarse,
        rescans=state.schedule.rescans,
        settings=PhaseSettings(),
        class_share=state.class_share,
        sigma_shift=state.sigma_shift,
        sigma_defocus=_sigma_defocus(setup, state),
        widen=WIDEN,
        floor_rotation=0.02 * step,
        floor_shift=0.02 * setup.field_of_view / r_high,
        noise=state.noise,
        scale=state.scale,
        norm=setup.look.norm,
        box=setup.box,
        pixel_size=setup.pixel_size,
        padding=options.padding,
        background_radius=0.5 * setup.diameter,
        use_ctf=options.ctf,
        sign=-1.0 if options.invert_contrast else 1.0,
        seed=options.seed,
        motions=state.motions,
    )


def _guides(r_scan: float, r_high: float) -> tuple[float, ...]:
    """Steps from r_scan to r_high, both left out, none of them greater than `_CLIMB`."""
    n_step = max(1, math.ceil(math.log(r_high / r_scan, _CLIMB)))
    return tuple(float(r_scan * (r_high / r_scan) ** (i / n_step)) for i in range(1, n_step))


def _sigma_defocus(setup: Setup, state: State) -> float | None:
    """Defoci are searched in their stage, and once more in the final iteration, with the prior found."""
    if state.schedule.stage == "defocus" and state.sigma_defocus is None:
        return first_sigma(setup.share.particles, setup.share.half)
    return state.sigma_defocus


def _scans(setup: Setup, state: State, step: float) -> tuple[Scan, Scan | None]:
    """Grids of the global search: as fine as r_high asks, or r_high of the scan as low as the allowed number asks."""
    r_scan = state.schedule.r_high
    order = len(setup.group)
    count = rotation_count(_STEP * step, setup.group)
    most = _MAX_SLICES // order
    if count > most:
        r_scan = max(5.0, r_scan * (most / count) ** (1 / 3))
        count = most
    count = max(count, _MIN_SLICES // order, _LEAST_SLICES)
    fine = _grid(setup, state, count, r_scan)
    r_coarse = max(_COARSE * r_scan, _LEAST_COARSE)
    if not setup.options.coarse_to_fine or r_coarse > _MOST_COARSE * r_scan:
        return fine, None
    return fine, _grid(setup, state, max(1, round(count * (r_coarse / r_scan) ** 3)), r_coarse)


def _grid(setup: Setup, state: State, count: int, r_high: float) -> Scan:
    turn = normal(setup.options.seed, _TURN_STREAM + state.number, np.zeros(1, np.int64), 4)[0]
    step_shift = max(1.0, setup.box / (4 * r_high))
    shifts = shift_grid(_SHIFT_RADIUS * state.sigma_shift / setup.pixel_size, step_shift)
    return make_scan(count, setup.group, turn / np.linalg.norm(turn), shifts, step_shift, r_high)
