"""M-phase over all ranks: half-maps, FSC, the references of the next iteration (method.md §6, §7)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.backprojector import Accumulators
from pycryo.fsc import Fsc, corrected_fsc
from pycryo.maps import Map
from pycryo.masks import auto_mask
from pycryo.refine.gridding import Solution, solve
from pycryo.refine.half_pass import HalfResult
from pycryo.refine.halves import (
    both_halves,
    join_low_resolution,
    pair_of_maps,
    solvent_mask,
    sum_accumulators,
    to_roots,
)
from pycryo.refine.plan import Plan
from pycryo.refine.state import Setup, Volume
from pycryo.refine.timer import Timer

# Å; below, the half-maps share their Fourier components (RELION: --low_resol_join_halves).
_JOIN_RESOLUTION = 40.0
# Å; the automatic mask is made of maps filtered to this at best.
_MASK_RESOLUTION = 15.0
# Å; how far it reaches beyond their surface.
_MASK_EXTEND = 3.0


@dataclass(frozen=True, slots=True)
class Maximum:
    """Result of the M-phase; half-maps, mask and map on rank 0 only.

    Attributes
    ----------
    half_maps : two (M, M, M) float32, or None
        Not regularised.
    fsc : Fsc
    mask : (M, M, M) float32 or None
    references : two of ((M, M, M) float32 or None)
        On the root of each half; None elsewhere and in the final iteration.
    map : (M, M, M) float32 or None
        Of all data, in the final iteration.
    gridding_iterations, gridding_deviation : int, float
        Of half 1.
    """

    half_maps: tuple[Volume, Volume] | None
    fsc: Fsc
    mask: Volume | None
    references: tuple[Volume | None, Volume | None]
    map: Volume | None
    gridding_iterations: int
    gridding_deviation: float


def maximize(setup: Setup, plan: Plan, results: list[HalfResult | None], timer: Timer) -> Maximum:
    """Reconstruct the half-maps, measure their FSC, make the references (or the final map). Collective."""
    share = setup.share
    with timer.phase("reduce"):
        for half, result in enumerate(results):
            half_comm = share.half_comm[half]
            if half_comm is not None and result is not None:
                sum_accumulators(result.accumulators, half_comm)
    sums = [
        result.accumulators if result is not None and share.comm.rank == root else None
        for result, root in zip(results, share.roots, strict=True)
    ]
    with timer.phase("solve"):
        solutions = [None if each is None else solve(each) for each in sums]
    first, second = (None if each is None else each.map for each in solutions)
    pair = pair_of_maps(share, (first, second))
    fsc: Fsc | None = None
    mask: Volume | None = None
    with timer.phase("fsc"):
        if pair is not None:
            fsc, mask = measure_fsc(setup, pair, plan.r_insert)
    fsc = share.comm.broadcast(fsc)
    assert fsc is not None
    references: tuple[Volume | None, Volume | None] = (None, None)
    combined: Volume | None = None
    with timer.phase("solve"):
        if plan.final:
            everything = both_halves(share, sums[0], sums[1])
            if everything is not None:
                combined = solve(everything, ssnr=_ssnr(fsc, combined=True)).map
        else:
            references = _references(setup, sums, fsc, mask)
    iterations, deviation = share.comm.broadcast(_effort(solutions[0]))
    return Maximum(pair, fsc, mask, references, combined, iterations, deviation)


def _effort(solution: Solution | None) -> tuple[int, float]:
    return (0, 0.0) if solution is None else (solution.iterations, solution.deviation)


def _references(
    setup: Setup, sums: list[Accumulators | None], fsc: Fsc, mask: Volume | None
) -> tuple[Volume | None, Volume | None]:
    """Regularised, masked reference of each half, on its root. Collective."""
    share, ssnr = setup.share, _ssnr(fsc, combined=False)
    first, second = (
        None if each is None else solve(each, ssnr=ssnr, max_iterations=0, single=True).map for each in sums
    )
    pair = pair_of_maps(share, (first, second))
    if pair is not None:
        pair = join_low_resolution(pair, setup.field_of_view / _JOIN_RESOLUTION)
        # Noise outside the molecule would enter every comparison.
        solvent = solvent_mask(fsc.box, setup.field_of_view, setup.diameter, setup.user_mask)
        if mask is not None:
            solvent = solvent * mask
        pair = (pair[0] * solvent, pair[1] * solvent)
    return to_roots(share, pair, fsc.box)


def measure_fsc(setup: Setup, pair: tuple[Volume, Volume], r_insert: float) -> tuple[Fsc, Volume]:
    """FSC of the half-maps in the user's or an automatic mask, zero beyond the shells inserted; and the mask."""
    points = len(pair[0])
    pixel = setup.field_of_view / points
    mask = solvent_mask(points, setup.field_of_view, setup.diameter, setup.user_mask)
    if setup.user_mask is None:
        rough = corrected_fsc(pair[0], pair[1], pixel).resolution_0143
        mean = Map(0.5 * (pair[0] + pair[1]) * mask, pixel)
        mask = auto_mask(mean, resolution=max(_MASK_RESOLUTION, rough), extend_px=_MASK_EXTEND / pixel) * mask
    fsc = corrected_fsc(pair[0], pair[1], pixel, mask, seed=setup.options.seed)
    return _cut(fsc, r_insert), mask


def _cut(fsc: Fsc, r_insert: float) -> Fsc:
    keep = np.arange(len(fsc.corrected)) < np.ceil(r_insert)
    return replace(
        fsc,
        unmasked=fsc.unmasked * keep,
        masked=fsc.masked * keep,
        randomised=fsc.randomised * keep,
        corrected=fsc.corrected * keep,
    )


def _ssnr(fsc: Fsc, *, combined: bool) -> NDArray[np.float64]:
    """Signal-to-noise ratio per shell of a half-map, FSC/(1 - FSC), or of the map of all data, twice that.

    After the corrected FSC first fell below 0.05, what rises again further out is chance.
    """
    curve = np.array(fsc.corrected)
    below = np.flatnonzero(curve[1:] < 0.05)
    if len(below):
        curve[below[0] + 1 :] = 0
    value = np.clip(curve, 1e-3, 0.999)
    return np.asarray((2 if combined else 1) * value / (1 - value))
