"""The half-sets of the particles: those of the file, or drawn so that rows which are not independent stay together."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from pycryo.checks.half_sets import Half, check_half_sets, check_images
from pycryo.filter.draws import uniform
from pycryo.findings import Findings
from pycryo.io.particles import Particles

log = logging.getLogger(__name__)

# Key of the draws that split the particles into halves.
_HALF_STREAM = 1 << 40


def split_halves(particles: Particles, seed: int, diameter: float | None = None) -> Half:
    """(n,) half-set 0 or 1 of each particle.

    Those that rlnRandomSubset states stay, rows without one are drawn so that both halves become equal in size, and all
    are drawn anew where the file has one half only. Rows that are drawn go to the half of their relatives: rows of the
    same image, and images of one micrograph nearer than a quarter of the particle's diameter. The log tells how many
    there are.

    Parameters
    ----------
    particles : Particles
    seed : int
    diameter : float, optional
        Of the particle, Å. Default: half of each image.
    """
    findings = Findings()
    given, found = check_half_sets(particles, findings, diameter)
    findings.log_warnings(log)
    return draw_halves(given, found.family, seed)


def images_told(particles: Particles) -> NDArray[np.int64]:
    """(n,) the first row of the same image. The log tells how many rows repeat one."""
    findings = Findings()
    image = check_images(particles, findings)
    findings.log_warnings(log)
    return image


def draw_halves(given: Half, family: NDArray[np.int64], seed: int) -> Half:
    """Half-sets of all rows, equal in size as far as possible.

    Parameters
    ----------
    given : (n,) int8
        Half-set 0 or 1, which stays; -1: to be drawn.
    family : (n,) int64
        First row of those that go to one half. If a half is given to some of them, the others follow, to that of most.
    seed : int
    """
    half = given.copy()
    count = [np.bincount(family[given == h], minlength=len(given)) for h in (0, 1)]
    has = (count[0] + count[1])[family] > 0
    follows = has & (given < 0)
    half[follows] = (count[1] > count[0])[family[follows]]
    free = np.flatnonzero(~has)
    first, which, size = np.unique(family[free], return_inverse=True, return_counts=True)
    draw = uniform(seed, _HALF_STREAM, first.astype(np.int64), 1)[:, 0]
    order = np.lexsort((draw, -size))
    chosen = np.empty(len(first), np.int8)
    lead = int(np.count_nonzero(half == 0)) - int(np.count_nonzero(half == 1))
    chosen[order] = _balanced(size[order], lead)
    half[free] = chosen[which]
    return half


def _balanced(sizes: NDArray[np.int64], lead: int) -> Half:
    """Half of each of some sets, of descending sizes, that always goes to the smaller half; `lead`: half 0 - half 1."""
    n_large = int(np.count_nonzero(sizes > 1))
    half = np.empty(len(sizes), np.int8)
    for number, size in enumerate(sizes[:n_large].tolist()):
        half[number] = lead > 0
        lead += -size if lead > 0 else size
    single = half[n_large:]
    n_short = min(abs(lead), len(single))
    single[:n_short] = lead > 0
    single[n_short:] = np.arange(len(single) - n_short) % 2
    return half
