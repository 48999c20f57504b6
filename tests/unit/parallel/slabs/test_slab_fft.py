"""Slab transforms on ranks against scipy.fft.rfftn and irfftn of the whole grid."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from thread_comm import ThreadComm, run_ranks

from pycryo.kernels.sphere import sphere
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.rows import even_bounds
from pycryo.parallel.slabs import slab_fft, slab_rounds
from pycryo.parallel.slabs.slab_fft import SlabFft

RANKS = [1, 2, 3, 5, 11]
# Rounding of a transform grows with the logarithm of its size: below ten units of the last place of the largest value.
TOLERANCE = {True: 10 * np.finfo(np.float64).eps, False: 10 * np.finfo(np.float32).eps}


@pytest.fixture(autouse=True)
def small_messages(monkeypatch):
    """Several rounds of exchange, and threads, even on small grids: 3 kB hold one to three rows of those here."""
    monkeypatch.setattr(slab_rounds, "_MOST_EXCHANGE", 3000)
    monkeypatch.setattr(slab_fft, "_LEAST_THREADED", 0)


def grid(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, n, n))


def close(found, expected, double):
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=TOLERANCE[double] * max(np.abs(expected).max(initial=0), 1e-30)
    )


def rows_of(points):
    """The transform with axes (y, z, x)."""
    return scipy.fft.rfftn(points).transpose(1, 0, 2)


def forward(points, size, **options):
    """All rows, found by `size` ranks."""

    def work(comm):
        fft = SlabFft(comm, len(points), **options)
        return fft.forward(points[fft.plane_numbers.start : fft.plane_numbers.stop])

    return np.concatenate(run_ranks(size, work))


def inverse(rows, n, size, **options):
    """All planes, found by `size` ranks."""

    def work(comm):
        fft = SlabFft(comm, n, **options)
        return fft.inverse(rows[fft.rows.start : fft.rows.stop])

    return np.concatenate(run_ranks(size, work))


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 16])
def test_transforms_are_those_of_scipy(n, size, double):
    points = grid(n)
    found = forward(points, size, double=double)
    assert found.dtype == (np.complex128 if double else np.complex64)
    close(found, rows_of(points), double)
    back = inverse(rows_of(points), n, size, double=double)
    assert back.dtype == (np.float64 if double else np.float32)
    close(back, points, double)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("n", [8, 15])
def test_ranks_and_threads_change_no_bit(n, double):
    points = grid(n)
    rows = rows_of(points)
    alone = forward(points, 1, double=double, threads=1), inverse(rows, n, 1, double=double, threads=1)
    for size in RANKS:
        for threads in (1, 3):
            options = {"double": double, "threads": threads}
            np.testing.assert_array_equal(forward(points, size, **options), alone[0])
            np.testing.assert_array_equal(inverse(rows, n, size, **options), alone[1])


def test_rounds_change_no_bit(monkeypatch):
    points = grid(12)
    several = forward(points, 3), inverse(rows_of(points), 12, 3)
    assert len(slab_rounds.exchange_rounds(12, even_bounds(12, 1), np.full(12, 7), 16)) > 3
    monkeypatch.setattr(slab_rounds, "_MOST_EXCHANGE", 1 << 20)
    np.testing.assert_array_equal(several[0], forward(points, 3))
    np.testing.assert_array_equal(several[1], inverse(rows_of(points), 12, 3))


@pytest.mark.parametrize("per_node", [1, 2, 3, 5])
def test_nodes_change_no_bit(monkeypatch, per_node):
    """Ranks of a node read each other's buffers, the others get messages."""
    points = grid(12)
    together = forward(points, 5), inverse(rows_of(points), 12, 5)
    monkeypatch.setattr(ThreadComm, "ranks_per_node", per_node)
    monkeypatch.setattr(ThreadComm, "has_peers", True)
    np.testing.assert_array_equal(together[0], forward(points, 5))
    np.testing.assert_array_equal(together[1], inverse(rows_of(points), 12, 5))


# --- rows of a sphere -------------------------------------------------------------------------------------------------


