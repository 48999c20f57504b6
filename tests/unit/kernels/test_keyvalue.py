"""Kernel `keyvalue` against dense insertion, its twin, and its arguments."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pycryo.kernels.backprojector import insert, new_accumulators
from pycryo.kernels.entries import Entries
from pycryo.kernels.keyvalue import KeyValues, add_key_values, count_key_values, merge_key_values, to_key_values
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.reference import keyvalue as twin
from pycryo.kernels.sphere import sphere

PARTS = ("re", "im", "weight")


def random_work(rng, box, r_high, n_image, n_entry) -> Entries:
    pixels = half_plane(box, r_high)
    return Entries(
        rng.standard_normal((n_image, 2, len(pixels))).astype(np.float32),
        rng.random((n_image, len(pixels))).astype(np.float32) + 0.5,
        rng.integers(0, max(n_image, 1), n_entry),
        Rotation.random(n_entry, rng).as_matrix() if n_entry else np.empty((0, 3, 3)),
        rng.uniform(-4, 4, (n_entry, 2)),
        rng.random(n_entry) + 0.5,
        pixels.kx,
        pixels.ky,
    )


def inserted(work, box, r_high, *, padding=2, layers=None, quantum=0.0):
    accumulators = new_accumulators(box, padding=padding, r_high=r_high, layers=layers)
    insert(accumulators, work, quantum=(quantum, quantum))
    return accumulators


def listed(accumulators, work, *, quantum=0.0, **options) -> KeyValues:
    """The key-values of the same work on the layers of accumulators."""
    return to_key_values(
        accumulators.sphere,
        work,
        box=accumulators.box,
        padding=accumulators.padding,
        quantum=(quantum, quantum),
        layers=(accumulators.first, accumulators.last),
        **options,
    )


def key_values_of(sums) -> KeyValues:
    """Those of a twin."""
    value = np.array([value for value, _ in sums.values()], complex)
    weight = np.array([weight for _, weight in sums.values()], float)
    return KeyValues(np.array(list(sums), np.int64), value.real.copy(), value.imag.copy(), weight)


def random_sums(rng, n, most):
    """Twin with up to n voxels 0 ... most - 1."""
    keys = sorted(set(rng.integers(0, most, n).tolist()))
    return {key: (complex(*rng.standard_normal(2)), float(rng.random())) for key in keys}


def assert_same_bits(a: KeyValues, b: KeyValues):
    np.testing.assert_array_equal(a.key, b.key)
    for part in PARTS:
        np.testing.assert_array_equal(getattr(a, part), getattr(b, part))


@pytest.mark.parametrize("box, r_high, padding", [(16, 1, 2), (16, 5, 1), (33, 16.5, 2), (64, 20, 3)])
@pytest.mark.parametrize("n_image, n_entry", [(0, 0), (1, 0), (1, 1), (2, 5)])
@pytest.mark.parametrize("quantum", [0.0, 2.0**-30])
def test_equals_insertion(box, r_high, padding, n_image, n_entry, quantum, rng):
    work = random_work(rng, box, r_high, n_image, n_entry)
    dense = inserted(work, box, r_high, padding=padding, quantum=quantum)
    result = listed(dense, work, quantum=quantum)
    # A sample exactly on a voxel touches neighbours without a share: those are listed with sums of zero.
    some = (result.re != 0) | (result.im != 0) | (result.weight != 0)
    expected = twin.to_key_values(dense.re + 1j * dense.im, dense.weight, 0)
    assert_same_bits(
        KeyValues(result.key[some], *(getattr(result, part)[some] for part in PARTS)), key_values_of(expected)
    )
    assert np.all(np.diff(result.key) > 0)


@pytest.mark.parametrize("layers", [None, (20, 50)])
def test_of_curved_images(layers, rng):
    work = random_work(rng, 64, 20, 2, 5)
    work = replace(work, curvature=np.array([0.01, -0.01, 0.05, 0, -0.1]))
    dense = inserted(work, 64, 20, layers=layers)
    result = listed(dense, work)
    sums = new_accumulators(64, r_high=20, layers=layers)
    add_key_values(sums, result)
    for part in PARTS:
        np.testing.assert_array_equal(getattr(sums, part), getattr(dense, part))
    assert len(result) <= count_key_values(dense.sphere, work, padding=2, layers=layers)


@pytest.mark.parametrize("threads", [2, 3, 13])
def test_threads_and_layers_change_no_bit(threads, rng):
    work = random_work(rng, 64, 20, 4, 11)
    whole = new_accumulators(64, r_high=20)
    one = listed(whole, work, threads=1)
    assert_same_bits(one, listed(whole, work, threads=threads))
    for first, last in pairwise(whole.sphere.bounds(5).tolist()):
        slab = new_accumulators(64, r_high=20, layers=(first, last))
        assert_same_bits(one.between(*whole.sphere.voxels(first, last)), listed(slab, work, threads=threads))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("n_slab", [1, 3])
def test_added_to_slabs_is_the_insertion(threads, n_slab, rng):
    work = random_work(rng, 48, 18, 3, 9)
    for layers in pairwise(sphere(37).bounds(n_slab).tolist()):
        dense = inserted(work, 48, 18, layers=layers)
        slab = new_accumulators(48, r_high=18, layers=layers)
        key_values = listed(new_accumulators(48, r_high=18), work)
        add_key_values(slab, key_values, threads=threads)
        for part in PARTS:
            np.testing.assert_array_equal(getattr(slab, part), getattr(dense, part))


def test_more_than_two_to_the_31_voxels(rng):
    layers = tuple(sphere(1401).bounds(500)[-2:].tolist())
    kx = np.arange(-699, 700, dtype=np.int32)
    rotation = Rotation.from_euler("zx", [[-80, 20]], degrees=True).as_matrix()
    images, weights = rng.random((1, 2, len(kx)), np.float32), np.ones((1, len(kx)), np.float32)
    work = Entries(images, weights, np.zeros(1, int), rotation, np.zeros((1, 2)), np.ones(1), kx, kx[::-1] // 40)
    dense = inserted(work, 1400, 700, layers=layers)
    key_values = listed(dense, work)
    assert key_values.key[0] > 2**31
    added = new_accumulators(1400, r_high=700, layers=layers)
    add_key_values(added, merge_key_values([key_values]))
    for part in PARTS:
        np.testing.assert_array_equal(getattr(added, part), getattr(dense, part))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("sizes", [(), (0,), (1,), (0, 0), (1, 1, 1), (0, 300, 20), (3000, 5000, 1, 0, 4000)])
@pytest.mark.parametrize("most", [40, 9_000, 2**40])
def test_merge_equals_twin(sizes, most, threads, rng):
    parts = [random_sums(rng, n, most) for n in sizes]
    merged = merge_key_values([key_values_of(part) for part in parts], threads=threads)
    assert_same_bits(merged, key_values_of(twin.merge_key_values(parts)))


def test_quantised_ranks_merge_to_the_same_bits(rng):
    work = random_work(rng, 48, 18, 5, 12)
    empty = new_accumulators(48, r_high=18)
    quantum = 2.0**-30
    once = listed(empty, work, quantum=quantum)
    parts = [listed(empty, work.some(half), quantum=quantum) for half in (slice(0, 5), slice(5, None))]
    assert_same_bits(once, merge_key_values(parts))
    assert_same_bits(once, merge_key_values(parts[::-1]))


@pytest.mark.parametrize("n_entry", [0, 1, 2, 40])
@pytest.mark.parametrize("layers", [None, (0, 10), (40, 44), (5, 5)])
def test_count_is_an_upper_bound(n_entry, layers, rng):
    work = random_work(rng, 64, 20, 1, n_entry)
    accumulators = new_accumulators(64, r_high=20, layers=layers)
    n = len(listed(accumulators, work))
    count = count_key_values(accumulators.sphere, work, padding=2, layers=layers)
    assert n <= count <= len(accumulators.weight)
    if n_entry == 1 and layers is None:
        # Rows of samples are two voxels apart: nearly every sample has eight voxels of its own.
        assert count < 1.5 * n


def test_errors_name_the_argument(rng):
    work = random_work(rng, 32, 5, 2, 3)
    options = {"box": 32, "padding": 2, "quantum": (0, 0)}
    whole = sphere(11)
    with pytest.raises(ValueError, match="layers: expected 0 to 23 ascending, got 3, 24"):
        to_key_values(whole, work, layers=(3, 24), **options)
    with pytest.raises(ValueError, match="quantum: expected 0 or a power of two, got 3"):
        to_key_values(whole, work, **{**options, "quantum": (3, 0)})
    with pytest.raises(ValueError, match="rotations: expected finite"):
        count_key_values(whole, replace(work, rotations=work.rotations * np.nan), padding=2)
    key_values = to_key_values(whole, work, **options)
    with pytest.raises(ValueError, match="key: expected ascending numbers, got 7 after 7"):
        merge_key_values([KeyValues(np.full(2, 7), *np.zeros((3, 2)))])
    with pytest.raises(ValueError, match=r"re: expected shape \(\d+\), got \(1\)"):
        merge_key_values([KeyValues(key_values.key, np.zeros(1), key_values.im, key_values.weight)])
    backwards = KeyValues(*(getattr(key_values, name)[::-1].copy() for name in ("key", *PARTS)))
    with pytest.raises(ValueError, match="key: expected ascending"):
        add_key_values(new_accumulators(32, r_high=5), backwards)
