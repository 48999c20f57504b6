"""Solvent masks: made from a map's own density, or the user's, checked."""

from __future__ import annotations

import logging
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pycryo.arguments import number, positive
from pycryo.errors import InputError
from pycryo.maps.density import MOST_PX, Map, as_map, low_pass_planes, resample, soft_sphere
from pycryo.neighbours import distances
from pycryo.parallel.collective_errors import on_all
from pycryo.parallel.comm import Comm, SerialComm
from pycryo.parallel.components import fill_holes, find_parts
from pycryo.parallel.quantiles import deviation, quantiles
from pycryo.parallel.rows import even_bounds, with_halo

logger = logging.getLogger(__name__)

# Of the span between background and strong density: where the molecule's envelope is drawn at 15 Å.
ENVELOPE_FRACTION = 0.15
# Standard deviations of the filtered background that the envelope must stand above.
NOISE_FACTOR = 2.5
# Parts of the molecule smaller than this fraction of its largest part are taken for noise.
SMALLEST_PART = 0.1
# A mask may go so far beyond 0 and 1, and is clipped.
_BEYOND = 0.02
# A largest part below this fraction of the sphere in the box is noise, not a molecule.
SMALLEST_MOLECULE = 0.002


class Density(Protocol):
    """A map, or the planes of one: `pycryo.maps.density.Map`, `pycryo.maps.slab_map.SlabMap`."""

    @property
    def data(self) -> NDArray[np.float32]:
        """(n_plane, box, box)"""

    @property
    def pixel_size(self) -> float:
        """Å."""


def auto_mask(
    source: Density,
    *,
    resolution: float = 15.0,
    threshold: float | None = None,
    extend_px: float | None = None,
    edge_px: float | None = None,
    comm: Comm | None = None,
) -> NDArray[np.float32]:
    """Soft mask around the density of a map.

    The map is low-pass filtered and cut at a threshold; the largest connected part and all parts of at least a tenth
    of its volume are kept, holes filled, the surface moved outwards by `extend_px` and rounded off by a cosine.

    Parameters
    ----------
    source : Map, or with `comm` SlabMap
        White density on a darker background; an average of half-maps.
    resolution : float
        Low-pass filter, Å; three voxels where that is coarser.
    threshold : float, optional
        Grey value of the filtered map where the molecule begins. Default: `envelope_threshold`.
    extend_px, edge_px : float, optional
        Extension of the surface and width of the cosine edge outside it, px. Default: 5 Å, at least 2 px; 10 Å, at
        least 3 px.
    comm : Comm, optional
        Ranks to which the planes of the map are dealt; the call is collective then.

    Returns
    -------
    (box, box, box) float32, 0 to 1
        With `comm`, (n_plane, box, box): this rank's planes. A soft sphere filling the box, with a warning in the log,
        if no part of the filtered map stands out.

    Raises
    ------
    InputError
        If the map has values that are not finite, or no voxel is above a given `threshold`; on all ranks.
    """
    comm = comm or SerialComm()
    pixel_size, box = source.pixel_size, source.data.shape[1]
    on_all(comm, lambda: _check_finite(source.data))
    extend_px = max(2.0, 5.0 / pixel_size) if extend_px is None else extend_px
    edge_px = max(3.0, 10.0 / pixel_size) if edge_px is None else edge_px
    filtered = low_pass_planes(comm, source.data, pixel_size, max(resolution, 3 * pixel_size))
    level = envelope_threshold(filtered, comm) if threshold is None else threshold
    bounds = even_bounds(box, comm.size)
    parts = find_parts(comm, filtered > level, bounds)
    largest = int(parts.volume.max(initial=0))
    if threshold is not None and largest == 0:
        highest = np.array([filtered.max(initial=-np.inf)])
        comm.max_array(highest)
        raise InputError(
            f"no voxel of the filtered map is above the threshold {threshold:g}: its maximum is {highest[0]:g}"
        )
    if threshold is None and largest < SMALLEST_MOLECULE * np.pi / 6 * box**3:
        if comm.rank == 0:
            logger.warning("no density stands out of the noise at %.1f Å: the mask is a sphere", resolution)
        return soft_sphere(box, max(0.0, box / 2 - edge_px), edge_px, _planes(comm, box))
    kept = fill_holes(comm, parts.select(parts.volume >= SMALLEST_PART * largest), bounds)
    return _soften(comm, kept, extend_px, edge_px)


