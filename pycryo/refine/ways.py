"""How the ranks of a half-set come by the slices of a scan: a cost model from measured rates (parallel.md §1)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import ceil

import numpy as np

from pycryo.compare import CELL_SLICES, compare, new_best, pack_slices
from pycryo.parallel.comm import Comm
from pycryo.parallel.conveyor import WAYS, Array, Link, Make, Way, measure_link
from pycryo.refine.scan import Panel

# Slices of a block: fewer make the comparison slow, more fill the cache.
_LEAST_BLOCK, _MOST_BLOCK = 256, 2048
# A block is so large that its latency is at most this share of its comparison.
_LATENCY_SHARE = 0.01
# Slices that rates are measured with.
_PROBE = 256
# Sharing slices ties the ranks together, so that all wait for the slowest: it must save this share of the time.
_WORTHWHILE = 0.02
# Share of the memory budget that gathered slices may take.
_GATHER_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Rates:
    """Speeds of the slowest rank of a half-set.

    Attributes
    ----------
    make : float
        Seconds to sample one Fourier pixel of a slice.
    score : float
        Seconds per Fourier pixel of one score.
    link : Link
    """

    make: float
    score: float
    link: Link


@dataclass(frozen=True, slots=True)
class Choice:
    """A way and its expected cost.

    Attributes
    ----------
    way : "conveyor", "allgather" or "local"
    ring_size : int
    block : int
        Slices of a block.
    seconds : dict
        Expected seconds of each way, at its best ring size.
    """

    way: Way
    ring_size: int
    block: int
    seconds: dict[Way, float]


def measure_rates(comm: Comm, make: Make, n_item: int, n_pixel: int, panel: Panel | None) -> Rates:
    """Sample a few slices, compare a panel with them and send them round. Collective."""
    n = min(n_item, _PROBE)
    slices: Array = np.empty((n, 2, n_pixel), np.float32)
    begin = time.perf_counter()
    make(0, n, slices)
    making = (time.perf_counter() - begin) / max(1, slices.size / 2)
    scoring = 0.0
    if panel is not None and panel.images.n_image:
        best = new_best(panel.images.n_image, 1)
        begin = time.perf_counter()
        compare(panel.images, pack_slices(slices), best, log_prior_shift=panel.log_prior)
        scores = panel.images.n_image * panel.images.n_shift * n
        scoring = (time.perf_counter() - begin) / max(1, scores * n_pixel)
    slowest = np.array([making, scoring])
    comm.max_array(slowest)
    return Rates(float(slowest[0]), float(slowest[1]), measure_link(comm, 8 * n_pixel * _PROBE))


def choose_way(
    n_rank: int,
    n_item: int,
    n_pixel: int,
    n_score: float,
    rates: Rates,
    *,
    way: Way | None = None,
    ring_size: int | None = None,
    memory: float = np.inf,
) -> Choice:
    """The cheapest way to let all ranks of a half-set compare their images with all slices.

    With N slices of p pixels, t per sampled pixel, rings of m ranks and the same comparison C in all:

    * local: N·p·t + C
    * allgather: N·p·t/m + (m - 1)·(message of N/m slices) + C
    * conveyor: N·p·t/m + latencies + what the comparison of a block does not hide of its message + C

    Parameters
    ----------
    n_rank : int
    n_item, n_pixel : int
        Slices and their pixels.
    n_score : float
        Scores of the busiest rank.
    rates : Rates
    way : optional
        Asked for by the user; then in one ring, unless its size is given, too.
    ring_size : int, optional
        Largest ring, asked for by the user.
    memory : float
        Budget in bytes; gathered slices may take a quarter of it.
    """
    comparison = n_score * n_pixel * rates.score
    block = _block(n_item, comparison, rates.link.latency)
    local = n_item * n_pixel * rates.make + comparison
    seconds: dict[Way, float] = {"local": local}
    sizes: dict[Way, int] = {"local": 1}
    for m in [min(ring_size or n_rank, n_rank)] if ring_size or way else _ring_sizes(n_rank):
        for name, cost in _shared(m, n_item, n_pixel, block, comparison, rates).items():
            too_large = name == "allgather" != way and 8.0 * n_item * n_pixel > _GATHER_SHARE * memory
            if not too_large and cost < seconds.get(name, np.inf):
                seconds[name], sizes[name] = cost, m
    best: Way = "local"
    if n_rank > 1:
        fastest: Way = min(WAYS, key=lambda name: seconds.get(name, np.inf))
        best = way or fastest
        if way is None and seconds[best] > (1 - _WORTHWHILE) * local:
            best = "local"
    return Choice(best, sizes[best], block, seconds)


def _ring_sizes(n_rank: int) -> list[int]:
    """All ranks, half of them, a quarter and so on; none below 2."""
    sizes = {-(-n_rank // 2**i) for i in range(n_rank.bit_length())}
    return sorted(sizes - {1}, reverse=True)


def _block(n_item: int, comparison: float, latency: float) -> int:
    """Slices of a block: a latency is a small share of its comparison."""
    per_slice = comparison / max(1, n_item)
    wanted = latency / _LATENCY_SHARE / max(per_slice, 1e-12)
    return ceil(min(max(wanted, _LEAST_BLOCK), _MOST_BLOCK) / CELL_SLICES) * CELL_SLICES


def _shared(m: int, n_item: int, n_pixel: int, block: int, comparison: float, rates: Rates) -> dict[Way, float]:
    """Seconds of the ways with messages, in rings of m ranks."""
    making, link = n_item * n_pixel * rates.make / m, rates.link
    n_byte = 8.0 * n_pixel
    gather = link.seconds(m - 1, (m - 1) / m * n_item * n_byte)
    n_round = max(1, ceil(n_item / m / block))
    n_block = n_round * m
    message = n_item / n_block * n_byte / link.bandwidth
    not_hidden = link.latency + max(0.0, message - comparison / n_block)
    return {"allgather": making + gather + comparison, "conveyor": making + n_round * (m - 1) * not_hidden + comparison}
