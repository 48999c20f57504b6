"""How far two half-maps agree, inside which mask, and what follows for the next map (method.md §7)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pycryo.maps.density import Map
from pycryo.maps.fsc import Fsc, corrected_fsc
from pycryo.maps.masks import auto_mask
from pycryo.maps.slab_map import SlabMap, everywhere, from_map, resample_grid, soft_sphere
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.state import ClassMaps, Pair, Setup

# A corrected FSC below it tells nothing.
_CHANCE = 0.05
# Å; the automatic mask is made of maps filtered to this at best.
_MASK_RESOLUTION = 15.0
# px. Up to this box every rank measures for itself: the many short messages took longer than the transforms.
_SMALL = 64
# Å; how far it reaches beyond their surface.
_MASK_EXTEND = 3.0


def solvent_mask(setup: Setup, points: int) -> SlabMap:
    """Mask of the references: the user's, else a soft sphere of the particle's diameter. Collective."""
    pixel = setup.field_of_view / points
    if setup.user_mask is not None:
        mask = resample_grid(setup.user_mask, points)
        return replace(mask, data=np.clip(mask.data, 0, 1))
    edge = max(2.0, 0.06 * points)
    return soft_sphere(setup.share.comm, points, min(0.5 * setup.diameter / pixel, points / 2 - edge), edge, pixel)


def measure_fsc(setup: Setup, pair: Pair, r_insert: float) -> tuple[Fsc, SlabMap]:
    """FSC of the half-maps in the user's or an automatic mask, zero beyond the shells inserted; and the mask.

    Collective.
    """
    comm = setup.share.comm
    sphere_or_users = solvent_mask(setup, pair[0].box)
    if comm.size == 1 or pair[0].box > _SMALL:
        return _measured(setup, pair, sphere_or_users, r_insert)
    alone = SerialComm()
    first, second, mask = (from_map(alone, everywhere(each)) for each in (*pair, sphere_or_users))
    fsc, mask = _measured(setup, (first, second), mask, r_insert)
    return fsc, from_map(comm, Map(mask.data, mask.pixel_size))


def _measured(setup: Setup, pair: Pair, mask: SlabMap, r_insert: float) -> tuple[Fsc, SlabMap]:
    """See `measure_fsc`; `mask` limits the automatic one. Collective over the ranks of the maps."""
    first, second = pair
    comm, pixel = first.comm, first.pixel_size
    if setup.user_mask is None:
        rough = corrected_fsc(first.data, second.data, pixel, comm=comm).resolution_0143
        mean = replace(first, data=0.5 * (first.data + second.data) * mask.data)
        found = auto_mask(mean, resolution=max(_MASK_RESOLUTION, rough), extend_px=_MASK_EXTEND / pixel, comm=comm)
        mask = replace(mask, data=found * mask.data)
    fsc = corrected_fsc(first.data, second.data, pixel, mask.data, seed=setup.options.seed, comm=comm)
    return _cut(fsc, r_insert), mask


def _cut(fsc: Fsc, r_insert: float) -> Fsc:
    keep = np.arange(len(fsc.corrected)) < np.ceil(r_insert)
    return replace(
        fsc,
        unmasked=fsc.unmasked * keep,
        masked=fsc.masked * keep,
        randomised=fsc.randomised * keep,
        corrected=fsc.corrected * keep,
    )


def doubted(maps: ClassMaps, resolution: float) -> ClassMaps:
    """The maps with a corrected FSC of zero beyond a resolution, Å.

    Both halves followed one reference of that resolution: as long as nothing is known of their poses, they agree
    because of it and, beyond, of the mask that mixes shells.
    """
    fsc = maps.fsc
    beyond = fsc.frequency > 1 / resolution
    return replace(maps, fsc=replace(fsc, corrected=np.where(beyond, 0, fsc.corrected)))


def reach(fsc: Fsc) -> int:
    """Last shell before the corrected FSC first falls below 0.05: what rises again further out is chance."""
    below = np.flatnonzero(fsc.corrected[1:] < _CHANCE)
    return int(below[0]) if len(below) else len(fsc.corrected) - 1


def ssnr_of(fsc: Fsc, *, combined: bool) -> NDArray[np.float64]:
    """Signal-to-noise ratio per shell of a half-map, FSC/(1 - FSC), or of the map of all data, twice that."""
    curve = np.array(fsc.corrected)
    curve[reach(fsc) + 1 :] = 0
    value = np.clip(curve, 1e-3, 0.999)
    return np.asarray((2 if combined else 1) * value / (1 - value))