def mask(source: Any, pixel_size: float | None = None, **options: float) -> Map:
    """Soft mask around the density of a map.

    The map is low-pass filtered and cut at a threshold; the largest connected part and all parts of at least a tenth
    of its volume are kept, holes filled, the surface moved outwards and rounded off by a cosine.

    Parameters
    ----------
    source : Map, or (N, N, N) array_like
        White density on a darker background; an average of half-maps.
    pixel_size : float, optional
        Å; needed for an array.
    **options : float
        ``resolution``: low-pass filter, Å, 15 by default; ``threshold``: grey value of the filtered map where the
        molecule begins, found in the map by default; ``extend_px``: extension of the surface, px, 5 Å by default;
        ``edge_px``: width of the cosine edge outside it, px, 10 Å by default.

    Returns
    -------
    Map
        0 to 1. A soft sphere, with a warning in the log, if no part of the filtered map stands out.

    Raises
    ------
    InputError
        If the map has values that are not finite, no voxel is above the threshold, or there is no such option.

    Examples
    --------
    >>> soft = pycryo.mask(pycryo.read_map(pycryo.betagal() / "reference_40A.mrc"), resolution=40)
    >>> float(soft.data.min()), float(soft.data.max()), bool(0.02 < soft.data.mean() < 0.2)
    (0.0, 1.0, True)
    """
    known = ("resolution", "threshold", "extend_px", "edge_px")
    if unknown := set(options) - set(known):
        raise InputError(f"mask has no argument {', '.join(sorted(unknown))}: use {', '.join(known)}")
    given = as_map("source", source, pixel_size)
    values = {name: number(name, value) for name, value in options.items() if name == "threshold"}
    values |= {name: number(name, options[name], least=0, most=MOST_PX) for name in known[2:] if name in options}
    if "resolution" in options:
        values["resolution"] = positive("resolution", options["resolution"], "Å")
    return Map(auto_mask(given, **values), given.pixel_size)  # type: ignore[arg-type]


def _check_finite(data: NDArray[np.float32]) -> None:
    if not np.isfinite(data).all():
        raise InputError("the map to be masked has voxels that are not finite (NaN or infinite)")


def _planes(comm: Comm, box: int) -> range:
    """z of this rank's planes."""
    bounds = even_bounds(box, comm.size)
    return range(int(bounds[comm.rank]), int(bounds[comm.rank + 1]))


def envelope_threshold(filtered: NDArray[np.float32], comm: Comm | None = None) -> float:
    """Grey value at which the envelope of a molecule is drawn in a low-pass filtered map.

    ``background + max(0.15·(strong − background), 2.5·noise)``: background is the median and strong the 99.9 %
    quantile inside the sphere that fits the box, noise the standard deviation outside it. The first term is the
    envelope of a clean map, the second one takes over where the noise would be connected to the molecule.

    Parameters
    ----------
    filtered : (box, box, box) float32
        With `comm`, (n_plane, box, box): this rank's planes.
    comm : Comm, optional
        Ranks to which the planes are dealt; the call is collective then.
    """
    comm = comm or SerialComm()
    box = filtered.shape[1]
    spheres = [soft_sphere(box, box / 2, 0, range(z, z + 1))[0] > 0 for z in _planes(comm, box)]
    inside = [plane[sphere] for plane, sphere in zip(filtered, spheres, strict=True)]
    outside = [plane[~sphere] for plane, sphere in zip(filtered, spheres, strict=True)]
    background, strong = quantiles(comm, inside, (0.5, 0.999))
    noise = deviation(comm, outside, even_bounds(box, comm.size))
    return float(background + max(ENVELOPE_FRACTION * (strong - background), NOISE_FACTOR * noise))


