"""How far two half-maps agree, inside which mask, and what follows for the next map (docs/method.md, Control)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pycryo.maps.density import Map
from pycryo.maps.fsc import Fsc, corrected_fsc, resolution_at
from pycryo.maps.masks import auto_mask
from pycryo.maps.returned import independence, kept_shells, reach, with_returned
from pycryo.maps.slab_map import SlabMap, alone, from_root
from pycryo.parallel.collective_errors import on_root
from pycryo.refinement.data.solvent import Solvent
from pycryo.refinement.outcome import ClassMaps
from pycryo.refinement.state import Pair

# Å; the automatic mask is made of maps filtered to this at best.
_MASK_RESOLUTION = 15.0
# px. Up to this box one rank measures for all: the many short messages took longer than the transforms.
SMALL = 64
# Å; how far it reaches beyond their surface.
_MASK_EXTEND = 3.0


def measure_fsc(solvent: Solvent, pair: Pair, r_insert: float, seed: int) -> tuple[Fsc, SlabMap]:
    """FSC of the half-maps in the user's or an automatic mask, zero beyond the shells inserted; and the mask.

    Collective. `seed` is that of the phases that are randomised.
    """
    comm = solvent.comm
    limit = solvent.mask(pair[0].box)
    is_given = solvent.user_mask is not None
    if comm.size == 1 or pair[0].box > SMALL:
        return _measured(pair, limit, r_insert, seed, is_given=is_given)
    whole = alone(*pair, limit)
    masks: list[Map] = []

    def measure() -> Fsc:
        first, second, mask = whole
        fsc, mask = _measured((first, second), mask, r_insert, seed, is_given=is_given)
        masks.append(Map(mask.data, mask.pixel_size))
        return fsc

    fsc = on_root(comm, measure)
    return fsc, from_root(comm, masks[0] if masks else None)


def _measured(pair: Pair, mask: SlabMap, r_insert: float, seed: int, *, is_given: bool) -> tuple[Fsc, SlabMap]:
    """See `measure_fsc`; `mask` is the user's, or limits the automatic one. Collective over the ranks of the maps."""
    first, second = pair
    comm, pixel = first.comm, first.pixel_size
    if not is_given:
        rough = corrected_fsc(first.data, second.data, pixel, comm=comm).resolution_0143
        mean = replace(first, data=0.5 * (first.data + second.data) * mask.data)
        found = auto_mask(mean, resolution=max(_MASK_RESOLUTION, rough), extend_px=_MASK_EXTEND / pixel, comm=comm)
        mask = replace(mask, data=found * mask.data)
    fsc = corrected_fsc(first.data, second.data, pixel, mask.data, seed=seed, comm=comm)
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


def limited(maps: ClassMaps, resolution: float) -> ClassMaps:
    """The maps with a corrected FSC of zero beyond a resolution, Å.

    Both halves followed one reference of that resolution: as long as nothing is known of their poses, they agree
    because of it and, beyond, of the mask that mixes shells.
    """
    fsc = maps.fsc
    beyond = fsc.frequency > 1 / resolution
    return replace(maps, fsc=replace(fsc, corrected=np.where(beyond, 0, fsc.corrected), returned=()))


def supported_shell(fsc: Fsc) -> float:
    """Shell up to which the half-maps agree by 0.143 in the mean of three shells: a zero of the CTF is passed over."""
    padded = np.pad(fsc.corrected, 1, mode="edge")
    mean = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return fsc.box * fsc.pixel_size / resolution_at(mean, fsc.box, fsc.pixel_size)


def look_for_return(fsc: Fsc, mask: SlabMap, order: int) -> Fsc:
    """The FSC with the bands in which the signal comes back, for point groups of `order` elements. Collective."""
    return with_returned(fsc, independence(mask.data, order, mask.comm))


def ssnr_of(fsc: Fsc, *, combined: bool) -> NDArray[np.float64]:
    """Signal-to-noise ratio per shell of a half-map, FSC/(1 - FSC), or of the map of all data, twice that.

    None beyond the first fall of the FSC; the map of all data has the bands in which the signal comes back.
    """
    keep = kept_shells(fsc) if combined else np.arange(len(fsc.corrected)) <= reach(fsc.corrected)
    value = np.clip(np.where(keep, fsc.corrected, 0), 1e-3, 0.999)
    return np.asarray((2 if combined else 1) * value / (1 - value))
