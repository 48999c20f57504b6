"""How many images are searched at a time, so that they fit into the memory allowed (method.md §3)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from math import ceil, pi

import numpy as np
from numpy.typing import NDArray

from pycryo.memory import memory
from pycryo.parallel.comm import Comm
from pycryo.refine.dataset import geometries
from pycryo.refine.options import RefineOptions
from pycryo.refine.plan import Plan
from pycryo.refine.state import Setup

log = logging.getLogger(__name__)

# Of the memory that is free when a run begins, images of a search may take this share by default.
_DEFAULT_SHARE = 0.5
# Where the system does not tell.
_UNKNOWN = 2 << 30
# Bytes per image beside its samples: candidates of both scans, the cells of the slices that it needs.
_CANDIDATES = 16_000


def budget(comm: Comm, options: RefineOptions) -> float:
    """Bytes that the images of a global search may take on this rank. Collective."""
    if options.memory is not None:
        return options.memory * 2**30
    node = comm.node()
    figures, ranks = memory(), node.size
    node.free()
    return _DEFAULT_SHARE * figures[0] / ranks if figures else float(_UNKNOWN)


def image_bytes(setup: Setup, plan: Plan) -> float:
    """Bytes of an image in a global search: its weighted samples, shifted copies of each scan, candidates."""
    largest = 0.0
    for geometry in geometries(setup.share):
        scale = plan.box * plan.pixel_size / (geometry.box * geometry.pixel_size)
        n_byte = 12 * _samples(plan.r_insert / scale, geometry.box)
        for scan in (plan.scan, plan.coarse):
            if scan is not None:
                n_byte += (8 * len(scan.shifts) + 16) * _samples(scan.r_high / scale, geometry.box)
        largest = max(largest, n_byte)
    return largest + _CANDIDATES


def _samples(r_high: float, box: int) -> float:
    return pi / 2 * min(r_high, box / 2) ** 2


def rounds(setup: Setup, plan: Plan) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """This rank's particles of both halves, in as many parts as the fullest rank needs. Collective."""
    share = setup.share
    each = image_bytes(setup, plan)
    fit = max(1, int(setup.memory / each))
    needed = np.array([ceil(len(share.rows) / fit)], np.int64)
    share.comm.max_array(needed)
    n_round = max(1, int(needed[0]))
    if n_round > 1:
        log.info(
            "images are searched in %d rounds of at most %d per rank (%.3g kB each, %.3g GiB allowed): slices are "
            "sampled anew in each; more --memory or more ranks avoid that",
            n_round,
            ceil(len(share.rows) / n_round),
            each / 1e3,
            setup.memory / 2**30,
        )
    halves = [share.rows_of(half) for half in (0, 1)]
    for number in range(n_round):
        first, second = (rows[number * len(rows) // n_round : (number + 1) * len(rows) // n_round] for rows in halves)
        yield first, second
