"""M-phase over all ranks: half-maps, FSC, the references of the next iteration (method.md §6, §7)."""

from __future__ import annotations

from dataclasses import dataclass

from pycryo.backprojector import Accumulators
from pycryo.fsc import Fsc
from pycryo.model.insertion import combined
from pycryo.model.owners import deal_map
from pycryo.model.slab_map import SlabMap
from pycryo.model.solve import Solution, Solver, grid_box
from pycryo.refine.half_pass import HalfResult
from pycryo.refine.hand import hands_differ, second_inverted
from pycryo.refine.plan import Plan
from pycryo.refine.references import make_references
from pycryo.refine.resolution import Pair, measure_fsc, ssnr_of
from pycryo.refine.state import Setup
from pycryo.refine.timer import Timer


@dataclass(frozen=True, slots=True)
class Maximum:
    """Result of the M-phase; maps and mask dealt to all ranks.

    Attributes
    ----------
    half_maps : two SlabMap
        Not regularised.
    fsc : Fsc
    mask : SlabMap
    references : two SlabMap
        Of the next iteration; the half-maps after the final one.
    map : SlabMap or None
        Of all data, in the final iteration.
    gridding_iterations, gridding_deviation : int, float
        Of half 1.
    other_hand : bool
        Half 2 was of the other hand than half 1: its maps are inverted here.
    """

    half_maps: Pair
    fsc: Fsc
    mask: SlabMap
    references: Pair
    map: SlabMap | None
    gridding_iterations: int
    gridding_deviation: float
    other_hand: bool


def maximize(setup: Setup, plan: Plan, results: list[HalfResult | None], timer: Timer) -> Maximum:
    """Reconstruct the half-maps, measure their FSC, make the references (or the final map). Collective."""
    comm = setup.share.comm
    with timer.phase("insert"):
        sums = [None if result is None else result.insertion.result() for result in results]
    with timer.phase("solve"):
        solvers = _solvers(setup, sums)
        solutions = [None if each is None else each.solve() for each in solvers]
        points = grid_box(plan.box, plan.r_insert)
        pair = _on_world(setup, points, solutions)
    with timer.phase("fsc"):
        fsc, mask = measure_fsc(setup, pair, plan.r_insert)
        other_hand = plan.scan is not None and hands_differ(pair, fsc)
        if other_hand:
            pair = second_inverted(pair)
            fsc, mask = measure_fsc(setup, pair, plan.r_insert)
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
            references = make_references(setup, filtered, pair, mask, fsc)
    return Maximum(pair, fsc, mask, references, combined_map, iterations, deviation, other_hand)


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
