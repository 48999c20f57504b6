"""How the ranks of a half-set come by the slices of a scan: a cost model from measured rates.

See docs/parallel.md, The conveyor of the E-phase.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import ceil

import numpy as np

from pycryo.kernels.compare import CELL_SLICES, compare, new_best, pack_slices
from pycryo.memory import core_cache
from pycryo.parallel.belt_plan import rounds_of
from pycryo.parallel.comm import Comm
from pycryo.parallel.conveyor import WAYS, Array, Link, Make, Way, measure_link
from pycryo.refinement.expectation.scan import Panel

# Slices of a block: fewer make the comparison slow, more make the first one late.
_LEAST_BLOCK, _MOST_BLOCK = 256, 2048
# A block fills this share of a core's cache, and is so large that its latency is at most this share of its comparison.
_CACHE_SHARE = 0.5
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
    make_block, score_block : float
        The same once more for each block, whatever its number of slices: a block costs as if it had
        ``make_block / make`` slices more to sample and ``score_block / score`` more to compare.
    """

    make: float
    score: float
    link: Link
    make_block: float = 0.0
    score_block: float = 0.0


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
    """Sample a few and more slices, compare a panel with them and send them round. Collective.

    A rank alone has no choice, and nothing is measured.
    """
    if comm.size == 1:
        return Rates(0.0, 0.0, Link(0.0, np.inf))
    few, many = min(n_item, CELL_SLICES), min(n_item, _PROBE)
    times = np.array([_probe(make, n, n_pixel, panel) for n in (few, many, few, many)])
    # The first time, memory and threads are new.
    figures = np.concatenate([rate_and_overhead(few, many, *times[2:, i]) for i in (0, 1)])
    comm.max_array(figures)
    making, make_block, scoring, score_block = (float(value) for value in figures)
    return Rates(making, scoring, measure_link(comm, 8 * n_pixel * _PROBE), make_block, score_block)


def _probe(make: Make, n: int, n_pixel: int, panel: Panel | None) -> tuple[float, float]:
    """Seconds per Fourier pixel to sample n slices, and per Fourier pixel, image and shift to compare them."""
    slices: Array = np.empty((n, 2, n_pixel), np.float32)
    begin = time.perf_counter()
    make(0, n, slices)
    making = (time.perf_counter() - begin) / max(1, n_pixel)
    if panel is None or not panel.images.n_image:
        return making, 0.0
    best = new_best(panel.images.n_image, 1)
    begin = time.perf_counter()
    compare(panel.images, pack_slices(slices), best, log_prior_shift=panel.log_prior)
    rows = panel.images.n_image * panel.images.n_shift
    return making, (time.perf_counter() - begin) / max(1, rows * n_pixel)


def rate_and_overhead(few: int, many: int, at_few: float, at_many: float) -> tuple[float, float]:
    """Time per slice and per block, from the times of two blocks of `few` and `many` slices; neither is negative."""
    if many <= few:
        return at_few / max(1, few), 0.0
    slope = min(max(at_many - at_few, 0.0) / (many - few) or np.inf, at_many / many)
    return slope, max(0.0, at_few - slope * few)


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

    where t and C grow as the blocks become shorter, which long rings make them.

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
    work = _Work(n_item, n_pixel, n_score, rates)
    block = _block(work)
    local = work.making(n_item, block) + work.comparison(block)
    seconds: dict[Way, float] = {"local": local}
    sizes: dict[Way, int] = {"local": 1}
    for m in [min(ring_size or n_rank, n_rank)] if ring_size or way else _ring_sizes(n_rank):
        for name, cost in _shared(m, work, block).items():
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


@dataclass(frozen=True, slots=True)
class _Work:
    """What the busiest rank has to do."""

    n_item: int
    n_pixel: int
    n_score: float
    rates: Rates

    def making(self, n_item: float, block: float) -> float:
        """Seconds to sample so many slices in blocks of `block`."""
        return n_item * self.n_pixel * (self.rates.make + self.rates.make_block / block)

    def comparison(self, block: float) -> float:
        """Seconds of all comparisons."""
        return self.n_score * self.n_pixel * (self.rates.score + self.rates.score_block / block)


def _block(work: _Work) -> int:
    """Slices of a block: it fits the cache, and a latency is a small share of its comparison."""
    per_slice = work.comparison(_LEAST_BLOCK) / max(1, work.n_item)
    wanted = max(
        _CACHE_SHARE * core_cache() / (8 * work.n_pixel),
        work.rates.link.latency / _LATENCY_SHARE / max(per_slice, 1e-12),
    )
    return ceil(min(max(wanted, _LEAST_BLOCK), _MOST_BLOCK) / CELL_SLICES) * CELL_SLICES


def _shared(m: int, work: _Work, block: int) -> dict[Way, float]:
    """Seconds of the ways with messages, in rings of m ranks."""
    link, n_item = work.rates.link, work.n_item
    n_byte = 8.0 * work.n_pixel
    n_round = rounds_of(n_item / m, block)
    length = max(n_item / (n_round * m), 1.0)
    gather = work.making(n_item / m, n_item / m) + link.seconds(m - 1, (m - 1) / m * n_item * n_byte)
    message = length * n_byte / link.bandwidth
    not_hidden = link.latency + max(0.0, message - work.comparison(length) * length / max(n_item, 1))
    return {
        "allgather": gather + work.comparison(block),
        "conveyor": work.making(n_item / m, length) + n_round * (m - 1) * not_hidden + work.comparison(length),
    }
