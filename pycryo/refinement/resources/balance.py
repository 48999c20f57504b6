"""Images dealt again between iterations by measured cost, so that all ranks need the same time."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm
from pycryo.refinement.data.partition import Partition, deal
from pycryo.refinement.data.posteriors import from_columns, to_columns
from pycryo.refinement.expectation.search import Effort
from pycryo.refinement.outcome import Load
from pycryo.refinement.setup import Setup
from pycryo.refinement.state import State

log = logging.getLogger(__name__)

Bounds = NDArray[np.int64]

# Part of the difference to equal times that is made up at once: times jitter.
_DAMPING = 0.7
# Gain that moving must promise, as a part of the slowest rank's time.
_LEAST_GAIN = 0.05
# Seconds that it must promise, too.
_LEAST_SECONDS = 0.1
# No rank is taken to be so many times as fast as the others: it worked too briefly to tell.
_FASTEST = 20.0
# Bytes per second at which a new owner gets its images: a slow disc.
_READING = 1e8


def balance(setup: Setup, state: State, load: Load) -> tuple[Setup, State]:
    """Deal the images again if ranks then wait less for each other; the result stays the same. Collective.

    Parameters
    ----------
    setup : Setup
        Not to be used any more: its communicators of the halves are given back if images move.
    state : State
        After an iteration.
    load : Load
        What the ranks did in it; rank 0's counts.
    """
    partition = setup.partition
    if partition.comm.size == 1:
        return setup, state
    move = 4 * int(partition.particles.optics.box.max()) ** 2 / _READING
    # Decided by one: processors of another kind might round otherwise.
    bounds = on_root(partition.comm, lambda: next_bounds(partition.bounds, load.busy, load.fixed, move))
    if bounds is None:
        return setup, state
    log.debug(
        "load: ranks were busy %s s; moved %d particles so that all take about %.1f s",
        _range(load.busy),
        _n_moved(partition.bounds, bounds).sum(),
        _predicted(partition.bounds, load.busy, load.fixed, bounds).max(),
    )
    return redeal(setup, state, bounds)


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores per image of the global scan at its full resolution: those computed, and those of all pairs."""

    computed: float
    all: float


def measure_load(partition: Partition, effort: Effort, seconds: float) -> tuple[Load, Scores]:
    """What all ranks did in the E-phase; waits for the last of them. Collective.

    Parameters
    ----------
    partition : Partition
    effort : Effort
        Of this rank.
    seconds : float
        What its E-phase took.
    """
    traffic, choice = effort.traffic, effort.choice
    begin = time.perf_counter()
    partition.comm.barrier()
    idle = traffic.idle + time.perf_counter() - begin
    busy = max(0.0, seconds - traffic.idle - traffic.exposed)
    mine = (busy, traffic.making, idle, traffic.exposed, traffic.n_made, traffic.n_byte, effort.alone)
    counts = (effort.n_image, effort.n_score, effort.n_score_all, len(partition.rows))
    ranks = partition.comm.all_gather((*mine, *counts))
    busies, fixed, idles, exposed, made, n_byte, alone, n_image, n_score, n_all, held = (
        list(each) for each in zip(*ranks, strict=True)
    )
    way, ring_size = partition.comm.broadcast(("", 1) if choice is None else (choice.way, choice.ring_size))
    hidden = float(np.clip(1 - sum(exposed) / sum(alone), 0, 1)) if sum(alone) > 0 else None
    images = max(1, sum(n_image))
    return (
        Load(held, busies, fixed, idles, exposed, made, n_byte, way, ring_size, hidden),
        Scores(sum(n_score) / images, sum(n_all) / images),
    )


def describe(load: Load) -> str:
    """The load of an iteration in a line."""
    n = len(load.busy)
    if n == 1:
        return f"load: 1 rank, busy {load.busy[0]:.1f} s"
    way = f", slices {load.way}" if load.way else ""
    way += f" in rings of {load.ring_size}" if load.ring_size > 1 else ""
    hidden = "" if load.hidden is None else f", {100 * load.hidden:.0f} % of the communication hidden"
    return (
        f"load: {n} ranks{way}: busy {_range(load.busy)} s, idle {_range(load.idle)} s, "
        f"waiting for messages {_range(load.exposed)} s{hidden}"
    )


def _range(seconds: Sequence[float]) -> str:
    return f"{min(seconds):.1f}-{max(seconds):.1f}"


