"""Maps dealt to ranks against the same work on whole maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from thread_comm import run_ranks

from pycryo.maps import density
from pycryo.maps.density import Map, resample
from pycryo.maps.slab_map import (
    SlabMap,
    alone,
    from_map,
    from_root,
    gather,
    inverted,
    join_low_resolution,
    low_pass,
    resample_grid,
    soft_sphere,
)
from pycryo.parallel.comm import SerialComm

RANKS = [1, 2, 3, 5, 17]


def noise(box: int, seed: int = 0) -> Map:
    return Map(np.random.default_rng(seed).standard_normal((box,) * 3, dtype=np.float32), 1.37)


def on_ranks(size, source, work):
    """The whole map of `work(slab_map)`."""
    results = run_ranks(size, lambda comm: gather(work(from_map(comm, source))))
    assert all(each is None for each in results[1:])
    return results[0]


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("box", [1, 2, 9, 16])
def test_dealt_and_gathered(size, box):
    source = noise(box)

    def work(comm):
        root = comm.size - 1
        dealt = from_root(comm, source if comm.rank == root else None, root)
        mine = from_map(comm, source)
        np.testing.assert_array_equal(dealt.data, mine.data)
        assert (dealt.box, dealt.pixel_size, dealt.numbers) == (box, 1.37, mine.numbers)
        assert (dealt.bounds[comm.rank], dealt.bounds[-1]) == (mine.numbers.start, box)
        whole = gather(dealt, comm.size // 2)
        assert (whole is not None) == (comm.rank == comm.size // 2)
        return whole

    whole = next(each for each in run_ranks(size, work) if each is not None)
    np.testing.assert_array_equal(whole.data, source.data)
    assert whole.pixel_size == 1.37


def test_only_planes_of_a_cube():
    for shape in ((4, 4, 3), (3, 4, 4), (4, 4), (4,)):
        with pytest.raises(ValueError, match="planes of a cube"):
            SlabMap(SerialComm(), np.zeros(shape, np.float32), 1.0)


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("box", [15, 16])
def test_soft_sphere(size, box):
    found = run_ranks(size, lambda comm: gather(soft_sphere(comm, box, 4.0, 2.5, 2.0)))[0]
    np.testing.assert_array_equal(found.data, density.soft_sphere(box, 4.0, 2.5))
    assert found.pixel_size == 2.0


@pytest.mark.parametrize("size", RANKS[1:])
@pytest.mark.parametrize("box, resolution, edge", [(15, 5.0, 2.0), (16, 5.0, 0.0), (16, 1e3, 2.0), (9, 0.1, 2.0)])
def test_low_pass_is_that_of_the_whole_map(size, box, resolution, edge):
    source = noise(box)
    found = on_ranks(size, source, lambda each: low_pass(each, resolution, edge_px=edge))
    np.testing.assert_array_equal(found.data, density.low_pass(source, resolution, edge_px=edge).data)


@pytest.mark.parametrize(
    "n, m",
    [(16, 24), (24, 16), (15, 22), (22, 15), (16, 21), (21, 16), (15, 27), (27, 15), (30, 44), (44, 30), (16, 17)],
)
def test_resample_grid_is_resample(n, m):
    """With power up to Nyquist, where the grids differ."""
    source = noise(n)
    expected = resample(source, m, source.pixel_size * n / m)
    one = on_ranks(1, source, lambda each: resample_grid(each, m))
    assert one.pixel_size == pytest.approx(expected.pixel_size)
    # Transforms in single precision: about 6e-8 · log2(44³) · a few of the largest value.
    np.testing.assert_allclose(one.data, expected.data, atol=3e-6 * np.abs(expected.data).max())
    for size in RANKS[1:]:
        np.testing.assert_array_equal(on_ranks(size, source, lambda each: resample_grid(each, m)).data, one.data)


def test_resample_grid_to_the_same_and_to_the_smallest():
    source = noise(8)
    assert on_ranks(3, source, lambda each: resample_grid(each, 8)).data.tobytes() == source.data.tobytes()
    for n, m in ((8, 1), (8, 2), (1, 3), (2, 5), (3, 2)):
        source = noise(n)
        expected = resample(source, m, source.pixel_size * n / m).data
        np.testing.assert_allclose(
            on_ranks(2, source, lambda each, m=m: resample_grid(each, m)).data, expected, atol=1e-5
        )


def everywhere(source):
    """The whole map on every rank."""
    whole = gather(source)
    return source.comm.broadcast(None if whole is None else whole.data)


@pytest.mark.parametrize("box", [16, 15])
@pytest.mark.parametrize("shells", [0.0, 1.0, 2.5, 3.0, 100.0])
def test_join_low_resolution(box, shells):
    pair = [noise(box, seed) for seed in (1, 2)]
    k = np.fft.fftfreq(box, 1 / box)
    low = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2) < shells
    transforms = [np.fft.fftn(each.data) for each in pair]
    mean = 0.5 * (transforms[0] + transforms[1])
    expected = [np.fft.ifftn(np.where(low, mean, each)).real for each in transforms]

    def work(comm):
        both = [from_map(comm, each) for each in pair]
        joined = join_low_resolution(*both, shells)
        for each, source in zip(both, pair, strict=True):
            np.testing.assert_array_equal(everywhere(each), source.data)
        return [everywhere(each) for each in joined]

    one = run_ranks(1, work)[0]
    for found, truth in zip(one, expected, strict=True):
        # Single-precision transforms of numbers of order 1, there and back: about 1e-7 · √log(size), times 5.
        np.testing.assert_allclose(found, truth, atol=2e-6)
    for size in RANKS[1:]:
        np.testing.assert_array_equal(run_ranks(size, work), [one] * size)


def test_planes_can_be_replaced():
    found = on_ranks(2, noise(6), lambda each: replace(each, data=2 * each.data))
    np.testing.assert_array_equal(found.data, 2 * noise(6).data)


@pytest.mark.parametrize("size", RANKS)
@pytest.mark.parametrize("box", [1, 2, 9, 16])
def test_inverted(size, box):
    """The voxel at r comes from -r; of an even box the first plane along each axis is its own partner."""
    source = noise(box)
    partner = [(2 * (box // 2) - i) % box for i in range(box)]
    expected = source.data[np.ix_(partner, partner, partner)]
    assert expected[box // 2, box // 2, box // 2] == source.data[box // 2, box // 2, box // 2]
    np.testing.assert_array_equal(on_ranks(size, source, inverted).data, expected)


@pytest.mark.parametrize("size", RANKS)
def test_alone(size):
    first, second = noise(9), noise(9, 1)
    found = run_ranks(size, lambda comm: alone(from_map(comm, first), from_map(comm, second)))
    assert found[1:] == [[]] * (size - 1)
    for each, source in zip(found[0], (first, second), strict=True):
        assert (each.comm.size, each.pixel_size) == (1, source.pixel_size)
        np.testing.assert_array_equal(each.data, source.data)
