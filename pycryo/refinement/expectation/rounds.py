"""How many images are searched, or wait to be inserted, at a time: as many as fit into the memory allowed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from math import ceil, pi
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pycryo.model.insertion import waits
from pycryo.model.owners import Owners
from pycryo.refinement.data.partition import Partition, geometries

if TYPE_CHECKING:
    from pycryo.refinement.plan import Plan

log = logging.getLogger(__name__)

# Bytes per image beside its samples: candidates of both scans, the cells of the slices that it needs.
_CANDIDATES = 18_000
# Images that a rank compares with the slices at a time at most, where posteriors are kept: until the scan of them is
# done, nothing is. The slices are sampled anew each time.
MOST_SEARCHED = 4096

# This rank's particles of both halves.
Rows = tuple[NDArray[np.int64], NDArray[np.int64]]


def image_bytes(partition: Partition, plan: Plan) -> float:
    """Bytes of an image that is searched or waits for its insertion.

    Weighted samples; in a global search also shifted copies for each scan and candidates.
    """
    search, largest = plan.search, 0.0
    for geometry in geometries(partition):
        scale = plan.box * plan.pixel_size / (geometry.box * geometry.pixel_size)
        n_byte = (12 if plan.ewald is None else 36) * _samples(plan.r_insert / scale, geometry.box)
        for scan in () if search is None else (search.scan, search.coarse):
            if scan is not None:
                n_byte += (8 * len(scan.shifts) + 16) * _samples(scan.r_high / scale, geometry.box)
        largest = max(largest, n_byte)
    return largest + (0 if search is None else _CANDIDATES)


def _samples(r_high: float, box: int) -> float:
    return pi / 2 * min(r_high, box / 2) ** 2


def rounds(partition: Partition, owners: tuple[Owners, Owners], plan: Plan, memory: float) -> Iterator[Rows]:
    """This rank's particles of both halves, in as many parts as the fullest rank needs. Collective.

    `memory` is in bytes.
    """
    each = image_bytes(partition, plan)
    is_kept = plan.search is not None or any(
        comm is not None and waits(comm, each) for comm, each in zip(partition.half_comm, owners, strict=True)
    )
    n_round = round_count(partition, each if is_kept else 0.0, memory)
    if n_round > 1:
        log.debug(
            "images are %s in %d rounds of at most %d per rank (%.3g kB each, %.3g GiB allowed); more --memory or more "
            "ranks save time",
            "inserted" if plan.search is None else "searched",
            n_round,
            ceil(len(partition.rows) / n_round),
            each / 1e3,
            memory / 2**30,
        )
    yield from parts(partition, n_round)


def round_count(partition: Partition, n_byte: float, budget: float) -> int:
    """Rounds in which the fullest rank's images, of `n_byte` each, fit into `budget` bytes. Collective."""
    fit = max(1, int(budget / max(n_byte, 1e-9)))
    needed = np.array([ceil(len(partition.rows) / fit)], np.int64)
    partition.comm.max_array(needed)
    return max(1, int(needed[0]))


def parts(partition: Partition, n_round: int) -> Iterator[Rows]:
    """This rank's particles of both halves, round by round."""
    return _cut((partition.rows_of(0), partition.rows_of(1)), n_round)


def search_parts(partition: Partition, rows: Rows, n_scanned: int) -> Iterator[Rows]:
    """A round, of which this rank scans `n_scanned` images, in parts of `MOST_SEARCHED` of them at most. Collective."""
    needed = np.array([ceil(n_scanned / MOST_SEARCHED)], np.int64)
    partition.comm.max_array(needed)
    return _cut(rows, max(1, int(needed[0])))


def _cut(halves: Rows, n_part: int) -> Iterator[Rows]:
    for number in range(n_part):
        first, second = (rows[number * len(rows) // n_part : (number + 1) * len(rows) // n_part] for rows in halves)
        yield first, second
