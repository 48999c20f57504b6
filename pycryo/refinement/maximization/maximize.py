"""M-phase over all ranks: half-maps, FSC, the references of the next iteration.

See docs/method.md, Insertion and reconstruction.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.backprojector import Accumulators
from pycryo.maps.slab_map import SlabMap, resample_grid
from pycryo.model.insertion import combined
from pycryo.model.owners import deal_map
from pycryo.model.solve import Solution, Solver, grid_box
from pycryo.refinement.expectation.half_pass import Results
from pycryo.refinement.maximization.handedness import hands_differ, second_inverted
from pycryo.refinement.maximization.references import make_references
from pycryo.refinement.maximization.resolution import look_for_return, measure_fsc, ssnr_of
from pycryo.refinement.outcome import ClassMaps
from pycryo.refinement.plan import Plan
from pycryo.refinement.setup import Setup
from pycryo.refinement.state import Pair
from pycryo.timer import Timer

log = logging.getLogger(__name__)

# Particles of a class in each half below which it has no map of its own.
_LEAST_IMAGES = 3.0


@dataclass(frozen=True, slots=True)
class Maximum:
    """Result of the M-phase for one class; all maps dealt to all ranks.

    Attributes
    ----------
    maps : ClassMaps
    references : two SlabMap
        Of the next iteration; the half-maps after the final one.
    gridding_iterations, gridding_deviation : int, float
        Of half 1.
    other_hand : bool
        Half 2 was of the other hand than half 1: its maps are inverted here.
    """

    maps: ClassMaps
    references: Pair
    gridding_iterations: int
    gridding_deviation: float
    other_hand: bool


def maximize(
    setup: Setup,
    plan: Plan,
    references: tuple[Pair, ...],
    results: Results,
    count: NDArray[np.float64],
    timer: Timer,
    *,
    is_blurred: bool = False,
    knows_poses: bool = True,
) -> list[Maximum]:
    """Reconstruct the half-maps of each class, measure their FSC, make the references (or the final map). Collective.

    A class with hardly an image in one of the halves keeps its references.

    Parameters
    ----------
    setup, plan, results, timer
    references : tuple of Pair
        Of this iteration.
    count : (2, n_class) float64
        Particles of each half and class.
    is_blurred : bool
        The poses of most images are hardly known.
    knows_poses : bool
        Otherwise no signal is looked for beyond the first fall of the FSC.
    """
    n_class = count.shape[1]
    maxima = []
    for k in range(n_class):
        if n_class == 1 or count[:, k].min() >= _LEAST_IMAGES:
            maxima.append(_maximize(setup, plan, results, k, timer, is_blurred, knows_poses))
        else:
            log.warning(
                "class %d is empty: %.1f and %.1f particles in the half-sets; it keeps its map", k + 1, *count[:, k]
            )
            maxima.append(_kept(setup, plan, references[min(k, len(references) - 1)]))
    return maxima


def _kept(setup: Setup, plan: Plan, references: Pair) -> Maximum:
    """A class without images: its maps are the references, of no resolution."""
    points = grid_box(plan.box, plan.r_insert)
    first, second = (resample_grid(each, points) for each in references)
    fsc, mask = measure_fsc(setup.solvent, (first, second), 1, plan.seed)
    mean = replace(first, data=0.5 * (first.data + second.data)) if plan.final else None
    return Maximum(ClassMaps((first, second), fsc, mask, mean), references, 0, 0.0, False)


def _maximize(
    setup: Setup, plan: Plan, results: Results, k: int, timer: Timer, is_blurred: bool, knows_poses: bool
) -> Maximum:
    """Of class k."""
    comm = setup.partition.comm
    with timer.phase("insert"):
        sums = [None if result is None else result.insertions[k].result() for result in results]
    with timer.phase("solve"):
        solvers = _solvers(setup, sums)
        solutions = [None if each is None else each.solve() for each in solvers]
        points = grid_box(plan.box, plan.r_insert)
        pair = _on_world(setup, points, solutions)
    with timer.phase("fsc"):
        fsc, mask = measure_fsc(setup.solvent, pair, plan.r_insert, plan.seed)
        other_hand = plan.search is not None and not plan.search.rescans and hands_differ(pair, fsc)
        if other_hand:
            pair = second_inverted(pair)
            fsc, mask = measure_fsc(setup.solvent, pair, plan.r_insert, plan.seed)
        if plan.final and knows_poses:
            fsc = look_for_return(fsc, mask, len(setup.group))
    iterations, deviation = comm.broadcast(_effort(solutions[0]))
    combined_map, references = None, pair
    with timer.phase("solve"):
        if plan.final:
            solvers.clear()  # their grids make room for that of all data
            everything = combined(sums[0], sums[1], setup.owners)
            last = Solver(comm, everything, model=setup.options.model, double=not setup.options.single)
            solution = last.solve(ssnr=ssnr_of(fsc, combined=True))
            combined_map = SlabMap(comm, solution.planes, setup.field_of_view / solution.points)
        else:
            ssnr = ssnr_of(fsc, combined=False)
            regularised = [None if each is None else each.solve(ssnr=ssnr, max_iterations=0) for each in solvers]
            filtered = _on_world(setup, points, regularised)
            if other_hand:
                filtered = second_inverted(filtered)
            signal = setup.signal if is_blurred else None
            references = make_references(
                setup.solvent, filtered, pair, mask, fsc, plan.box, is_joined=plan.is_joined, signal=signal
            )
    return Maximum(ClassMaps(pair, fsc, mask, combined_map), references, iterations, deviation, other_hand)


def _solvers(setup: Setup, sums: list[Accumulators | None]) -> list[Solver | None]:
    """One for each half that this rank owns; both halves in turn on one grid."""
    solvers: list[Solver | None] = []
    grid = None
    for owners, each in zip(setup.owners, sums, strict=True):
        one = None
        if each is not None and owners.comm is not None:
            double = not setup.options.single
            one = Solver(owners.comm, each, model=owners.model, double=double, grid=grid)
            grid = one.grid
        solvers.append(one)
    return solvers


def _effort(solution: Solution | None) -> tuple[int, float]:
    return (0, 0.0) if solution is None else (solution.iterations, solution.deviation)


def _on_world(setup: Setup, points: int, solutions: list[Solution | None]) -> Pair:
    """The maps of both halves, each solved by its owners, dealt to all ranks. Collective."""
    first, second = (
        deal_map(owners, None if solution is None else solution.planes, points, setup.field_of_view / points)
        for owners, solution in zip(setup.owners, solutions, strict=True)
    )
    return first, second
