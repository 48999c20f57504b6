"""The three ways to share items, on ranks that are threads."""

from itertools import zip_longest

import numpy as np
import pytest
from thread_comm import run_ranks

from pycryo.parallel.comm import SerialComm
from pycryo.parallel.conveyor import WAYS, AllGather, Conveyor, Local, Traffic, make_belt, measure_link, ring

SHAPE = (2, 3)


def make(first, last, out):
    out[:] = np.arange(first, last)[:, None, None] + np.array([[0.0, 0.25, 0.5], [0.125, 0.375, 0.625]])


def meet_all(belt, n_item):
    """Pass over a belt; check that every item came once and as it was made. Number of blocks, longest one."""
    seen = np.zeros(n_item, int)
    lengths = []
    for first, items in belt.blocks():
        expected = np.empty_like(items)
        make(first, first + len(items), expected)
        np.testing.assert_array_equal(items, expected)
        seen[first : first + len(items)] += 1
        lengths.append(len(items))
        belt.progress()
    np.testing.assert_array_equal(seen, 1)
    return lengths


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("n_item", [0, 1, 31, 200, 1000])
@pytest.mark.parametrize("uneven", [False, True])
def test_every_rank_meets_every_item(way, size, n_item, uneven):
    shares = (1.0,) * (size - 1) + (0.5,) if uneven else None

    def work(comm):
        belt = make_belt(way, comm, n_item, SHAPE, make, block=64, grain=8, shares=shares)
        lengths = meet_all(belt, n_item)
        assert max(lengths, default=0) <= 1.5 * 64 + 16
        return belt.traffic

    traffic = run_ranks(size, work)
    made = [each.n_made for each in traffic]
    if way == "local":
        assert made == [n_item] * size
    else:
        assert sum(made) == n_item
        # Of each round a rank makes its share, rounded to grains of 8.
        share = n_item / (size - 0.5 * uneven)
        assert max(made) <= share + 8 * (1 + share / 43)
    n_byte = sum(each.n_byte for each in traffic)
    assert n_byte == (0 if way == "local" else n_item * 24 * (size - 1))


def test_kinds():
    def work(comm):
        return [type(make_belt(way, comm, 10, SHAPE, make, block=4)) for way in WAYS]

    assert run_ranks(2, work)[0] == [Conveyor, AllGather, Local]
    assert run_ranks(1, work)[0] == [Local, Local, Local]
    with pytest.raises(ValueError, match="conveyor, allgather, local"):
        make_belt("tram", SerialComm(), 10, SHAPE, make, block=4)


def test_two_belts_at_once():
    """The rank in the middle serves two rings in turn, of different lengths."""

    def work(comm):
        rings = [comm.split(0 if comm.rank in members else None) for members in ((0, 1), (1, 2))]
        mine = [(r, n) for r, n in zip(rings, (300, 90), strict=True) if r is not None]
        belts = [make_belt("conveyor", r, n, SHAPE, make, block=16) for r, n in mine]
        rounds = zip_longest(*(belt.blocks() for belt in belts))
        return sum(len(block[1]) for blocks in rounds for block in blocks if block is not None)

    assert run_ranks(3, work) == [300, 390, 90]


def test_memory_is_two_blocks():
    def work(comm):
        belt = make_belt("conveyor", comm, 100_000, SHAPE, make, block=32)
        return sum(room.nbytes for room in belt._blocks)

    # Two blocks of about 32 items of 24 bytes; a share may be rounded up by an item.
    assert max(run_ranks(3, work)) <= 2 * 33 * 24


@pytest.mark.parametrize("size, wanted, expected", [(5, 2, [2, 2, 1]), (6, 3, [3, 3]), (4, 9, [4]), (3, 1, [1, 1, 1])])
def test_rings(size, wanted, expected):
    def work(comm):
        mine = ring(comm, wanted)
        return mine.all_gather(comm.rank)

    found = run_ranks(size, work)
    assert [rank for group in sorted({tuple(each) for each in found}) for rank in group] == list(range(size))
    assert sorted((len(each) for each in {tuple(each) for each in found}), reverse=True) == expected


def test_link_of_one_rank_costs_nothing():
    link = measure_link(SerialComm(), 1 << 20)
    assert link.seconds(5, 1e9) == 0


def test_link_of_several():
    links = run_ranks(3, lambda comm: measure_link(comm, 1 << 20))
    assert len(set(links)) == 1
    assert links[0].latency > 0
    assert links[0].seconds(2, 1e6) == pytest.approx(2 * links[0].latency + 1e6 / links[0].bandwidth)


def test_traffic_adds_up():
    total = Traffic(1, 2.0, 3.0, 4.0, 5, 6)
    total.add(Traffic(10, 20.0, 30.0, 40.0, 50, 60))
    assert total == Traffic(11, 22.0, 33.0, 44.0, 55, 66)
