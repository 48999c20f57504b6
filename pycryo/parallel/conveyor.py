"""Items that the ranks of a ring share: each is made once, and every rank meets all of them (the paper's §III-A).

Three ways, with the same items in blocks: `Conveyor` passes blocks from rank to rank while they are worked on,
`AllGather` collects all items on every rank first, `Local` makes all of them on every rank.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pycryo.parallel.belt_plan import BeltPlan, plan_belt
from pycryo.parallel.comm import Comm, Transfer
from pycryo.parallel.progress_thread import ProgressThread

Array = NDArray[np.float32]
# (first, last, out): make the items first ... last - 1 in out (last - first, ...).
Make = Callable[[int, int, Array], None]
Way = Literal["conveyor", "allgather", "local"]
WAYS: tuple[Way, ...] = ("conveyor", "allgather", "local")


@dataclass(slots=True)
class Traffic:
    """What a rank did for its items.

    Attributes
    ----------
    n_made : int
        Items that this rank made.
    making : float
        Seconds spent on them.
    idle : float
        Seconds spent waiting for a neighbour that was not there yet.
    exposed : float
        Seconds spent waiting for messages on their way.
    n_message, n_byte : int
        Sent by this rank.
    """

    n_made: int = 0
    making: float = 0.0
    idle: float = 0.0
    exposed: float = 0.0
    n_message: int = 0
    n_byte: int = 0

    def add(self, other: Traffic) -> None:
        """Count what `other` counted, too."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Belt(Protocol):
    """A source of all items, block by block."""

    @property
    def traffic(self) -> Traffic:
        """What it cost so far."""

    def blocks(self) -> Iterator[tuple[int, Array]]:
        """The blocks, each with the number of its first item, in any order; valid until the next one is asked for.

        Collective, as a whole.
        """

    def progress(self) -> None:
        """Let messages move on: to be called now and then while a block is worked on."""


def make_belt(
    way: Way,
    comm: Comm,
    n_item: int,
    shape: tuple[int, ...],
    make: Make,
    *,
    block: int,
    grain: int = 1,
    shares: tuple[float, ...] | None = None,
) -> Belt:
    """The belt of a way. Collective.

    Parameters
    ----------
    way : "conveyor", "allgather" or "local"
    comm : Comm
        The ring.
    n_item : int
    shape : tuple of int
        Of an item.
    make : callable
    block : int
        Items of a block, about.
    grain : int
        Blocks begin at multiples of it.
    shares : tuple of float, optional
        Part of the items that each rank makes; default: equal parts.
    """
    if way not in WAYS:
        raise ValueError(f"way: expected one of {', '.join(WAYS)}, got {way}")
    shares = shares or (1.0,) * comm.size
    if way == "local" or comm.size == 1:
        return Local(plan_belt(n_item, (1.0,), block, grain), shape, make)
    if way == "allgather":
        return AllGather(comm, plan_belt(n_item, shares, max(n_item, 1), grain), shape, make, block)
    return Conveyor(comm, plan_belt(n_item, shares, block, grain), shape, make)


class _Maker:
    """Makes items and counts."""

    def __init__(self, make: Make) -> None:
        self.traffic = Traffic()
        self._make = make

    def _fill(self, first: int, last: int, out: Array) -> None:
        begin = time.perf_counter()
        if last > first:
            self._make(first, last, out)
        self.traffic.making += time.perf_counter() - begin
        self.traffic.n_made += last - first


class Local(_Maker):
    """Every rank makes all items, a block at a time: no messages, n times the work."""

    def __init__(self, plan: BeltPlan, shape: tuple[int, ...], make: Make) -> None:
        super().__init__(make)
        self._plan = plan
        self._buffer = np.empty((plan.block, *shape), np.float32)

    def blocks(self) -> Iterator[tuple[int, Array]]:
        for first, last in self._plan.parts():
            if last > first:
                self._fill(first, last, self._buffer[: last - first])
                yield first, self._buffer[: last - first]

    def progress(self) -> None:
        pass


