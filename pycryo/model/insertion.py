"""Insertion of images of many ranks into the slabs of F and T that some own (docs/parallel.md, Key-values and slabs).

Images wait where they are until all ranks exchange. Then each rank either turns its images into key-values, sorted and
merged, and sends every owner those of its slab, or it inserts its images into one dense slab after the other and sends
each to its owner: whichever is less to send, counted before anything is allocated. All contributions are multiples of a
quantum, so that their sums do not depend on the order in which they arrive.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.backprojector import (
    Accumulators,
    add_hermitian_mates,
    fold_hermitian,
    hermitian_plane,
    insert,
    new_accumulators,
)
from pycryo.kernels.entries import Entries
from pycryo.kernels.keyvalue import count_key_values, merge_key_values, to_key_values
from pycryo.kernels.sphere import Sphere, sphere, sphere_radius
from pycryo.model.owners import Owners, all_own, slab_voxels
from pycryo.model.sum_exchange import KEY_VALUE_BYTES, send_key_values
from pycryo.parallel.comm import Comm, Transfer
from pycryo.parallel.progress_thread import ProgressThread
from pycryo.parallel.rows import Bounds, move_rows

log = logging.getLogger(__name__)

# Bytes of a voxel of F and T.
VOXEL_BYTES = 24
# A slab is sent in at most so many blocks of not less than so many bytes; three blocks are in memory beside it. As many
# key-values are made at a time as a block has voxels.
_MOST_BLOCKS = 8
_LEAST_BLOCK = 16 << 20
# Nor of more than so many bytes: messages stay below 2³¹.
_MOST_BLOCK = 1 << 30


@dataclass(frozen=True, slots=True)
class Frame:
    """Sampling and limits of F and T, and the quanta of their sums (`pycryo.kernels.backprojector.insert`)."""

    box: int
    padding: int
    r_high: float
    quantum: tuple[float, float]

    @property
    def sphere(self) -> Sphere:
        """Their voxels."""
        return sphere(sphere_radius(self.padding, self.r_high))

    def accumulators(self, layers: tuple[int, int] | None) -> Accumulators:
        """Empty ones of some layers; None: all."""
        return new_accumulators(self.box, padding=self.padding, r_high=self.r_high, layers=layers)


def waits(comm: Comm, owners: Owners) -> bool:
    """Whether the images of the ranks `comm` wait for an exchange: not if each rank has whole sums to add them to."""
    return comm.size > 1 and owners.model != "replicated"


class Insertion:
    """F and T of one half-set, from the images of several ranks. All methods but `add` are collective over `comm`.

    Parameters
    ----------
    comm : Comm
        The ranks that have images, and the owners.
    owners : Owners
    frame : Frame

    Attributes
    ----------
    n_byte : int
        Sent by this rank.
    idle : float
        Seconds for which it waited until all were ready to exchange.
    """

    def __init__(self, comm: Comm, owners: Owners, frame: Frame) -> None:
        self._comm, self._owners, self._frame = comm, owners, frame
        self._is_direct = not waits(comm, owners)
        self._pending: list[Entries] = []
        layers = None if self._is_direct else owners.layers(frame.sphere)
        self._own = frame.accumulators(layers) if self._is_direct or layers is not None else None
        # Number in `comm` of the first owner: the owners are consecutive there, too.
        self._first = comm.all_gather(owners.comm is not None).index(True)
        self.n_byte = 0
        self.idle = 0.0

    def add(self, entries: Entries) -> None:
        """Insert, now or at the next exchange; what `entries` holds must not be changed until then."""
        if self._is_direct:
            assert self._own is not None
            insert(self._own, entries, quantum=self._frame.quantum)
        else:
            self._pending.append(entries)

    def exchange(self) -> None:
        """Bring what waits to its owners."""
        if self._is_direct:
            return
        begin = time.perf_counter()
        self._comm.barrier()
        self.idle += time.perf_counter() - begin
        frame = self._frame
        counted = sum(count_key_values(frame.sphere, each, padding=frame.padding) for each in self._pending)
        counts = self._comm.all_gather(counted)
        if not any(counts):
            return
        slabs = np.diff(self._voxels())
        others = [slabs.sum() - slabs[rank] for rank in range(self._comm.size) if counts[rank]]
        dense, sparse = VOXEL_BYTES * int(np.sum(others, dtype=np.int64)), KEY_VALUE_BYTES * sum(counts)
        if self._comm.rank == 0:
            log.debug(
                "insertion: %.3g MB as key-values, %.3g MB as dense slabs of %d ranks: %s are sent",
                sparse / 1e6,
                dense / 1e6,
                len(self._owners.ranks),
                "key-values" if sparse < dense else "slabs",
            )
        if sparse < dense:
            most = max(int(slabs.max()) // _MOST_BLOCKS, _LEAST_BLOCK // KEY_VALUE_BYTES)
            for number in range(n_part := max(1, -(-max(counts) // most))):
                self._send_key_values([entries.part(number, n_part) for entries in self._pending])
        else:
            self._send_slabs([count > 0 for count in counts])
        self._pending.clear()

    def result(self) -> Accumulators | None:
        """F and T, complete and folded: what `Owners.layers` tells, None on ranks that own nothing."""
        self.exchange()
        own, owners = self._own, self._owners
        if self._comm.size > 1 and self._is_direct:
            assert own is not None
            for values in (own.re, own.im, own.weight):
                self._comm.sum_array(values)
        if owners.comm is None or own is None:
            return None
        fold(own, owners)
        return own

    def _voxels(self) -> Bounds:
        """(comm.size + 1,) slabs of all ranks of `comm`."""
        world = slab_voxels(self._owners, self._frame.sphere)
        rank = np.clip(np.arange(self._comm.size + 1) - self._first, 0, len(self._owners.ranks))
        return np.asarray(world[rank + self._owners.ranks.start], np.int64)

    def _send_key_values(self, some: list[Entries]) -> None:
        """Those of some images."""
        frame = self._frame
        mine = merge_key_values(
            [
                to_key_values(frame.sphere, each, box=frame.box, padding=frame.padding, quantum=frame.quantum)
                for each in some
            ]
        )
        self.n_byte += send_key_values(self._comm, mine, self._voxels(), self._own)

    def _send_slabs(self, has_images: list[bool]) -> None:
        """Each rank to each owner in turn, so that nobody gets two slabs at a time; the own one without a message."""
        comm, me = self._comm, self._comm.rank
        if self._own is not None:
            for entries in self._pending:
                insert(self._own, entries, quantum=self._frame.quantum)
        buffer = _Buffer(self._largest_block())
        transfer, arriving = Transfer(), None

        def progress() -> bool:
            return transfer.progress()

        with ProgressThread(progress) as thread:
            for step in range(1, comm.size):
                destination, source = (me + step) % comm.size, (me - step) % comm.size
                gone = self._blocks(destination) if has_images[me] else []
                come = self._blocks(me) if has_images[source] else []
                for number in range(max(len(gone), len(come))):
                    leaving = self._block(gone[number], buffer.next()) if number < len(gone) else None
                    transfer.wait()
                    self._add(arriving, buffer.incoming)
                    arriving = come[number] if number < len(come) else None
                    receive = None if arriving is None else buffer.incoming[: 3 * self._n_voxel(arriving)]
                    transfer = comm.begin_shift(leaving, destination, receive, source)
                    self.n_byte += 0 if leaving is None else leaving.nbytes
                    if comm.is_thread_safe:
                        thread.start()
            transfer.wait()
        self._add(arriving, buffer.incoming)

    def _blocks(self, rank: int) -> list[tuple[int, int]]:
        """Layers of the blocks in which a rank's slab travels; none if it owns nothing."""
        number = rank - self._first
        if not 0 <= number < len(self._owners.ranks):
            return []
        return slab_blocks(self._frame.sphere, len(self._owners.ranks), number)

    def _n_voxel(self, layers: tuple[int, int]) -> int:
        first, last = self._frame.sphere.voxels(*layers)
        return last - first

    def _largest_block(self) -> int:
        """Voxels."""
        return max(self._n_voxel(block) for rank in range(self._comm.size) for block in self._blocks(rank))

    def _block(self, layers: tuple[int, int], buffer: NDArray[np.float64]) -> NDArray[np.float64]:
        """What waits, inserted into some layers: re, im and weight one after the other."""
        n = self._n_voxel(layers)
        buffer = buffer[: 3 * n]
        buffer[:] = 0
        part = replace(
            self._frame.accumulators((layers[0], layers[0])),
            re=buffer[:n],
            im=buffer[n : 2 * n],
            weight=buffer[2 * n :],
            last=layers[1],
        )
        for entries in self._pending:
            insert(part, entries, quantum=self._frame.quantum)
        return buffer

    def _add(self, layers: tuple[int, int] | None, block: NDArray[np.float64]) -> None:
        """Add a block that arrived."""
        if layers is None:
            return
        own = self._own
        assert own is not None
        start = own.sphere.voxels(own.first, own.first)[0]
        first, last = (voxel - start for voxel in own.sphere.voxels(*layers))
        n = last - first
        for number, values in enumerate((own.re, own.im, own.weight)):
            values[first:last] += block[number * n : (number + 1) * n]


