"""New pieces take all ranks the same time; moving images and posteriors changes no bit of a refinement."""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moving import cuts, force_moves, hurry, refine_moving
from phantom import blobs, write_set
from scene import lump, scene
from thread_comm import run_ranks

from pycryo import RefineOptions, refine
from pycryo.filter.support import Posterior, Support
from pycryo.io.particles import read_particles
from pycryo.maps.slab_map import gather
from pycryo.model.owners import owner_ranks
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.data.halves import split_halves
from pycryo.refinement.data.image_statistics import measure_images
from pycryo.refinement.data.partition import deal
from pycryo.refinement.data.posteriors import COLUMNS, from_columns, to_columns
from pycryo.refinement.outcome import Load
from pycryo.refinement.resources import balance
from pycryo.refinement.resources.balance import describe, next_bounds, redeal
from pycryo.refinement.setup import Setup
from pycryo.refinement.state import State

# --- the pieces -------------------------------------------------------------------------------------------------------


def even(n_rank, n):
    return n * np.arange(n_rank + 1) // n_rank


def settled(bounds, seconds, fixed, n_step=20):
    """Bounds and times after so many iterations; `seconds` are those of a rank's piece [first, last)."""
    for _ in range(n_step):
        busy = [seconds(r, *bounds[r : r + 2]) for r in range(len(bounds) - 1)]
        found = next_bounds(bounds, busy, fixed)
        bounds = bounds if found is None else found
    return bounds, [seconds(r, *bounds[r : r + 2]) for r in range(len(bounds) - 1)]


@pytest.mark.parametrize("speed", [(1, 2), (1, 1, 1, 0.25), (3, 1, 2, 1, 1), (1,) * 30 + (0.5,), (8, 1)])
def test_slow_ranks_get_less(speed):
    n = 1000 * len(speed)
    bounds, busy = settled(even(len(speed), n), lambda r, a, b: (b - a) / speed[r], [0.0] * len(speed))
    # What is left promises less than the least gain, 5 % of the slowest rank's time, at 0.7 of the way to equal times.
    assert max(busy) < n / sum(speed) / (1 - 0.05 / 0.7)
    assert bounds[-1] == n


def test_costly_images_are_spread():
    """The first third of the images, larger ones, takes five times as long: wherever they lie."""
    cost = np.where(np.arange(3000) < 1000, 5.0, 1.0)
    _, busy = settled(even(4, 3000), lambda r, a, b: cost[a:b].sum(), [0.0] * 4)
    assert max(busy) < 1.1 * np.mean(busy)  # as above, and whole images


def test_fixed_work_is_not_the_images():
    """Rank 0 works for 10 s before it comes to its images, which cost as much everywhere."""
    fixed = [10.0, 0.0]
    bounds, busy = settled(even(2, 2000), lambda r, a, b: fixed[r] + 0.01 * (b - a), fixed)
    assert busy == pytest.approx([15, 15], rel=0.06)  # 5 % of the slowest rank's time are left alone
    assert 400 <= bounds[1] <= 600


def test_the_whole_way_at_once(monkeypatch):
    monkeypatch.setattr(balance, "_DAMPING", 1.0)
    np.testing.assert_array_equal(next_bounds(even(2, 200), [20.0, 10.0], [10.0, 0.0]), [0, 50, 200])
    np.testing.assert_array_equal(next_bounds(even(3, 300), [1.0, 2.0, 4.0], [0.0] * 3), [0, 171, 257, 300])
    # More fixed work than the others need for everything: the rank keeps one image.
    np.testing.assert_array_equal(next_bounds(even(2, 200), [110.0, 10.0], [100.0, 0.0]), [0, 1, 200])


RANK = st.tuples(st.integers(0, 50), st.floats(0.01, 10), st.floats(0, 100))