def next_bounds(bounds: Bounds, busy: Sequence[float], fixed: Sequence[float], move: float = 0.0) -> Bounds | None:
    """Pieces for which all ranks need the same time, if what a particle costs stays as it is on each rank.

    A rank that has particles keeps one at least.

    Parameters
    ----------
    bounds : (n_rank + 1,) int64
        Pieces now, see `Partition`.
    busy : n_rank floats
        Seconds of work for them.
    fixed : n_rank floats
        Those of them that do not grow with the number of particles.
    move : float
        Seconds that a particle costs the rank that it comes to.

    Returns
    -------
    (n_rank + 1,) int64, or None
        None if the slowest rank would gain too little.
    """
    count = np.diff(bounds)
    start, cost = _costs(count, busy, fixed)
    if not cost.any():
        return None
    least = (count > 0).astype(np.int64)
    spare = (count - least) + _DAMPING * (_filled(start + least * cost, cost, (count - least).sum()) - (count - least))
    ends = np.cumsum(least) + np.floor(np.cumsum(spare) + 0.5).astype(np.int64)
    found: Bounds = np.concatenate([bounds[:1], ends])
    gain = max(busy) - _predicted(bounds, busy, fixed, found).max()
    if gain < max(_LEAST_GAIN * max(busy), _LEAST_SECONDS) or gain <= move * _n_moved(bounds, found).max():
        return None
    return found


def _costs(
    count: NDArray[np.int64], busy: Sequence[float], fixed: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Seconds of each rank without particles, and of each particle there: the mean where a rank had none."""
    start = np.minimum(fixed, busy)
    varying = np.where(count > 0, np.asarray(busy) - start, 0.0)
    mean = varying.sum() / max(1, count.sum())
    return start, np.where(count > 0, np.maximum(varying / np.maximum(count, 1), mean / _FASTEST), mean)


def _filled(start: NDArray[np.float64], cost: NDArray[np.float64], total: int) -> NDArray[np.float64]:
    """x ≥ 0 with sum `total` for which start + cost·x is the same wherever x > 0, and `start` not less elsewhere."""
    order = np.argsort(start, kind="stable")
    # When the 1, 2, ... ranks that start first would end, if they took everything: the best choice is the solution.
    levels = (total + np.cumsum((start / cost)[order])) / np.cumsum(1 / cost[order])
    return np.asarray(np.maximum(0.0, levels.min() - start) / cost)


def _predicted(before: Bounds, busy: Sequence[float], fixed: Sequence[float], after: Bounds) -> NDArray[np.float64]:
    """Seconds of each rank with the pieces `after`, from those with the pieces `before`."""
    start, cost = _costs(np.diff(before), busy, fixed)
    return start + cost * np.diff(after)


def _n_moved(before: Bounds, after: Bounds) -> NDArray[np.int64]:
    """Particles that each rank gets from others."""
    kept = np.minimum(before[1:], after[1:]) - np.maximum(before[:-1], after[:-1])
    return np.asarray(np.diff(after) - np.maximum(0, kept))


def redeal(setup: Setup, state: State, bounds: Bounds) -> tuple[Setup, State]:
    """Deal the images in other pieces; their posteriors go with them. Collective.

    Parameters
    ----------
    setup : Setup
        Not to be used any more: its communicators of the halves are given back.
    state : State
    bounds : (n_rank + 1,) int64
        See `Partition`.
    """
    before = setup.partition
    partition = deal(before.comm, before.particles, before.half, before.cache, bounds, before=before)
    columns = _moved(before.comm, to_columns(before, state.posteriors), before.bounds, bounds)
    before.free()
    # A rank that leaves a half forgets its rates: when it comes back, the others may have measured again.
    rates = [known if before.holds(half) and partition.holds(half) else None for half, known in enumerate(setup.rates)]
    return replace(setup, partition=partition, rates=rates), replace(state, posteriors=from_columns(partition, columns))


def _moved(comm: Comm, columns: Mapping[str, NDArray[Any]], before: Bounds, after: Bounds) -> dict[str, NDArray[Any]]:
    """Arrays with a row per particle, with the rows of the pieces `after` instead of `before`. Collective."""
    mine = {name: (data.shape[1:], data.dtype) for name, data in columns.items()}
    layout = next((each for each in comm.all_gather(mine) if each), {})
    leaving, coming = _overlaps(before, after, comm.rank), _overlaps(after, before, comm.rank)
    here, there = leaving.pop(comm.rank, None), coming.pop(comm.rank, None)
    result = {}
    for name, (shape, dtype) in layout.items():
        data = np.empty((after[comm.rank + 1] - after[comm.rank], *shape), dtype)
        if here is not None and there is not None:
            data[there] = columns[name][here]
        comm.swap(
            {rank: columns[name][part] for rank, part in leaving.items()},
            {rank: data[part] for rank, part in coming.items()},
        )
        result[name] = data
    return result


def _overlaps(bounds: Bounds, others: Bounds, rank: int) -> dict[int, slice]:
    """What the piece `rank` of `bounds` has in common with each piece of `others`, counted from its own beginning."""
    first, last = np.clip(others[:-1], *bounds[rank : rank + 2]), np.clip(others[1:], *bounds[rank : rank + 2])
    return {int(r): slice(first[r] - bounds[rank], last[r] - bounds[rank]) for r in np.flatnonzero(last > first)}
