"""The global search: every image against the shared slices, coarse to fine, over all ranks of a half-set (§3)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pycryo.compare import CELL_SLICES, BestPoses, new_best, pack_images
from pycryo.filter.phases import flatten_weights
from pycryo.filter.support import Support
from pycryo.geometry.symmetry import Symmetry
from pycryo.parallel.comm import Comm
from pycryo.parallel.conveyor import Belt, Traffic, Way, make_belt, ring
from pycryo.pixels import half_plane
from pycryo.projector import FourierVolume
from pycryo.refine.prepare import Target
from pycryo.refine.scan import Panel, Scan, run_belts, slice_maker
from pycryo.refine.survivors import Nesting, nest, survivors
from pycryo.refine.ways import Choice, Rates, choose_way, measure_rates
from pycryo.shift import shift

log = logging.getLogger(__name__)

# Candidates (slice, shift) that a scan keeps of each image: the last one, and the coarse one before it.
_N_CANDIDATE = 96
_N_COARSE = 1024
# Images of a panel: between two panels messages move on.
_PANEL_IMAGES = 256
# Shifts of a panel after the coarse scan: multiples of it, which fill the kernel's tiles.
_SHIFT_STEP = 7
# An image of which more than this share of the scores is left is compared with everything: that has twice the speed.
_DENSE = 0.5
# Effective number of candidates that the filter starts from.
_MIN_EFFECTIVE = 16.0


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
    flops: float = 0.0
    choice: Choice | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    """Images of one half-set and geometry on this rank, and the ranks that compare theirs with the same slices.

    Attributes
    ----------
    comm : Comm
        The ranks of the half-set.
    share : float
        Part of the slices that this rank samples, relative to the others'.
    volumes : sequence of FourierVolume
        The reference of each class.
    targets : list of Target
        May be empty.
    scan : Scan
        px and Fourier px of the images.
    coarse : Scan or None
        Its forerunner.
    box : int
        Of the images, px.
    scale : float
        Fourier px of the volumes per Fourier px of the images.
    sigma_shift : float
        Standard deviation of the shift prior per axis, px.
    """

    comm: Comm
    share: float
    volumes: Sequence[FourierVolume]
    targets: list[Target]
    scan: Scan
    coarse: Scan | None
    box: int
    scale: float
    sigma_shift: float


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


@dataclass(frozen=True, slots=True)
class _Group:
    """Images of a panel: `target` they are of, `rows` in it, `shifts` (n, n_shift) of the scan, -1 for none."""

    panel: Panel
    target: int
    rows: NDArray[np.int64]
    shifts: NDArray[np.int64]


def global_search(
    lanes: Sequence[Lane],
    symmetry: Symmetry,
    policy: Policy,
    rates: list[Rates | None],
    effort: Effort,
    threads: int | None = None,
) -> list[list[Support]]:
    """The best candidates of all images among the rotations and shifts of the scan. Collective.

    A coarse scan at low resolution comes first; at full resolution an image is compared with what is left of it only.

    Parameters
    ----------
    lanes : sequence of Lane
        Of the same geometry, in the order of the half-sets; scans are the same on all ranks of a lane.
    symmetry : Symmetry
    policy : Policy
    rates : list of (Rates or None)
        One per lane; measured here if None.
    effort : Effort
        Added to.
    threads : int, optional

    Returns
    -------
    list of lists of Support
        Of each target of each lane: `_N_CANDIDATE` points with flattened posterior weights.
    """
    scan, coarse = lanes[0].scan, lanes[0].coarse
    firsts: list[list[_Group]] = [[] for _ in lanes]
    nesting: Nesting | None = None
    if coarse is not None:
        nesting = nest(coarse, scan, symmetry)
        begin = time.perf_counter()
        firsts = [list(_all_poses(lane, coarse, _N_COARSE, threads)) for lane in lanes]
        effort.packing += time.perf_counter() - begin
        _run(lanes, coarse, firsts, policy, rates, effort, threads)
    begin = time.perf_counter()
    groups = [
        list(
            _all_poses(lane, scan, _N_CANDIDATE, threads)
            if nesting is None
            else _surviving_poses(lane, first, nesting, threads)
        )
        for lane, first in zip(lanes, firsts, strict=True)
    ]
    effort.packing += time.perf_counter() - begin
    del firsts
    effort.choice = _run(lanes, scan, groups, policy, rates, effort, threads)
    for lane, panels in zip(lanes, groups, strict=True):
        n_item, n_image = len(lane.volumes) * len(scan.rotations), sum(len(target) for target in lane.targets)
        effort.n_image += n_image
        effort.n_score += sum(group.panel.n_score(n_item) for group in panels)
        effort.n_score_all += n_image * n_item * len(scan.shifts)
    return [_supports(lane, panels) for lane, panels in zip(lanes, groups, strict=True)]


def _run(
    lanes: Sequence[Lane],
    scan: Scan,
    groups: list[list[_Group]],
    policy: Policy,
    rates: list[Rates | None],
    effort: Effort,
    threads: int | None,
) -> Choice:
    """Compare the groups of all lanes with the slices of a scan. Collective."""
    work: list[tuple[Belt, list[Panel]]] = []
    rings: list[Comm] = []
    for i, (lane, members) in enumerate(zip(lanes, groups, strict=True)):
        pixels = half_plane(lane.box, min(scan.r_high, lane.box / 2), 1)
        make = slice_maker(lane.volumes, scan.rotations, pixels, lane.scale, threads)
        panels = [group.panel for group in members]
        n_item, n_pixel = len(lane.volumes) * len(scan.rotations), len(pixels)
        # A rank that is new to a half-set does not know its rates yet.
        figures = np.array([sum(panel.n_score(n_item) for panel in panels), rates[i] is None], np.float64)
        effort.flops += 4.0 * n_pixel * float(figures[0])
        begin = time.perf_counter()
        lane.comm.max_array(figures)
        effort.traffic.idle += time.perf_counter() - begin
        known = rates[i]
        if known is None or figures[1]:
            known = measure_rates(lane.comm, make, n_item, n_pixel, panels[0] if panels else None)
        choice = choose_way(
            lane.comm.size,
            n_item,
            n_pixel,
            float(figures[0]),
            known,
            way=policy.way,
            ring_size=policy.ring_size,
            memory=policy.memory,
        )
        if rates[i] is None and lane.comm.size > 1 and lane.comm.rank == 0:
            _tell(known, choice)
        rates[i] = known
        circle = ring(lane.comm, choice.ring_size)
        shares = tuple(circle.all_gather(lane.share))
        rings.append(circle)
        work.append(
            (
                make_belt(
                    choice.way, circle, n_item, (2, n_pixel), make, block=choice.block, grain=CELL_SLICES, shares=shares
                ),
                panels,
            )
        )
    effort.comparing += run_belts(work, threads)
    for lane, circle, (belt, _), measured in zip(lanes, rings, work, rates, strict=True):
        effort.traffic.add(belt.traffic)
        if measured is not None and belt.traffic.n_message:
            effort.alone += measured.link.seconds(belt.traffic.n_message, belt.traffic.n_byte)
        if circle is not lane.comm:
            circle.free()
    return choice


def _tell(rates: Rates, choice: Choice) -> None:
    expected = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in sorted(choice.seconds.items()))
    link = rates.link
    log.info(
        "slices: %s%s, expected for the first scan: %s (measured: sampling %.3g ns and comparing %.3g ps per Fourier "
        "pixel%s)",
        choice.way,
        f" in rings of {choice.ring_size}" if choice.way != "local" else "",
        expected,
        1e9 * rates.make,
        1e12 * rates.score,
        f", messages {1e6 * link.latency:.3g} µs + {link.bandwidth / 1e9:.3g} GB/s" if link.latency else "",
    )


def _all_poses(lane: Lane, scan: Scan, n_best: int, threads: int | None) -> Iterator[_Group]:
    """Groups that are compared with all slices at all shifts."""
    for number, target in enumerate(lane.targets):
        near = target.between(1, scan.r_high)
        for start in range(0, len(near), _PANEL_IMAGES):
            rows = np.arange(start, min(start + _PANEL_IMAGES, len(near)))
            yield _all_poses_of(lane, near, number, rows, scan, n_best, threads)


def _all_poses_of(
    lane: Lane, near: Target, number: int, rows: NDArray[np.int64], scan: Scan, n_best: int, threads: int | None
) -> _Group:
    n_item, n_shift = len(lane.volumes) * len(scan.rotations), len(scan.shifts)
    shifts = np.tile(np.arange(n_shift), (len(rows), 1))
    best = new_best(len(rows), min(n_best, n_item * n_shift))
    return _Group(_panel(lane, near, rows, scan, shifts, best, None, threads), number, rows, shifts)


def _surviving_poses(lane: Lane, firsts: Sequence[_Group], nesting: Nesting, threads: int | None) -> Iterator[_Group]:
    """Groups of images that need about the same number of shifts, after the coarse scan."""
    scan, n_class = lane.scan, len(lane.volumes)
    n_item, n_shift = n_class * len(scan.rotations), len(scan.shifts)
    for first in firsts:
        near = lane.targets[first.target].between(1, scan.r_high)
        needed = survivors(first.panel.best, nesting, n_class)
        dense = needed.cells.mean(axis=1) * needed.shifts.mean(axis=1) > _DENSE
        if dense.any():
            yield _all_poses_of(lane, near, first.target, first.rows[dense], scan, _N_CANDIDATE, threads)
        width = np.where(dense, 0, -(-needed.shifts.sum(axis=1) // _SHIFT_STEP))
        # The shifts that an image needs first, in their order.
        order = np.argsort(~needed.shifts, axis=1, kind="stable")
        for value in np.unique(width[~dense]):
            places = np.flatnonzero(width == value)
            n_place = min(int(value) * _SHIFT_STEP, n_shift)
            shifts = order[places, :n_place]
            shifts = np.where(np.take_along_axis(needed.shifts[places], shifts, axis=1), shifts, -1)
            best = new_best(len(places), min(_N_CANDIDATE, n_item * n_place))
            panel = _panel(lane, near, first.rows[places], scan, shifts, best, needed.cells[places], threads)
            yield _Group(panel, first.target, first.rows[places], shifts)


def _panel(
    lane: Lane,
    near: Target,
    rows: NDArray[np.int64],
    scan: Scan,
    shifts: NDArray[np.int64],
    best: BestPoses,
    active: NDArray[np.bool_] | None,
    threads: int | None,
) -> Panel:
    """Shift and pack the images `rows` of a target at the scan's `shifts`, (n, n_shift), -1 for none."""
    pixels = near.pixels
    moves = scan.shifts[shifts]
    log_prior = -0.5 * np.square(moves).sum(2) / lane.sigma_shift**2
    log_prior[shifts < 0] = -np.inf
    moved = shift(np.ascontiguousarray(near.images[rows]), pixels.kx, pixels.ky, moves, pixels.box, threads=threads)
    images = pack_images(
        moved,
        np.ascontiguousarray(near.weights[rows]),
        images_per_group=None if active is None else 1,
        threads=threads,
    )
    return Panel(images, best, log_prior.astype(np.float32), active)


def _supports(lane: Lane, groups: Sequence[_Group]) -> list[Support]:
    """The candidates of each target's images, as support points of the filter."""
    n_rotation = len(lane.scan.rotations)
    found = [_no_support(len(target)) for target in lane.targets]
    for group in groups:
        best, place = group.panel.best, np.arange(len(group.rows))[:, None]
        item, which = np.divmod(np.maximum(best.index, 0), group.panel.images.n_shift)
        support, n = found[group.target], best.index.shape[1]
        support.quaternion[group.rows, :n] = lane.scan.rotations[item % n_rotation]
        support.shift[group.rows, :n] = lane.scan.shifts[group.shifts[place, which]]
        support.weight[group.rows, :n] = flatten_weights(best.score.astype(np.float64), _MIN_EFFECTIVE)
    return found


def _no_support(n: int) -> Support:
    quaternion = np.zeros((n, _N_CANDIDATE, 4))
    quaternion[..., 0] = 1
    return Support(quaternion, np.zeros((n, _N_CANDIDATE, 2)), np.zeros((n, _N_CANDIDATE)))
