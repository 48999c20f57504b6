"""The first iterations of a large set take a part of its images (docs/method.md, Which images are scanned)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.draws import uniform
from pycryo.refinement.schedule import Limits, Schedule
from pycryo.refinement.setup import Setup

# Images of each half-set to begin with, and the factor by which they grow. All are taken where a half-set has fewer
# than so many times as many: that would save little.
FIRST_PART, _GROWTH, _LEAST_SAVING = 1000, 4, 3
# A part does as long as r_high grows by this factor; at the most it does by 1.6. Down to 1.3 the search of all images
# would come late, at a finer r_high: 20 000 images of 8WG7 would take 133 CPU s instead of 126, 6000 of 160 px 203
# instead of 157.
_CLIMBS = 1.5
# Key of the draws of the parts.
_PART_STREAM = 1 << 44


def most_part(half: NDArray[np.int8]) -> int:
    """The largest part that saves time, images of each half-set; `half` (n_all,) is -1 for unusable images."""
    return int(min(np.count_nonzero(half == 0), np.count_nonzero(half == 1))) // _LEAST_SAVING


def first_part(setup: Setup) -> int:
    """Images of each half-set that a global search begins with; 0: all.

    Classes begin with all: what sets them apart shows in many images only.
    """
    return 0 if setup.options.classes > 1 else _fitting(FIRST_PART, most_part(setup.partition.half))


def _fitting(count: int, most: int) -> int:
    return count if count <= most else 0


def part_grown(following: Schedule, reason: str, now: Schedule, limits: Limits) -> tuple[Schedule, str]:
    """The schedule after an iteration on a part of the images, and the reason.

    A part does as long as its half-maps let r_high grow fast, and the global search is not settled. If those of the
    first iteration do not, the refinement begins anew with all images.
    """
    if following.stage == "final":
        return replace(following, compared=now.part, rescans="all"), reason
    climbs = following.r_high >= _CLIMBS * now.r_high
    if following.stage == "global" and climbs and not following.in_doubt:
        onward = replace(following, part=now.part, compared=now.part)
        return onward, f"{reason}; {now.part} images of each half-set still do"
    if now.best_shell == 0:
        anew = Schedule("global", now.r_high)
        return anew, f"{now.part} images of each half-set are too few, the search begins anew with all: {reason}"
    part = _fitting(_GROWTH * now.part, limits.most_part)
    onward = replace(
        following,
        stage="global",
        rescans="",
        stalled=0,
        iterations=0,
        in_doubt=False,
        part=part,
        compared=now.part,
    )
    taken = f"{part} of each half-set" if part else "all"
    return onward, f"{reason}; {now.part} images of each half-set do no longer, {taken} are taken"


def begins_anew(now: Schedule, following: Schedule) -> bool:
    """Whether nothing is kept of an iteration on a part of the images, see `part_grown`."""
    return now.part > 0 and following.part == 0 and following.compared == 0


def images_of(setup: Setup, count: int) -> Setup:
    """`setup` with `count` images of each half-set only, 0: all. Each part holds the smaller ones."""
    if count == 0:
        return setup
    half = setup.partition.half
    found = np.full(len(half), -1, np.int8)
    for h in (0, 1):
        rows = np.flatnonzero(half == h)
        draw = uniform(setup.options.seed, _PART_STREAM, rows, 1)[:, 0]
        found[rows[np.argsort(draw, kind="stable")[:count]]] = h
    return restricted(setup, found)


def restricted(setup: Setup, half: NDArray[np.int8]) -> Setup:
    """`setup` with some of its images only: those whose `half` (n_all,) is 0 or 1; that of the others is -1."""
    partition, statistics = setup.partition, setup.statistics
    chosen = np.flatnonzero(half >= 0)
    drawn = np.bincount(partition.particles.optics_group[chosen], minlength=len(statistics.count)).astype(np.int64)
    share = drawn / np.maximum(statistics.count, 1)
    return replace(
        setup,
        partition=replace(partition, half=half, rows=partition.rows[half[partition.rows] >= 0]),
        statistics=replace(statistics, power=statistics.power * share[:, None], count=drawn),
    )