def of_sphere(radius, n, size):
    """Rows of the layers of a sphere, as options, and which samples they have: axes (y, z, x)."""
    voxels = sphere(radius)
    place = np.arange(-radius, radius + 1) % n
    options = {"place": place, "widths": voxels.widths, "bounds": voxels.bounds(size)}
    inside = np.zeros((n, n, n // 2 + 1), bool)
    for y, width in zip(place, voxels.widths, strict=True):
        inside[y, :, :width] = True
    return options, inside


def fill_from(rows, place):
    """A `RowWork` that copies rows of a whole transform."""

    def fill(row, samples):
        assert not samples.any()
        samples[:] = rows[place[row], :, : samples.shape[1]]

    return fill


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("radius, n", [(3, 8), (3, 16), (4, 9), (5, 20)])
def test_partial_rows(radius, n, size):
    points = grid(n)
    options, inside = of_sphere(radius, n, size)
    rows = np.where(inside, rows_of(points), 0)
    filtered = scipy.fft.irfftn(rows.transpose(1, 0, 2), s=(n,) * 3)

    def work(comm):
        fft = SlabFft(comm, n, **options)
        mine = points[fft.plane_numbers.start : fft.plane_numbers.stop]
        found = fft.forward(mine)
        planes = fft.inverse(rows[options["place"]][fft.rows.start : fft.rows.stop])
        return found, planes

    found, planes = (np.concatenate(part) for part in zip(*run_ranks(size, work), strict=True))
    close(found, rows[options["place"]], True)
    close(planes, filtered, True)


@pytest.mark.parametrize("size", RANKS)
def test_no_rows_at_all(size):
    def work(comm):
        fft = SlabFft(comm, 5, place=np.zeros(0, np.int64))
        fft.forward(np.ones((len(fft.plane_numbers), 5, 5)))
        fft.load(lambda row, samples: None)
        fft.store(lambda row, samples: None)
        return fft.planes

    assert not np.concatenate(run_ranks(size, work)).any()


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("size", RANKS)
def test_load_work_store_is_a_convolution(size, double):
    n, radius = 14, 5
    options, inside = of_sphere(radius, n, size)
    rows = np.where(inside, rows_of(grid(n, 1)), 0)
    kernel = grid(n, 2)
    expected = rows_of(scipy.fft.irfftn(rows.transpose(1, 0, 2), s=(n,) * 3) * kernel)

    def work(comm):
        fft = SlabFft(comm, n, double=double, threads=2, **options)
        result = {}

        def multiply(number, plane):
            plane *= kernel[number] / n**3

        def take(row, samples):
            result[row] = samples.copy()

        fft.load(fill_from(rows, fft.place))
        fft.on_planes(multiply, back=True)
        fft.store(take)
        assert sorted(result) == list(fft.rows)
        return result

    found = {row: samples for part in run_ranks(size, work) for row, samples in part.items()}
    assert len(found) == 2 * radius + 1
    whole = np.zeros_like(expected)
    for row, samples in found.items():
        whole[options["place"][row], :, : samples.shape[1]] = samples
    close(whole, np.where(inside, expected, 0), double)


# --- some planes only -------------------------------------------------------------------------------------------------

EXTENTS = [(0, 3), (-3, 4), (4, 9), (2, 2), (7, 11), (-9, 0)]


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("extent", EXTENTS)
def test_planes_of_an_extent(size, extent):
    """Whole planes, and those parts of them in the same extent of y and x."""
    n = 9
    options, inside = of_sphere(3, n, size)
    rows = np.where(inside, rows_of(grid(n)), 0)
    expected = scipy.fft.irfftn(rows.transpose(1, 0, 2), s=(n,) * 3, norm="forward")
    chosen = np.arange(*extent) % n

    def work(comm):
        fft = SlabFft(comm, n, **options)
        whole, cropped = {}, {}
        fft.deal(extent)
        fft.load(fill_from(rows, fft.place))
        fft.crop_planes(lambda number, plane: cropped.update({number: plane.copy()}), extent)
        fft.load(fill_from(rows, fft.place))
        fft.on_planes(lambda number, plane: whole.update({number: plane.copy()}), back=False)
        assert sorted(whole) == sorted(cropped) == list(fft.plane_numbers)
        return whole, cropped

    whole, cropped = (
        {z: plane for found in part for z, plane in found.items()} for part in zip(*run_ranks(size, work), strict=True)
    )
    assert sorted(whole) == list(range(*extent))
    for number, plane in whole.items():
        close(plane, expected[number % n], True)
        close(cropped[number], expected[number % n][np.ix_(chosen, chosen)], True)


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("extent", EXTENTS)
def test_other_planes_are_zero_on_the_way_back(size, extent):
    n = 9
    points = grid(n)
    options, inside = of_sphere(3, n, size)
    wanted = np.zeros((n, 1, 1), bool)
    wanted[np.arange(*extent) % n] = True
    expected = np.where(inside, rows_of(np.where(wanted, points, 0)), 0)[options["place"]]

    def work(comm):
        fft = SlabFft(comm, n, extent=extent, **options)
        return fft.forward(points[[z % n for z in fft.plane_numbers]])

    close(np.concatenate(run_ranks(size, work)), expected, True)


@pytest.mark.parametrize("size", [2, 3])
def test_other_planes_are_not_sent(size):
    n = 12

    def work(comm):
        fft = SlabFft(comm, n, extent=(-1, 2))
        fft.load(lambda row, samples: None)
        # What stays on a rank does not travel.
        assert fft.n_byte == (3 - len(fft.plane_numbers)) * len(fft.rows) * (n // 2 + 1) * 16

    run_ranks(size, work)


def test_rows_in_portions_and_twice():
    n = 10
    place, widths = np.array([0, 1, 2, 8, 9]), np.array([4, 3, 2, 2, 3])
    rng = np.random.default_rng(1)
    given = [rng.standard_normal((n, w)) + 1j * rng.standard_normal((n, w)) for w in widths]
    fft = SlabFft(SerialComm(), n, place=place, widths=widths)
    found = {}

    def fill(row, samples):
        samples[:] = given[row]

    def take(row, samples):
        found[row] = samples.copy()

    def spoil(number, plane):
        plane[:] = number

    fft.load(fill)
    fft.on_planes(spoil, back=True)
    fft.load(fill, [3, 0])
    fft.load(fill, [1, 2, 4])
    fft.store(take, [4, 1])
    assert sorted(found) == [1, 4]
    fft.store(take)
    for row, samples in enumerate(given):
        # Unscaled there and back along z.
        np.testing.assert_allclose(found[row], n * samples, atol=n * TOLERANCE[True] * np.abs(samples).max())
    absent = np.setdiff1d(np.arange(n), place)
    np.testing.assert_array_equal(fft.planes[:, absent], 0)


def test_portions_are_for_a_rank_alone():
    def work(comm):
        fft = SlabFft(comm, 4)
        for call in (fft.load, fft.store):
            with pytest.raises(ValueError, match="rows: expected None"):
                call(lambda row, samples: None, [0])

    run_ranks(2, work)


@given(st.integers(1, 4), st.lists(st.sampled_from(["inverse", "forward", "crop", "convolve"]), max_size=4))
@settings(max_examples=20)
def test_nothing_is_left_of_a_former_use(size, uses):
    """Whatever was done with the planes before, a load gives what it gives on new ones."""
    n, radius = 10, 3
    options, inside = of_sphere(radius, n, size)
    before, rows = (np.where(inside, rows_of(grid(n, seed)), 0) for seed in (1, 2))
    points = grid(n, 3)

    def use(fft, kind):
        fft.deal((-2, 3) if kind == "crop" else (0, n))
        if kind == "forward":
            fft.forward(points[fft.plane_numbers.start : fft.plane_numbers.stop])
            return
        fft.load(fill_from(before, fft.place))
        if kind == "crop":
            fft.crop_planes(lambda number, plane: None, (-2, 3))
        else:
            fft.on_planes(lambda number, plane: None, back=kind == "convolve")

    def work(comm):
        fft = SlabFft(comm, n, **options)
        for kind in uses:
            use(fft, kind)
        fresh = SlabFft(comm, n, **options)
        fft.deal((0, n))
        for each in (fft, fresh):
            each.load(fill_from(rows, fft.place))
        np.testing.assert_array_equal(fft.planes, fresh.planes)

    run_ranks(size, work)
