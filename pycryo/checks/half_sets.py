"""Half-sets of the file, and rows that belong together: of one image, or of one particle."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from pycryo.checks.relatives import Picks, Relatives, find_relatives, first_rows, joined, same_image
from pycryo.errors import InputError
from pycryo.findings import Findings
from pycryo.io.particles import Particles
from pycryo.io.table import Table

# Images of one micrograph that are nearer than this share of the particle's diameter show the same particle.
_REACH = 0.25
# Half-sets of which one has less than this share of the rows are none.
_LEAST_SHARE = 0.05

_COORDINATES = ("rlnCoordinateX", "rlnCoordinateY")
_COORDINATE_PIXELS = ("rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize")

Half = NDArray[np.int8]

CODES = ("relatives", "half-set")  # of what is found here


def check_half_sets(
    particles: Particles, findings: Findings, diameter: float | None = None, twin: NDArray[np.int64] | None = None
) -> tuple[Half, Relatives]:
    """Look for relatives, and at the half-sets of the file.

    Parameters
    ----------
    particles : Particles
    findings : Findings
    diameter : float, optional
        Of the particle, Å: images of one micrograph nearer than a quarter of it show the same particle. Default: half
        of each image.
    twin : (n,) int64, optional
        See `check_images`.

    Returns
    -------
    given : (n,) int8
        Half-set 0 or 1 of rlnRandomSubset, -1 where it is to be drawn.
    relatives : Relatives
    """
    if diameter is None:
        fields = particles.optics.box * particles.optics.pixel_size
        diameter = 0.5 * float(fields[particles.optics_group].min(initial=fields.max(initial=0.0)))
    found = find_relatives(check_images(particles, findings, twin), _picks(particles, findings), _REACH * diameter)
    if found.n_near:
        findings.warn(
            "relatives",
            f"{found.n_near} images show a particle that another image shows, too: they are less than {_REACH} "
            "diameters apart",
        )
    given = _given(particles, findings)
    _check_parted(particles, given, found, findings)
    return given, found


def check_images(particles: Particles, findings: Findings, twin: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """(n,) the first row of the same image; finds rows that repeat one.

    `twin` (n,) is the first row with the same pixels, where images were read.
    """
    places: dict[tuple[int, ...] | str, int] = {}
    real = [places.setdefault(_file(stack), len(places)) for stack in particles.stacks]
    image = same_image(np.array(real, np.int64)[particles.stack], particles.image_index)
    if twin is not None:
        image = joined(image, twin)
    count = np.bincount(image)[first_rows(image)]
    if len(count) == particles.n:
        return image
    if np.all(count == count[0]) and _poses_differ(particles, image):
        findings.warn(
            "relatives",
            f"every image is listed {count[0]} times with different poses: a symmetry-expanded set, whose resolution "
            f"and number of particles are those of {len(count)} images",
        )
    else:
        findings.warn(
            "relatives",
            f"{particles.n} rows show {len(count)} images: {particles.n - len(count)} rows repeat one, and weigh more "
            "in the map than they tell; remove them to have each image once",
        )
    return image


def _file(path: str | os.PathLike[str]) -> tuple[int, ...] | str:
    """What a file is called, the same under all its names."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def _poses_differ(particles: Particles, image: NDArray[np.int64]) -> bool:
    """Whether every copy has another pose than the first row of its image."""
    poses = np.stack([particles.rot, particles.tilt, particles.psi], axis=1)
    copies = np.flatnonzero(image != np.arange(particles.n))
    return bool((poses[copies] != poses[image[copies]]).any(axis=1).all())


def _given(particles: Particles, findings: Findings) -> Half:
    """(n,) half-set 0 or 1 of rlnRandomSubset, -1 where it is to be drawn."""
    subset = particles.random_subset
    given = np.where(np.isin(subset, (1, 2)), subset - 1, -1).astype(np.int8)
    count = [int(np.count_nonzero(given == h)) for h in (0, 1)]
    if not sum(count):
        return given
    if min(count) < _LEAST_SHARE * sum(count):
        findings.warn(
            "half-set",
            f"rlnRandomSubset has {count[0]} particles in half-set 1, {count[1]} in 2, which are no halves: all are "
            "drawn anew",
        )
        return np.full_like(given, -1)
    if missing := particles.n - sum(count):
        findings.warn(
            "half-set",
            f"{missing} particles have no half-set (rlnRandomSubset): it is drawn, the others keep theirs",
        )
    return given


def _check_parted(particles: Particles, given: Half, found: Relatives, findings: Findings) -> None:
    """Find relatives whose half-sets are given, and not the same."""
    images, families = (_n_parted(given, first) for first in (found.image, found.family))
    if families:
        findings.warn(
            "half-set",
            f"rlnRandomSubset parts relatives: {images} rows show an image of the other half-set, {families - images} "
            "more a particle of it. The half-maps share their noise, the resolution will look better than it is; "
            f"remove rlnRandomSubset from {particles.path} to have the half-sets drawn anew",
        )


def _n_parted(given: Half, first: NDArray[np.int64]) -> int:
    """Rows of sets, each called by its first row, that have given rows in both halves."""
    in_both = np.ones(len(given), bool)
    for h in (0, 1):
        in_both &= np.bincount(first[given == h], minlength=len(given)) > 0
    return int(np.count_nonzero(in_both[first] & (given >= 0)))


def _picks(particles: Particles, findings: Findings) -> Picks | None:
    """Where the particles were picked, if the file says so."""
    table = particles.table
    micrograph = particles.micrographs() if set(_COORDINATES) <= set(table.columns) else None
    if micrograph is None:
        return None
    try:
        columns = table.values(_COORDINATES)
        pixels = _coordinate_pixels(particles, table)
    except InputError as error:
        findings.warn("relatives", f"particles that were picked twice are not looked for: {error}")
        return None
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