class AllGather(_Maker):
    """Every rank makes its part, then all get all: memory for all items, and nothing to do while they travel."""

    def __init__(self, comm: Comm, plan: BeltPlan, shape: tuple[int, ...], make: Make, block: int) -> None:
        super().__init__(make)
        self._comm, self._plan, self._block = comm, plan, max(block, plan.grain) // plan.grain * plan.grain
        self._buffer = np.empty((plan.n_item, *shape), np.float32)

    def blocks(self) -> Iterator[tuple[int, Array]]:
        comm, buffer = self._comm, self._buffer
        parts = list(self._plan.parts())
        first, last = parts[comm.rank]
        self._fill(first, last, buffer[first:last])
        begin = time.perf_counter()
        comm.barrier()
        all_there = time.perf_counter()
        comm.gather_parts(buffer, [0, *(last for _, last in parts)])
        self.traffic.idle += all_there - begin
        self.traffic.exposed += time.perf_counter() - all_there
        self.traffic.n_message += comm.size - 1
        self.traffic.n_byte += (comm.size - 1) * buffer[first:last].nbytes
        for start in range(0, len(buffer), self._block):
            yield start, buffer[start : start + self._block]

    def progress(self) -> None:
        pass


class Conveyor(_Maker):
    """Blocks travel round the ring; a rank holds the one in hand and the one on its way in (see `BeltPlan`)."""

    def __init__(self, comm: Comm, plan: BeltPlan, shape: tuple[int, ...], make: Make) -> None:
        super().__init__(make)
        self._comm, self._plan = comm, plan
        self._blocks = [np.empty((plan.block, *shape), np.float32) for _ in range(2)]
        self._transfer = Transfer()

    def blocks(self) -> Iterator[tuple[int, Array]]:
        plan, rank, n = self._plan, self._comm.rank, self._comm.size
        hand, other = self._blocks
        with ProgressThread(self._transfer_moves) as thread:
            for round_ in range(plan.n_round):
                first, last = plan.part(round_, rank)
                self._fill(first, last, hand[: last - first])
                for step in range(n):
                    first, last = plan.part(round_, plan.owner(rank, step))
                    if step < n - 1:
                        coming = plan.part(round_, plan.owner(rank, step + 1))
                        self._begin(hand[: last - first], other[: coming[1] - coming[0]])
                        if self._comm.is_thread_safe:
                            thread.start()
                    if last > first:
                        yield first, hand[: last - first]
                    self._finish()
                    if step < n - 1:
                        hand, other = other, hand

    def progress(self) -> None:
        self._transfer.progress()

    def _transfer_moves(self) -> bool:
        return self._transfer.progress()

    def _begin(self, leaving: Array, coming: Array) -> None:
        comm = self._comm
        self._transfer = comm.begin_shift(
            leaving if len(leaving) else None,
            (comm.rank + 1) % comm.size,
            coming if len(coming) else None,
            (comm.rank - 1) % comm.size,
        )
        self.traffic.n_message += len(leaving) > 0
        self.traffic.n_byte += leaving.nbytes

    def _finish(self) -> None:
        idle, exposed = self._transfer.wait()
        self._transfer = Transfer()
        self.traffic.idle += idle
        self.traffic.exposed += exposed


def ring(comm: Comm, size: int) -> Comm:
    """This rank's ring: neighbouring ranks of `comm`, as few rings of at most `size` as possible, alike. Collective."""
    n_ring = -(-comm.size // max(1, size))
    if n_ring == 1:
        return comm
    mine = comm.split(comm.rank * n_ring // comm.size)
    assert mine is not None
    return mine


@dataclass(frozen=True, slots=True)
class Link:
    """How fast a ring passes messages on while its ranks do nothing else.

    Attributes
    ----------
    latency : float
        Seconds of a step with an empty message.
    bandwidth : float
        Bytes per second and rank of a step with a great one.
    """

    latency: float
    bandwidth: float

    def seconds(self, n_message: float, n_byte: float) -> float:
        """Time of so many messages with so many bytes in all, one after the other."""
        return n_message * self.latency + n_byte / self.bandwidth


def measure_link(comm: Comm, n_byte: int) -> Link:
    """Time steps of the conveyor without work, on the slowest rank. Collective."""
    if comm.size == 1:
        return Link(0.0, np.inf)
    n_byte = max(n_byte, 1 << 16)
    seconds = np.array([_step_seconds(comm, size) for size in (4, n_byte)])
    comm.max_array(seconds)
    latency, great = (float(value) for value in seconds)
    return Link(latency, n_byte / max(great - latency, 0.5 * great))


def _step_seconds(comm: Comm, n_byte: int, n_step: int = 12) -> float:
    """Median time of a step: the first ones wait for the slowest rank, some for other programs."""
    leaving, coming = np.zeros(n_byte // 4, np.float32), np.zeros(n_byte // 4, np.float32)
    seconds = []
    for _ in range(n_step):
        begin = time.perf_counter()
        comm.begin_shift(leaving, (comm.rank + 1) % comm.size, coming, (comm.rank - 1) % comm.size).wait()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))
