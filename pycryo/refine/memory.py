"""How much memory a refinement needs, before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from pycryo.errors import InputError
from pycryo.projector import volume_radius

# Bytes per voxel of the padded half volume.
_ACCUMULATORS = 3 * 8  # Re F, Im F, T
_REFERENCE = 2 * 4  # complex64, interleaved
_SOLVER = 100  # weights, padded grids and transforms; measured at 128 and 192 px beside the accumulators: 97 to 103
# Bytes per particle: 32 support points of 7 doubles, the rest of the posterior; the table of all particles.
_POSTERIOR = 2500
_TABLE = 1000
# Batches of images (64 MiB), the next one read ahead, their transforms, samples, weights and scores.
_BATCHES = 600 << 20
# The interpreter and its libraries.
_BASE = 150 << 20


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Peak memory of rank 0, in bytes, by what it is for; see `memory_plan`."""

    accumulators: int
    references: int
    solver: int
    particles: int
    images: int
    base: int

    @property
    def per_rank(self) -> int:
        """Bytes."""
        return self.accumulators + max(self.references, self.solver) + self.particles + self.images + self.base


def memory_plan(box: int, n_particles: int, n_ranks: int, *, padding: int = 2, preread: bool = False) -> MemoryPlan:
    """Estimate the memory that a refinement needs at its peak, the last iteration, with replicated accumulators.

    With r = ceil(padding·box/2) + 1 the padded half volume has V = (2r + 1)²·(r + 1) voxels. Rank 0, which needs most,
    holds, in bytes,

    * accumulators: 72 V, F and T (24 V) of both half-sets and their sum; the other ranks 24 V, or 48 V if they have
      images of both halves;
    * references: 8 V for each half-set that it has images of, while it compares, or the solver's 100 V, afterwards;
    * particles: 1 kB of table for each of all, 2.5 kB of posterior for each of its own;
    * images: 600 MiB of batches; with `preread` its own images too, 4·box² each;
    * 150 MiB for Python and libraries.

    Parameters
    ----------
    box : int
        px of the images.
    n_particles, n_ranks : int
        Of all ranks together.
    padding : int
        Padding factor.
    preread : bool
        Keep all images in memory.

    Raises
    ------
    InputError
        If a number is not positive.
    """
    for name, value in (("box", box), ("particles", n_particles), ("ranks", n_ranks), ("padding", padding)):
        if value < 1:
            raise InputError(f"{name} is {value}, it must be at least 1")
    radius = volume_radius(padding, box / 2)
    voxels = (2 * radius + 1) ** 2 * (radius + 1)
    own = -(-n_particles // n_ranks)
    return MemoryPlan(
        accumulators=3 * _ACCUMULATORS * voxels,
        references=(2 if n_ranks % 2 else 1) * _REFERENCE * voxels,
        solver=_SOLVER * voxels,
        particles=_TABLE * n_particles + _POSTERIOR * own,
        images=_BATCHES + (4 * box**2 * own if preread else 0),
        base=_BASE,
    )