def check_mask_values(data: NDArray[np.floating[Any]], name: str = "mask") -> None:
    """Refuse a mask, as it is stored, that is not finite, not within 0 and 1, or empty.

    Parameters
    ----------
    data : array
        Values outside 0..1 by up to `_BEYOND` pass: interpolated masks have them.
    name : str
        How errors call it: the file's path.

    Raises
    ------
    InputError
    """
    low, high = float(data.min()), float(data.max())
    if not (low >= -_BEYOND and high <= 1 + _BEYOND):  # false for NaN as well
        raise InputError(
            f"{name}: the values of a mask must lie between 0 and 1, these go from {low:g} to {high:g}; scale them to "
            "that, or make a mask with `pycryo mask`"
        )
    if high <= 0:
        raise InputError(f"{name}: the mask is 0 everywhere")


def is_inside_out(data: NDArray[np.floating[Any]]) -> bool:
    """Whether a mask (box, box, box) is nearly 1 all along the faces of its box, and lower within."""
    low, high = np.s_[:1], np.s_[-1:]
    faces = np.concatenate(
        [np.ravel(data[(slice(None),) * axis + (end,)]) for axis in range(data.ndim) for end in (low, high)]
    )
    return bool(np.median(faces) > 0.9 and np.mean(faces) > np.mean(data) + 1e-3)


def fitted_mask(mask: Map, box: int, pixel_size: float, name: str = "mask") -> NDArray[np.float32]:
    """A user's mask, checked as it is stored, on the grid of the maps that it is for.

    Parameters
    ----------
    mask : Map
        Of any box and pixel size.
    box : int
        Of the maps, px.
    pixel_size : float
        Of the maps, Å.
    name : str
        How errors call it: the file's path.

    Returns
    -------
    (box, box, box) float32
        Within 0 and 1: where the interpolated mask swings beyond it is clipped.

    Raises
    ------
    InputError
        If the values are not those of a mask, or nothing of it is within the maps' box.
    """
    check_mask_values(mask.data, name)
    found = np.clip(resample(mask, box, pixel_size).data, 0, 1).astype(np.float32)
    if not found.max() > 1e-3:
        raise InputError(f"{name}: nothing of the mask is within the maps' box of {box} px of {pixel_size:g} Å")
    return found


def _soften(comm: Comm, inside: NDArray[np.bool_], extend_px: float, edge_px: float) -> NDArray[np.float32]:
    """1 up to `extend_px` outside the voxels of `inside`, then a cosine down to 0 over `edge_px`. Collective."""
    reach = int(np.ceil(extend_px + edge_px)) + 1
    # What is further away than the halo has no part in the mask of these planes.
    around, before = with_halo(comm, inside, even_bounds(inside.shape[1], comm.size), reach)
    mask = np.zeros(inside.shape, np.float32)
    if not inside.size or not around.any():
        return mask
    # The distances are wanted near the molecule only: they cost as much as everything else on the full box.
    places = [np.flatnonzero(around.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    near = tuple(slice(max(0, int(place[0]) - reach), int(place[-1]) + 1 + reach) for place in places)
    distance = distances(around[near])
    first, last = max(near[0].start, before), min(near[0].stop, before + len(inside))
    distance = distance[first - near[0].start : last - near[0].start] - extend_px
    own = (slice(first - before, last - before), *near[1:])
    mask[own] = distance <= 0
    edge = (distance > 0) & (distance < edge_px)
    mask[own][edge] = 0.5 * (1 + np.cos(np.pi * (distance[edge] / edge_px)))
    return mask
