"""Schedule of the conveyor belt: which items a rank makes, and which it has in hand at each step.

The items (slices) are dealt in rounds. In a round each of the n ranks of a ring makes one block, and in n steps every
block passes every rank: at step s rank r has the block of rank (r - s) mod n in hand, while it passes it on to rank
r + 1 and receives the next one from rank r - 1. A rank needs room for two blocks, whatever the number of items.

This module needs nothing but Python, so that simulators run the same schedule (bench/paper).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import ceil, floor


@dataclass(frozen=True)
class BeltPlan:
    """How `n_item` items are cut into blocks.

    Attributes
    ----------
    n_item : int
    shares : tuple of float
        Part of the items that each rank makes, in any unit; positive.
    n_round : int
        Blocks that each rank makes.
    grain : int
        Blocks begin at multiples of it.
    """

    n_item: int
    shares: tuple[float, ...]
    n_round: int
    grain: int

    @property
    def n_rank(self) -> int:
        """Ranks of the ring."""
        return len(self.shares)

    @cached_property
    def _bounds(self) -> list[float]:
        return [0.0, *(end / sum(self.shares) for end in accumulate(self.shares))]

    @property
    def block(self) -> int:
        """Items of the largest block."""
        sizes = (last - first for first, last in self.parts())
        return max(sizes, default=0)

    def part(self, round_: int, owner: int) -> tuple[int, int]:
        """First item and end of the block that `owner` makes in a round; they are equal if it is empty."""
        n_grain = ceil(self.n_item / self.grain)
        begin, end = round_ * n_grain // self.n_round, (round_ + 1) * n_grain // self.n_round
        first, last = (begin + round((end - begin) * self._bounds[i]) for i in (owner, owner + 1))
        return min(first * self.grain, self.n_item), min(last * self.grain, self.n_item)

    def parts(self) -> Iterator[tuple[int, int]]:
        """All blocks, by rounds and owners: ascending, without gaps."""
        return (self.part(round_, owner) for round_ in range(self.n_round) for owner in range(self.n_rank))

    def owner(self, rank: int, step: int) -> int:
        """Who made the block that `rank` has in hand at `step`, 0 ≤ step < n_rank."""
        return (rank - step) % self.n_rank


def plan_belt(n_item: int, shares: tuple[float, ...], block: int, grain: int = 1) -> BeltPlan:
    """Cut items into rounds of blocks of about `block` items.

    Parameters
    ----------
    n_item : int
    shares : tuple of float
        One per rank of the ring; equal shares are equal work.
    block : int
        Items of a block, about: half more at the most (and a grain where shares do not divide).
    grain : int
        Blocks begin at multiples of it: the width that the consumer works with.
    """
    if n_item < 0 or block < 1 or grain < 1 or not shares or min(shares) <= 0:
        raise ValueError(f"plan_belt: no schedule for {n_item} items, shares {shares}, blocks of {block} by {grain}")
    largest = n_item * max(shares) / sum(shares)
    return BeltPlan(n_item, shares, rounds_of(largest, max(block, grain)), grain)


def rounds_of(n_item: float, block: int) -> int:
    """Blocks that come nearest to `block` items: half more at the most."""
    return max(1, floor(n_item / block + 0.5))
