"""Which ranks own the model of a half-set, and in what form (docs/parallel.md, The model of the M-phase)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.sphere import Sphere
from pycryo.maps.slab_map import SlabMap
from pycryo.parallel.comm import Comm
from pycryo.parallel.rows import Bounds, even_bounds, move_rows

# slab: F, T, W in slabs, the grid C in planes; sharded: F, T, W in slabs, C whole on each rank; replicated: all whole.
Model = Literal["slab", "sharded", "replicated"]
MODELS: tuple[Model, ...] = ("slab", "sharded", "replicated")


@dataclass(frozen=True, slots=True)
class Owners:
    """Consecutive ranks of a communicator that hold the model of one half-set, or of all data.

    Attributes
    ----------
    world : Comm
        All ranks.
    ranks : range
        Of `world`.
    comm : Comm or None
        Of the owners alone; None on the other ranks.
    model : str
        See `MODELS`.
    """

    world: Comm
    ranks: range
    comm: Comm | None
    model: Model

    def spread(self, bounds: Bounds) -> Bounds:
        """(world.size + 1,) pieces of all ranks where only the owners have any: `bounds` of theirs."""
        rank = np.clip(np.arange(self.world.size + 1) - self.ranks.start, 0, len(self.ranks))
        return np.asarray(bounds[rank], np.int64)

    def layers(self, sphere: Sphere) -> tuple[int, int] | None:
        """Layers of F and T that this rank owns; None if it is no owner."""
        if self.comm is None:
            return None
        if self.model == "replicated":
            return 0, sphere.layers
        bounds = sphere.bounds(len(self.ranks))
        return int(bounds[self.comm.rank]), int(bounds[self.comm.rank + 1])

    def free(self) -> None:
        """Give back the communicator. Collective over the owners."""
        if self.comm is not None and self.comm is not self.world:
            self.comm.free()


def all_own(world: Comm, model: Model) -> Owners:
    """Every rank is an owner."""
    return Owners(world, range(world.size), world, model)


def owner_ranks(size: int) -> tuple[range, range]:
    """Ranks that own each half-set: the first half of them, and the others; a single one owns both."""
    middle = (size + 1) // 2
    return (range(middle), range(middle, size)) if size > 1 else (range(1), range(1))


def halves_own(world: Comm, model: Model) -> tuple[Owners, Owners]:
    """Owners of both half-sets, see `owner_ranks`. Collective."""
    if world.size == 1:
        return all_own(world, model), all_own(world, model)
    ranks = owner_ranks(world.size)
    mine = world.split(int(world.rank in ranks[1]))
    first, second = ((mine if world.rank in each else None) for each in ranks)
    return Owners(world, ranks[0], first, model), Owners(world, ranks[1], second, model)


def deal_map(owners: Owners, planes: NDArray[np.float32] | None, box: int, pixel_size: float) -> SlabMap:
    """A map of whose planes each owner has its piece (None: no owner), dealt to all ranks. Collective."""
    world = owners.world
    mine = np.empty((0, box, box), np.float32) if planes is None else planes
    have = owners.spread(even_bounds(box, len(owners.ranks)))
    return SlabMap(world, move_rows(world, mine, have, even_bounds(box, world.size)), pixel_size)


def slab_voxels(owners: Owners, sphere: Sphere) -> NDArray[np.int64]:
    """(world.size + 1,) first voxel numbers of the slabs of all ranks, empty ones of those who own nothing."""
    bounds = owners.spread(sphere.bounds(len(owners.ranks)))
    return np.asarray(sphere.start[bounds * sphere.layers], np.int64)
