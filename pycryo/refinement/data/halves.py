"""The half-sets of the particles: those of the file, or drawn so that rows which are not independent stay together."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pycryo.checks.half_sets import Half, check_half_sets, check_images
from pycryo.checks.relatives import joined
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


def images_told(particles: Particles, twin: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """(n,) the first row of the same image. The log tells how many rows repeat one.

    With `twin` (n,), the first row with the same pixels, it tells that if names did not.
    """
    findings = Findings()
    image = check_images(particles, findings, twin)
    if twin is not None:
        _forget(findings, lambda before: check_images(particles, before))
    findings.log_warnings(log)
    return image


def halves_of_pixels(
    particles: Particles, half: Half, twin: NDArray[np.int64], seed: int, diameter: float | None = None
) -> Half:
    """Half-sets from `split_halves` (n,), which knows names of images only, now that their pixels are known.

    Parameters
    ----------
    particles, seed, diameter
        As of `split_halves`.
    half : (n,) int8
        The same is returned if no image has another name, too.
    twin : (n,) int64
        The first row whose image has the same pixels.
    """
    if np.array_equal(twin, np.arange(len(twin))):
        return half
    named = check_images(particles, Findings())
    if np.array_equal(joined(named, twin), named):
        return half
    findings = Findings()
    given, found = check_half_sets(particles, findings, diameter, twin)
    _forget(findings, lambda before: check_half_sets(particles, before, diameter))
    findings.log_warnings(log)
    return draw_halves(given, found.family, seed)


def _forget(findings: Findings, earlier: Callable[[Findings], object]) -> None:
    """Drop what was told before."""
    told = Findings()
    earlier(told)
    findings.items[:] = [each for each in findings.items if each not in told.items]


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
