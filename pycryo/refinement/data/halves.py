"""The half-sets of the particles: those of the file, or drawn so that rows which are not independent stay together."""

from __future__ import annotations

import logging
import os

import numpy as np
from numpy.typing import NDArray

from pycryo.checks.relatives import Picks, Relatives, find_relatives, first_rows, same_image
from pycryo.errors import InputError
from pycryo.filter.draws import uniform
from pycryo.io.particles import Particles
from pycryo.io.table import Table

log = logging.getLogger(__name__)

# Key of the draws that split the particles into halves.
_HALF_STREAM = 1 << 40
# Images of one micrograph that are nearer than this share of the particle's diameter show the same particle.
_REACH = 0.25
# Half-sets of which one has less than this share of the rows are none.
_LEAST_SHARE = 0.05

_COORDINATES = ("rlnCoordinateX", "rlnCoordinateY")
_COORDINATE_PIXELS = ("rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize")

Half = NDArray[np.int8]


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
    if diameter is None:
        fields = particles.optics.box * particles.optics.pixel_size
        diameter = 0.5 * float(fields[particles.optics_group].min(initial=fields.max(initial=0.0)))
    found = find_relatives(images_told(particles), _picks(particles), _REACH * diameter)
    if found.n_near:
        log.info(
            "%d images show a particle that another image shows, too: they are less than %.2f diameters apart",
            found.n_near,
            _REACH,
        )
    given = _given(particles)
    _warn_parted(particles, given, found)
    return draw_halves(given, found.family, seed)


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


def images_told(particles: Particles) -> NDArray[np.int64]:
    """(n,) the first row of the same image. The log tells how many rows repeat one."""
    places: dict[str, int] = {}
    real = [places.setdefault(os.path.realpath(stack), len(places)) for stack in particles.stacks]
    image = same_image(np.array(real, np.int64)[particles.stack], particles.image_index)
    count = np.bincount(image)[first_rows(image)]
    if len(count) == particles.n:
        return image
    if np.all(count == count[0]) and _poses_differ(particles, image):
        log.warning(
            "every image is listed %d times with different poses: a symmetry-expanded set, whose resolution and number "
            "of particles are those of %d images",
            count[0],
            len(count),
        )
    else:
        log.warning(
            "%d rows show %d images: %d rows repeat one, and weigh more in the map than they tell; remove them to have "
            "each image once",
            particles.n,
            len(count),
            particles.n - len(count),
        )
    return image


def _poses_differ(particles: Particles, image: NDArray[np.int64]) -> bool:
    """Whether every copy has another pose than the first row of its image."""
    poses = np.stack([particles.rot, particles.tilt, particles.psi], axis=1)
    copies = np.flatnonzero(image != np.arange(particles.n))
    return bool((poses[copies] != poses[image[copies]]).any(axis=1).all())


def _given(particles: Particles) -> Half:
    """(n,) half-set 0 or 1 of rlnRandomSubset, -1 where it is to be drawn."""
    subset = particles.random_subset
    given = np.where(np.isin(subset, (1, 2)), subset - 1, -1).astype(np.int8)
    count = [int(np.count_nonzero(given == h)) for h in (0, 1)]
    if not sum(count):
        return given
    if min(count) < _LEAST_SHARE * sum(count):
        log.warning(
            "rlnRandomSubset has %d particles in half-set 1, %d in 2, which are no halves: all are drawn anew",
            *count,
        )
        return np.full_like(given, -1)
    if missing := particles.n - sum(count):
        log.warning("%d particles have no half-set (rlnRandomSubset): it is drawn, the others keep theirs", missing)
    return given


def _warn_parted(particles: Particles, given: Half, found: Relatives) -> None:
    """Warn of relatives whose half-sets are given, and not the same."""
    images, families = (_n_parted(given, first) for first in (found.image, found.family))
    if families:
        log.warning(
            "rlnRandomSubset parts relatives: %d rows show an image of the other half-set, %d more a particle of it. "
            "The half-maps share their noise, the resolution will look better than it is; remove rlnRandomSubset from "
            "%s to have the half-sets drawn anew",
            images,
            families - images,
            particles.path,
        )


def _n_parted(given: Half, first: NDArray[np.int64]) -> int:
    """Rows of sets, each called by its first row, that have given rows in both halves."""
    in_both = np.ones(len(given), bool)
    for h in (0, 1):
        in_both &= np.bincount(first[given == h], minlength=len(given)) > 0
    return int(np.count_nonzero(in_both[first] & (given >= 0)))


def _picks(particles: Particles) -> Picks | None:
    """Where the particles were picked, if the file says so."""
    table = particles.tables[particles.table_name]
    if not isinstance(table, Table) or not {*_COORDINATES, "rlnMicrographName"} <= set(table.columns):
        return None
    try:
        columns = table.values(_COORDINATES, ["rlnMicrographName"])
        pixels = _coordinate_pixels(particles, table)
    except InputError as error:
        log.warning("particles that were picked twice are not looked for: %s", error)
        return None
    names: dict[str, int] = {}
    every = [names.setdefault(name, len(names)) for name in columns["rlnMicrographName"].tolist()]
    micrograph = np.array(every, np.int64)[particles.rows]
    cut = np.stack([columns[label][particles.rows] for label in _COORDINATES], axis=1)
    cut = cut * pixels[:, None]
    origin = np.stack([particles.origin_x, particles.origin_y], axis=1)
    return Picks(micrograph, (cut, cut - origin) if origin.any() else (cut,))


def _coordinate_pixels(particles: Particles, table: Table) -> NDArray[np.float64]:
    """(n,) Å per pixel of the micrographs, if the file says so; else of the images, which are not smaller."""
    optics = particles.optics_table
    for label in _COORDINATE_PIXELS:
        if label in table.columns:
            return np.asarray(table.values([label])[label][particles.rows], np.float64)
        if label in optics.columns:
            found = optics.values([label])[label]
            if "rlnOpticsGroup" not in optics.columns:
                return np.full(particles.n, found[0])
            numbers = optics.values(["rlnOpticsGroup"])["rlnOpticsGroup"]
            place = {int(number): float(value) for number, value in zip(numbers, found, strict=True)}
            return np.array([place[int(number)] for number in particles.optics.number])[particles.optics_group]
    return particles.pixel_size