@given(st.lists(RANK, min_size=1, max_size=12))
def test_any_ranks(ranks):
    count, cost, fixed = (np.array(column) for column in zip(*ranks, strict=True))
    bounds = np.concatenate([[0], np.cumsum(count)])
    busy = fixed + cost * count
    found = next_bounds(bounds, busy.tolist(), fixed.tolist())
    if found is None:
        return
    assert (found[0], found[-1]) == (0, bounds[-1])
    assert found.dtype == np.int64
    assert (np.diff(found) >= (count > 0)).all()
    mean = (cost * count).sum() / count.sum()
    expected = np.where(count > 0, np.maximum(cost, mean / 20), mean)
    after = (fixed + expected * np.diff(found)).max()
    assert after <= 0.95 * busy.max() * (1 + 1e-12)  # rounding of the same sums


@given(st.lists(RANK.filter(lambda rank: rank[0] > 0), min_size=2, max_size=12))
def test_nothing_is_better(ranks):
    """Undamped, against the level of equal times found by bisection."""
    count, cost, fixed = (np.array(column) for column in zip(*ranks, strict=True))
    cost = np.maximum(cost, 1.0)  # none above the limit of a clock's mistake
    bounds = np.concatenate([[0], np.cumsum(count)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(balance, "_DAMPING", 1.0)
        patch.setattr(balance, "_LEAST_GAIN", 0.0)
        found = next_bounds(bounds, (fixed + cost * count).tolist(), fixed.tolist())
    low, high = 0.0, float((fixed + cost * count.sum()).max())
    for _ in range(200):
        level = 0.5 * (low + high)
        fits = np.maximum(1, (level - fixed) / cost).sum() >= count.sum()
        low, high = (low, level) if fits else (level, high)
    best = np.maximum(high, fixed + cost)
    pieces = np.diff(bounds if found is None else found)
    # Cuts are rounded to whole images: half of one at either end. What seemed no gain is only rounding, too.
    assert (fixed + cost * pieces).max() <= (best + cost).max() * (1 + 1e-9)


def test_jitter_moves_nothing(rng):
    for _ in range(100):
        busy = 10 * (1 + 0.02 * rng.uniform(-1, 1, 8))
        assert next_bounds(even(8, 4000), busy.tolist(), [0.0] * 8) is None


def test_nothing_to_gain():
    assert next_bounds(even(1, 10), [3.0], [0.0]) is None
    assert next_bounds(even(3, 0), [3.0, 1.0, 0.0], [0.0] * 3) is None
    assert next_bounds(even(2, 10), [0.0, 0.0], [0.0, 0.0]) is None
    assert next_bounds(even(2, 10), [3.0, 1.0], [3.0, 1.0]) is None
    # Fewer images than ranks: those that have one keep it.
    assert next_bounds(even(5, 2), [0.0, 0.1, 5.0, 0.0, 1.0], [0.0] * 5) is None


def test_moving_must_pay():
    busy, bounds = [30.0, 10.0], even(2, 2000)
    moved = int(bounds[1] - next_bounds(bounds, busy, [0.0] * 2)[1])
    gain = 0.03 * moved
    assert next_bounds(bounds, busy, [0.0] * 2, 0.9 * gain / moved) is not None
    assert next_bounds(bounds, busy, [0.0] * 2, 1.1 * gain / moved) is None


# --- the move ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    """23 particles of 16 px and 20 px."""
    folder = tmp_path_factory.mktemp("two")
    return read_particles(write_set(folder, blobs(), 23, geometries=((16, 3.0), (20, 2.5)), noise=3.0))


def posterior_of(rows, rng):
    """Posteriors whose numbers tell the particle, in any order, as batches leave them."""
    rows = rng.permutation(rows)
    at = rows.astype(np.float64)
    n = len(rows)
    wide = [np.tile(at, (k, 1)).T for k in (4, 3, 2)]
    pose = (np.broadcast_to(at[:, None, None], (n, 3, k)).copy() for k in (4, 2))
    whole = rows.astype(np.int32)
    support = Support(*pose, wide[1], np.tile(whole, (3, 1)).T)
    columns = (wide[0], wide[2], whole, wide[2], at, at, at, at, at, rows.copy(), rows.copy(), at, at)
    return rows, Posterior(support, *columns)


def state_of(partition, rng):
    posteriors = tuple(posterior_of(partition.rows_of(h), rng) if len(partition.rows_of(h)) else None for h in (0, 1))
    none = np.zeros(0)
    return State(1, None, (), np.ones(1), none, none, 1.0, None, posteriors, none)


def setup_of(partition):
    return Setup(partition, RefineOptions(), None, 16, 3.0, 30.0, (None, None), None, None, 1e9, None, "", None)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("preread", [False, True])
def test_every_particle_is_held_once(particles, size, preread):
    half = split_halves(particles, 1)
    half[[3, 11]] = -1
    n = int(np.count_nonzero(half >= 0))

    def work(comm):
        rng = np.random.default_rng(comm.rank)
        partition = deal(comm, particles, half, None)
        if preread:
            partition = deal(comm, particles, half, measure_images(partition, 20.0, True)[1])
        setup, state = setup_of(partition), state_of(partition, rng)
        seen = []
        for number in range(8):
            setup, state = redeal(setup, state, cuts(size, n, number))
            seen.append((setup.partition, state.posteriors))
            # As after a search, which measures on all ranks of a half if one of them does not know.
            for h, comm in enumerate(setup.partition.half_comm):
                if comm is not None:
                    known = comm.all_gather(setup.rates[h])
                    assert len(set(known) - {None}) <= 1
                    setup.rates[h] = number if None in known else known[0]
        return seen

    images = {batch.rows[i]: batch.images[i] for batch in every_batch(particles) for i in range(len(batch.rows))}
    for number, ranks in enumerate(zip(*run_ranks(size, work), strict=True)):
        rows = np.concatenate([partition.rows for partition, _ in ranks])
        np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(half >= 0))
        np.testing.assert_array_equal(np.diff(ranks[0][0].bounds), [len(partition.rows) for partition, _ in ranks])
        np.testing.assert_array_equal(ranks[0][0].bounds, cuts(size, n, number))
        for partition, posteriors in ranks:
            check_posteriors(partition, posteriors)
            check_images(partition, images, preread)
        check_halves([partition for partition, _ in ranks])


def every_batch(particles):
    partition = deal(SerialComm(), particles, np.zeros(particles.n, np.int8), None)
    return list(partition.batches(partition.rows))


def check_posteriors(partition, posteriors):
    for half, found in enumerate(posteriors):
        mine = partition.rows_of(half)
        assert (found is None) == (len(mine) == 0)
        if found is not None:
            rows, posterior = found
            np.testing.assert_array_equal(rows, mine)
            for part in (posterior, posterior.support):
                for field in fields(part):
                    if field.name != "support":
                        data = getattr(part, field.name)
                        assert len(data) == len(rows)
                        assert (data.reshape(len(rows), -1) == rows[:, None]).all()
            assert posterior.n_slices.dtype == np.int64
            assert posterior.support.quaternion.shape[1:] == (3, 4)


def check_images(partition, images, preread):
    assert (partition.cache is not None) == preread
    if preread:
        assert sorted(partition.cache) == sorted(partition.rows.tolist())
    for half in (0, 1):
        seen = []
        for batch in partition.batches(partition.rows_of(half)):
            for row, image in zip(batch.rows.tolist(), batch.images, strict=True):
                np.testing.assert_array_equal(image, images[row])
                seen.append(row)
        assert sorted(seen) == sorted(partition.rows_of(half).tolist())


def check_halves(partitions):
    for half in (0, 1):
        members = [rank for rank, partition in enumerate(partitions) if partition.holds(half)]
        assert members == list(partitions[0].half_ranks[half])
        holders = {rank for rank, partition in enumerate(partitions) if len(partition.rows_of(half))}
        assert holders | set(owner_ranks(len(partitions))[half]) <= set(members)
        assert [partitions[rank].half_comm[half].rank for rank in members] == list(range(len(members)))
        assert {partitions[rank].half_comm[half].size for rank in members} == {len(members)}


def test_before_the_first_iteration_there_are_no_posteriors(particles):
    def work(comm):
        partition = deal(comm, particles, split_halves(particles, 1), None)
        state = replace(state_of(partition, np.random.default_rng(1)), posteriors=(None, None))
        return redeal(setup_of(partition), state, cuts(3, 23, 4))[1].posteriors

    assert run_ranks(3, work) == [(None, None)] * 3


def test_columns_and_back(particles, rng):
    partition = deal(SerialComm(), particles, split_halves(particles, 1), None)
    columns = to_columns(partition, state_of(partition, rng).posteriors)
    assert tuple(columns) == COLUMNS
    for data in columns.values():
        assert (data.reshape(23, -1) == partition.rows[:, None]).all()
    check_posteriors(partition, from_columns(partition, columns))
    assert to_columns(partition, (None, None)) == {}
    assert from_columns(partition, {}) == (None, None)


# --- the refinement ---------------------------------------------------------------------------------------------------


def load_of(busy, **rest):
    n = len(busy)
    zeros = [0.0] * n
    values = {"fixed": zeros, "idle": zeros, "exposed": zeros, "particles": [1] * n, "made": [0] * n}
    values |= {"n_byte": [0] * n, "way": "", "ring_size": 1, "hidden": None}
    return Load(busy=busy, **(values | rest))


def test_balance_says_what_it_does(particles, caplog):
    """The second rank needs three times as long as the first."""
    caplog.set_level(logging.DEBUG)

    def work(comm):
        partition = deal(comm, particles, split_halves(particles, 1), None)
        setup, state = setup_of(partition), state_of(partition, np.random.default_rng(1))
        same = balance.balance(setup, state, load_of([10.0, 10.2]))
        assert same == (setup, state)
        setup, state = balance.balance(setup, state, load_of([10.0, 30.0]))
        check_posteriors(setup.partition, state.posteriors)
        return setup.partition.bounds.tolist()

    found = run_ranks(2, work)
    assert found[0] == found[1]
    # 11 and 12 of them; costs of 10/11 and 30/12 s: equal times at 16.9 and 6.1, and 0.7 of the way there is 15.1.
    assert found[0] == [0, 15, 23]
    assert "ranks were busy 10.0-30.0 s; moved 4 particles so that all take about 20.0 s" in caplog.text


def test_one_rank_has_nobody_to_share_with():
    setup = SimpleNamespace(partition=SimpleNamespace(comm=SerialComm()))
    assert balance.balance(setup, "state", load_of([5.0])) == (setup, "state")


def test_description():
    assert describe(load_of([5.0])) == "load: 1 rank, busy 5.0 s"
    assert describe(load_of([5.0, 7.04], idle=[2.0, 0.0])) == (
        "load: 2 ranks: busy 5.0-7.0 s, idle 0.0-2.0 s, waiting for messages 0.0-0.0 s"
    )
    text = describe(load_of([5.0] * 4, way="conveyor", ring_size=2, hidden=0.934))
    assert "4 ranks, slices conveyor in rings of 2:" in text
    assert "93 % of the communication hidden" in text


OPTIONS = RefineOptions(stages="global,local,defocus", ini_high=30.0, threads=1)


@pytest.fixture(scope="module")
def refined(tmp_path_factory):
    """33 images in both halves, what they began with, and the result of a single rank, in a hurry."""
    folder = tmp_path_factory.mktemp("refined")
    particles, _, start = scene(folder, lump(), 33, snr=0.8, geometries=((20, 5.0), (24, 4.5)))
    with pytest.MonkeyPatch.context() as monkeypatch:
        hurry(monkeypatch)
        return particles, start, refine(particles, start, OPTIONS)


@pytest.mark.parametrize(("size", "preread"), [(2, False), (3, True), pytest.param(5, False, marks=pytest.mark.slow)])
def test_moves_do_not_change_a_bit(refined, monkeypatch, size, preread):
    particles, start, alone = refined
    options = replace(OPTIONS, preread=preread)
    force_moves(monkeypatch)
    hurry(monkeypatch)

    def work(comm):
        outcome, *others = refine_moving(particles, start, options, comm)
        return gather(outcome.classes[0].map), outcome, *others

    whole, outcome, history, held = run_ranks(size, work)[0]
    assert {record.stage for record in history} == {"global", "local", "defocus", "final"}
    np.testing.assert_array_equal(whole.data, alone.map.data)
    for field in fields(alone.poses):
        np.testing.assert_array_equal(getattr(outcome.poses, field.name), getattr(alone.poses, field.name))
    assert [each.decision for each in history] == [each.decision for each in alone.history]
    assert len({tuple(rows.tolist()) for rows in held}) > 1
