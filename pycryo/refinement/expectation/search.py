"""The global search: every image against the shared slices, coarse to fine, over all ranks of a half-set.

See docs/method.md, Global search.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.support import Support
from pycryo.kernels.compare import CELL_SLICES
from pycryo.kernels.pixels import half_plane
from pycryo.parallel.comm import Comm
from pycryo.parallel.conveyor import Belt, Traffic, Way, make_belt, ring
from pycryo.progress import phase
from pycryo.refinement.expectation.panels import (
    Group,
    HalfSearch,
    all_poses,
    supports_of,
    surviving_poses,
)
from pycryo.refinement.expectation.pruning import Neighbours, Nesting, nest
from pycryo.refinement.expectation.scan import Panel, Scan, run_belts, slice_maker
from pycryo.refinement.expectation.slice_sharing import Choice, Rates, choose_way, measure_rates

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Effort:
    """What the global searches of a rank cost.

    Attributes
    ----------
    traffic : Traffic
    alone : float
        Seconds that the messages would take if nothing else happened.
    packing, comparing : float
        Seconds.
    n_image : int
    n_score, n_score_all : int
        Scores at the highest resolution: computed, and those of all pairs.
    n_scores : list of lists of (n,) int64
        Of the last search: the scores computed for each image, of each target of each half-set.
    flops : float
        Useful operations of all comparisons, 4 per score and Fourier pixel.
    choice : Choice or None
        The last one, of the finest scan.
    """

    traffic: Traffic = field(default_factory=Traffic)
    alone: float = 0.0
    packing: float = 0.0
    comparing: float = 0.0
    n_image: int = 0
    n_score: int = 0
    n_score_all: int = 0
    n_scores: list[list[NDArray[np.int64]]] = field(default_factory=list)
    flops: float = 0.0
    choice: Choice | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """How slices are shared.

    Attributes
    ----------
    way, ring_size : optional
        As the user wants it; None: by the cost model.
    memory : float
        Bytes for the images of a search and what they are compared with.
    """

    way: Way | None
    ring_size: int | None
    memory: float


def global_search(
    searches: Sequence[HalfSearch],
    neighbours: Neighbours | None,
    policy: Policy,
    rates: list[Rates | None],
    effort: Effort,
    threads: int | None = None,
) -> list[list[Support]]:
    """The best candidates of all images among the rotations and shifts of the scan. Collective.

    A coarse scan at low resolution comes first; at full resolution an image is compared with what is left of it only.

    Parameters
    ----------
    searches : sequence of HalfSearch
        Of the same geometry, in the order of the half-sets; scans are the same on all ranks of a search.
    neighbours : Neighbours or None
        Of the rotations of both scans; None if there is no coarse one.
    policy : Policy
    rates : list of (Rates or None)
        One per search; measured here if None.
    effort : Effort
        Added to.
    threads : int, optional

    Returns
    -------
    list of lists of Support
        Of each target of each search: `N_CANDIDATE` points with flattened posterior weights.
    """
    scan, coarse = searches[0].scan, searches[0].coarse
    firsts: list[list[Group]] = [[] for _ in searches]
    nesting: Nesting | None = None
    if coarse is not None:
        assert neighbours is not None
        nesting = nest(neighbours, coarse, scan)
        begin = time.perf_counter()
        firsts = [list(all_poses(search, coarse, threads, is_coarse=True)) for search in searches]
        effort.packing += time.perf_counter() - begin
        _run(searches, coarse, firsts, policy, rates, effort, threads)
    begin = time.perf_counter()
    groups = [
        list(all_poses(search, scan, threads) if nesting is None else surviving_poses(search, first, nesting, threads))
        for search, first in zip(searches, firsts, strict=True)
    ]
    effort.packing += time.perf_counter() - begin
    del firsts
    effort.choice = _run(searches, scan, groups, policy, rates, effort, threads)
    log.debug(
        "global search so far: packing %.3g s, sampling %.3g s, comparing %.3g s (%.3g Gflop/s)",
        effort.packing,
        effort.traffic.making,
        effort.comparing,
        1e-9 * effort.flops / max(effort.comparing, 1e-9),
    )
    effort.n_scores = []
    for search, panels in zip(searches, groups, strict=True):
        n_item, n_image = len(search.volumes) * len(scan.rotations), sum(len(target) for target in search.targets)
        counts = [np.zeros(len(target), np.int64) for target in search.targets]
        for group in panels:
            counts[group.target][group.rows] = group.panel.scores(n_item)
        effort.n_scores.append(counts)
        effort.n_image += n_image
        effort.n_score += sum(int(each.sum()) for each in counts)
        effort.n_score_all += n_image * n_item * len(scan.shifts)
    return [supports_of(search, panels) for search, panels in zip(searches, groups, strict=True)]


@dataclass(frozen=True, slots=True)
class _Ride:
    """The slices of a scan on their way past the images of one half-set."""

    ring: Comm
    choice: Choice
    belt: Belt
    panels: list[Panel]


def _run(
    searches: Sequence[HalfSearch],
    scan: Scan,
    groups: list[list[Group]],
    policy: Policy,
    rates: list[Rates | None],
    effort: Effort,
    threads: int | None,
) -> Choice:
    """Compare the groups of all searches with the slices of a scan. Collective."""
    rides = []
    for i, (search, members) in enumerate(zip(searches, groups, strict=True)):
        is_first = rates[i] is None
        ride, known = _ride(search, scan, [group.panel for group in members], policy, rates[i], effort, threads)
        if is_first and search.comm.rank == 0:
            _tell(known, ride.choice, search.comm.size)
        rates[i] = known
        rides.append(ride)
    n_item = len(scan.rotations) * sum(
        len(search.volumes) for search, ride in zip(searches, rides, strict=True) if ride.panels
    )
    with phase("scan" if scan is searches[0].scan else "coarse scan", n_item) as advance:
        effort.comparing += run_belts([(ride.belt, ride.panels) for ride in rides], threads, advance)
    for search, ride, measured in zip(searches, rides, rates, strict=True):
        traffic = ride.belt.traffic
        effort.traffic.add(traffic)
        if ride.choice.way == "allgather":  # hides nothing
            effort.alone += traffic.exposed
        elif measured is not None and traffic.n_message:
            effort.alone += measured.link.seconds(traffic.n_message, traffic.n_byte)
        if ride.ring is not search.comm:
            ride.ring.free()
    return rides[-1].choice


def _ride(
    search: HalfSearch,
    scan: Scan,
    panels: list[Panel],
    policy: Policy,
    known: Rates | None,
    effort: Effort,
    threads: int | None,
) -> tuple[_Ride, Rates]:
    """Choose how the ranks of a half-set come by the slices, with the rates known or measured now. Collective."""
    pixels = half_plane(search.box, min(scan.r_high, search.box / 2), 1)
    make = slice_maker(search.volumes, scan.rotations, pixels, search.scale, threads, search.magnification)
    n_item, n_pixel = len(search.volumes) * len(scan.rotations), len(pixels)
    # A rank that is new to a half-set does not know its rates yet.
    figures = np.array([sum(panel.n_score(n_item) for panel in panels), known is None], np.float64)
    effort.flops += 4.0 * n_pixel * float(figures[0])
    begin = time.perf_counter()
    search.comm.max_array(figures)
    effort.traffic.idle += time.perf_counter() - begin
    if known is None or figures[1]:
        known = measure_rates(search.comm, make, n_item, n_pixel, panels[0] if panels else None)
    choice = _choose(search, policy, known, n_item, n_pixel, float(figures[0]))
    circle = search.comm if choice.way == "local" else ring(search.comm, choice.ring_size)
    belt = make_belt(
        choice.way,
        circle,
        n_item,
        (2, n_pixel),
        make,
        block=choice.block,
        grain=CELL_SLICES,
        shares=tuple(circle.all_gather(search.share)),
    )
    return _Ride(circle, choice, belt, panels), known


def _choose(search: HalfSearch, policy: Policy, rates: Rates, n_item: int, n_pixel: int, n_score: float) -> Choice:
    """The way of a search. Collective: other processors might come to another."""
    choice = choose_way(
        search.comm.size,
        n_item,
        n_pixel,
        n_score,
        rates,
        way=policy.way,
        ring_size=policy.ring_size,
        memory=policy.memory,
    )
    return search.comm.broadcast(choice)


def _tell(rates: Rates, choice: Choice, n_rank: int) -> None:
    """Log the choice of a half-set of `n_rank` ranks and what it follows from."""
    if n_rank == 1:
        log.debug("slices: local, a half-set has one rank and nobody to share with")
        return
    expected = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in sorted(choice.seconds.items()))
    log.debug(
        "slices: %s%s, expected for the first scan: %s (measured per Fourier pixel: sampling %.3g ns, comparing %.3g "
        "ps; messages %.3g µs + %.3g GB/s)",
        choice.way,
        f" in rings of {choice.ring_size}" if choice.way != "local" else "",
        expected,
        1e9 * rates.make,
        1e12 * rates.score,
        1e6 * rates.link.latency,
        1e-9 * rates.link.bandwidth,
    )