def slab_blocks(ball: Sphere, n_slab: int, number: int) -> list[tuple[int, int]]:
    """Layers of the blocks in which one of `n_slab` slabs of the sphere travels."""
    first, last = ball.bounds(n_slab)[number : number + 2].tolist()
    begin, end = ball.voxels(first, last)
    n_block = block_count(end - begin)
    cut = first + (last - first) * np.arange(n_block + 1) // n_block
    return list(pairwise(cut.tolist()))


def block_count(n_voxel: int) -> int:
    """Blocks in which a slab of so many voxels travels."""
    n_byte = VOXEL_BYTES * n_voxel
    return max(1, min(_MOST_BLOCKS, n_byte // _LEAST_BLOCK), -(-n_byte // _MOST_BLOCK))


class _Buffer:
    """Memory for three blocks: one that is filled, one on its way out, one on its way in."""

    def __init__(self, n_voxel: int) -> None:
        self._outgoing = [np.empty(3 * n_voxel), np.empty(3 * n_voxel)]
        self.incoming = np.empty(3 * n_voxel)
        self._turns = self._turn()

    def _turn(self) -> Iterator[NDArray[np.float64]]:
        while True:
            yield from self._outgoing

    def next(self) -> NDArray[np.float64]:
        """The one that is free."""
        return next(self._turns)


def fold(accumulators: Accumulators, owners: Owners) -> None:
    """Complete the plane x = 0 with the conjugates of its mates, in place. Collective over the owners."""
    assert owners.comm is not None
    if owners.model == "replicated":
        fold_hermitian(accumulators)
        return
    plane = hermitian_plane(accumulators)
    owners.comm.sum_array(plane)
    add_hermitian_mates(accumulators, plane)


def combined(first: Accumulators | None, second: Accumulators | None, halves: tuple[Owners, Owners]) -> Accumulators:
    """F and T of both half-sets together, dealt to all ranks. Collective over the world.

    Parameters
    ----------
    first, second : Accumulators or None
        Folded; None on ranks that own nothing of the half.
    halves : tuple of two Owners
        Together they own everything.
    """
    own = first or second
    assert own is not None
    world = halves[0].world
    everybody = all_own(world, halves[0].model)
    sums = []
    for name in ("re", "im", "weight"):
        pair = [
            _dealt(owners, None if each is None else getattr(each, name), own.sphere, everybody)
            for owners, each in zip(halves, (first, second), strict=True)
        ]
        pair[0] += pair[1]
        sums.append(pair[0])
    layers = everybody.layers(own.sphere)
    assert layers is not None
    return replace(own, re=sums[0], im=sums[1], weight=sums[2], first=layers[0], last=layers[1])


def _dealt(owners: Owners, values: NDArray[np.float64] | None, ball: Sphere, everybody: Owners) -> NDArray[np.float64]:
    """One of the sums of a half-set, on its new owners. Collective over the world."""
    world = owners.world
    if owners.model == "replicated":
        copied = np.zeros(ball.n_voxel) if values is None or owners.ranks.start != world.rank else values.copy()
        world.sum_array(copied)
        return copied
    mine = np.empty(0) if values is None else values
    return move_rows(world, mine, slab_voxels(owners, ball), slab_voxels(everybody, ball))
