"""Symmetrised F and T, without gathering them (docs/method.md, Insertion and reconstruction).

A rotation of the point group that maps the Fourier grid onto itself takes voxels to voxels: images need not be inserted
at the mates that it makes, F and T are summed over it instead. The others of the group are inserted, since resampling F
and T costs resolution. All values are multiples of a quantum, so that no sum depends on its order, nor on the ranks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry.cosets import coset_representatives, factors, grid_rotations
from pycryo.geometry.symmetry import Symmetry
from pycryo.kernels.backprojector import Accumulators
from pycryo.kernels.mates import add_mates
from pycryo.kernels.sphere import Sphere
from pycryo.model.insertion import slab_blocks
from pycryo.model.owners import Owners
from pycryo.parallel.comm import Comm

log = logging.getLogger(__name__)

# Seconds of one thread, measured at boxes 128 and 256: for an image's sample at one more mate 17 and 23 ns, for a
# voxel's mate in one of the three sums, with the copy that is read, 1.1 (D2) to 1.8 (C4) ns.
_SAMPLE = 20e-9
_MATE = 1.5e-9


@dataclass(frozen=True, slots=True)
class Mates:
    """How a map becomes symmetric.

    Attributes
    ----------
    poses : (n, 4) float64
        Rotations h: an image of pose q is inserted at all q·h.
    rotations : (m, 3, 3) int32
        Then F and T are summed over these, the identity first.
    """

    poses: NDArray[np.float64]
    rotations: NDArray[np.int32]


def choose_mates(comm: Comm, group: Symmetry, ball: Sphere, n_sample: float, n_sum: int) -> Mates:
    """The way that is counted to take less time, which rank 0 logs.

    It is counted for one rank: more ranks share either work, and the choice, which changes roundings, must not depend
    on them.

    Parameters
    ----------
    comm : Comm
    group : Symmetry
    ball : Sphere
        Voxels of F and T.
    n_sample : float
        Fourier samples of all images together.
    n_sum : int
        Half-sets, each with an F and a T.
    """
    rotations = grid_rotations(group)
    poses = coset_representatives(group, rotations)
    if len(rotations) == 1:
        return Mates(poses, rotations)
    inserting = _SAMPLE * (len(group) - len(poses)) * n_sample
    summing = 3 * _MATE * n_sum * ball.n_voxel * sum(len(step) for step in factors(rotations))
    chosen = Mates(poses, rotations) if summing < inserting else Mates(group.quaternions, rotations[:1])
    if comm.rank == 0:
        log.debug(
            "symmetry %s: %d of %d mates are inserted; the others would take %.2g s, sums over the grid's %d rotations "
            "%.2g s (of one thread)",
            group.name,
            len(chosen.poses),
            len(group),
            inserting,
            len(rotations),
            summing,
        )
    return chosen


def symmetrise(sums: Accumulators, owners: Owners, rotations: NDArray[np.int32]) -> None:
    """Sum folded F and T over a group of rotations, F(k) ← Σ F(R·k), in place. Collective over the owners.

    Each owner's layers pass all others in blocks, which take from them the mates of their own voxels. Beside the sums
    there are a copy of one of the three and a block.

    Parameters
    ----------
    sums : Accumulators
        F and T as `pycryo.model.insertion.Insertion.result` returns them.
    owners : Owners
    rotations : (m, 3, 3) int32
        See `Mates`.
    """
    if len(rotations) == 1:
        return
    # Messages take longer than sums: where there are any, they are sent once.
    steps = factors(rotations) if _has_all(owners) else [rotations]
    before = np.empty_like(sums.re)
    for step in steps:
        for values, imaginary in ((sums.re, False), (sums.im, True), (sums.weight, False)):
            np.copyto(before, values)
            for layers, block in _blocks(sums, before, owners):
                for rotation in step[1:]:
                    add_mates(
                        values, (sums.first, sums.last), block, layers, sums.sphere, rotation, imaginary=imaginary
                    )


def _has_all(owners: Owners) -> bool:
    """Whether each owner has all layers."""
    return len(owners.ranks) == 1 or owners.model == "replicated"


def _blocks(
    sums: Accumulators, values: NDArray[np.float64], owners: Owners
) -> Iterator[tuple[tuple[int, int], NDArray[np.float64]]]:
    """All layers and voxels of one sum, block by block; `values` are this rank's. Collective over the owners."""
    if _has_all(owners):
        yield (sums.first, sums.last), values
        return
    comm, ball = owners.comm, sums.sphere
    assert comm is not None
    origin = ball.voxels(sums.first, sums.first)[0]
    for number in range(comm.size):
        for layers in slab_blocks(ball, comm.size, number):
            begin, end = ball.voxels(*layers)
            if begin == end:
                continue
            block = values[begin - origin : end - origin] if number == comm.rank else np.empty(end - begin)
            comm.broadcast_array(block, root=number)
            yield layers, block
