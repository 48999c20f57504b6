"""Sizes and limits of one iteration, from the state alone: the same on every rank."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.phases import PhaseSettings
from pycryo.model.ewald import Ewald
from pycryo.model.microscope import stretch
from pycryo.refinement.data.prepare import Weighting
from pycryo.refinement.expectation.defocus import first_sigma
from pycryo.refinement.expectation.scan import Scan
from pycryo.refinement.expectation.slice_grid import choose_scans, random_turn
from pycryo.refinement.setup import Setup
from pycryo.refinement.stage_schedule import insertion_limit
from pycryo.refinement.state import Motions, State

# r_high grows by this factor at most from the scan to the phases, and from one guiding phase to the next.
_CLIMB = 1.5
# Local stage: kernels of the first phase in units of the last spread.
WIDEN = 1.2
# Of posteriors that are, or may be, broader than so many degrees (the median): they need more points.
_BROADER, _OF_BROAD = 3.0, PhaseSettings(n_rotation=64, min_phases=3, settled=0.9)


@dataclass(frozen=True, slots=True)
class GlobalSearch:
    """The shared slices of a global search.

    Attributes
    ----------
    scan : Scan
        Shifts in px of the model.
    coarse : Scan or None
        Forerunner of `scan` at low resolution, which tells what of it an image needs.
    guides : tuple of float
        r_high of the phases between the scan's and the full one, ascending.
    rescans : str
        Which images are compared with them, see `Schedule`; "" in the global stage: all.
    """

    scan: Scan
    coarse: Scan | None
    guides: tuple[float, ...]
    rescans: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the filter samples posteriors.

    Attributes
    ----------
    settings : PhaseSettings
    sharpness : float
        See `pycryo.refinement.stage_schedule.Schedule`.
    class_share : (n_class,) float64
        Prior of the classes.
    sigma_shift : float
        Shift prior per axis, Å.
    widen : float
        Local stage: kernels of the first phase in units of the last spread.
    least_rotation, least_shift : float
        Narrowest kernels: radians, Å.
    """

    settings: PhaseSettings
    sharpness: float
    class_share: NDArray[np.float64]
    sigma_shift: float
    widen: float
    least_rotation: float
    least_shift: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What every batch of an iteration needs to know.

    Attributes
    ----------
    number : int
        Of the iteration; part of the key of all draws.
    final : bool
        The last iteration: the map of all data follows, no references.
    is_joined : bool
        The halves share their references.
    r_high, r_insert : float
        Limits of comparison and insertion, Fourier px of the model.
    r_read : float
        References are read below it: slices of magnified images reach beyond r_high.
    box, pixel_size, padding : int, float, int
        Of the model.
    weighting : Weighting
    search : GlobalSearch or None
        None if all images are searched locally.
    sampling : Sampling
    sigma_defocus : float or None
        Prior of the changes of the defocus, Å; None: they are not searched.
    seed : int
    motions : two tuples of (Motion or None)
        Of each half and class, from the frame of its reference to that in which the images are inserted; () for none.
    ewald : Ewald or None
        Images are inserted on the Ewald sphere.
    """

    number: int
    final: bool
    is_joined: bool
    r_high: float
    r_insert: float
    r_read: float
    box: int
    pixel_size: float
    padding: int
    weighting: Weighting
    search: GlobalSearch | None
    sampling: Sampling
    sigma_defocus: float | None
    seed: int
    motions: Motions
    ewald: Ewald | None = None

    @property
    def needs_bare(self) -> bool:
        """Images are needed as they are without their CTF."""
        return self.sigma_defocus is not None or self.ewald is not None


def make_plan(setup: Setup, state: State) -> Plan:
    """The plan of the next iteration."""
    options, r_high = setup.options, state.schedule.r_high
    final = state.schedule.stage == "final"
    # Angle that moves the outermost sample by the width of the particle's transform.
    step = setup.field_of_view / (setup.diameter * r_high)
    return Plan(
        number=state.number + 1,
        final=final,
        is_joined=state.schedule.is_joined,
        r_high=r_high,
        r_insert=setup.box / 2 if final else insertion_limit(r_high, setup.box / 2),
        r_read=min(setup.box / 2, r_high * stretch(setup.partition.particles.optics)),
        box=setup.box,
        pixel_size=setup.pixel_size,
        padding=options.padding,
        weighting=Weighting(
            noise=state.noise,
            scale=state.scale,
            norm=setup.statistics.norm,
            sign=-1.0 if options.invert_contrast else 1.0,
            use_ctf=options.ctf,
            background_radius=0.5 * setup.diameter,
            field_of_view=setup.field_of_view,
        ),
        search=_global_search(setup, state, step),
        sampling=Sampling(
            settings=_settings(setup, state),
            sharpness=state.schedule.sharpness,
            class_share=state.class_share,
            sigma_shift=state.sigma_shift,
            widen=WIDEN,
            least_rotation=0.02 * step,
            least_shift=0.02 * setup.field_of_view / r_high,
        ),
        sigma_defocus=_sigma_defocus(setup, state),
        seed=options.seed,
        motions=state.motions,
        ewald=Ewald(options.ewald_hand, setup.diameter) if options.ewald and final else None,
    )


def _settings(setup: Setup, state: State) -> PhaseSettings:
    """More points where posteriors are broad, in rotation or over classes, whose shares few points would not hold."""
    is_broad = state.schedule.least_spread > _BROADER or setup.options.classes > 1
    return _OF_BROAD if is_broad else PhaseSettings()


def _global_search(setup: Setup, state: State, step: float) -> GlobalSearch | None:
    """None if all images are searched locally."""
    if state.schedule.stage != "global" and not state.schedule.rescans:
        return None
    options = setup.options
    scan, coarse = choose_scans(
        setup.group,
        setup.box,
        state.schedule.r_high,
        step,
        state.sigma_shift / setup.pixel_size,
        random_turn(options.seed, state.number),
        coarse_to_fine=options.coarse_to_fine,
    )
    return GlobalSearch(scan, coarse, _guides(scan.r_high, state.schedule.r_high), state.schedule.rescans)


def _guides(r_scan: float, r_high: float) -> tuple[float, ...]:
    """Steps from r_scan to r_high, both left out, none of them greater than `_CLIMB`."""
    n_step = max(1, math.ceil(math.log(r_high / r_scan, _CLIMB)))
    return tuple(float(r_scan * (r_high / r_scan) ** (i / n_step)) for i in range(1, n_step))


def _sigma_defocus(setup: Setup, state: State) -> float | None:
    """Defoci are searched in their stage, and once more in the final iteration, with the prior found."""
    if state.schedule.stage == "defocus" and state.sigma_defocus is None:
        return first_sigma(setup.partition.particles, setup.partition.half)
    return state.sigma_defocus
