"""Kernel `backprojector` against its float64 twin, as adjoint of slicing, and its exact sums."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pycryo.kernels.backprojector import (
    Accumulators,
    add_hermitian_mates,
    fold_hermitian,
    hermitian_plane,
    insert,
    new_accumulators,
    quantum_for,
)
from pycryo.kernels.entries import Entries
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.reference import backprojector as twin
from pycryo.kernels.sphere import sphere


def random_work(rng, box, r_high, n_image, n_entry) -> Entries:
    pixels = half_plane(box, r_high)
    return Entries(
        rng.standard_normal((n_image, 2, len(pixels))).astype(np.float32),
        rng.random((n_image, len(pixels))).astype(np.float32),
        rng.integers(0, max(n_image, 1), n_entry),
        Rotation.random(n_entry, rng).as_matrix() if n_entry else np.empty((0, 3, 3)),
        rng.uniform(-4, 4, (n_entry, 2)),
        rng.random(n_entry),
        pixels.kx,
        pixels.ky,
    )


def insert_new(work, box, r_high, *, padding=2, layers=None, quantum=0.0, threads=None) -> Accumulators:
    accumulators = new_accumulators(box, padding=padding, r_high=r_high, layers=layers)
    insert(accumulators, work, quantum=(quantum, quantum), threads=threads)
    return accumulators


def twin_of(accumulators, work):
    layers = (accumulators.first, accumulators.last)
    return twin.insert(accumulators.sphere, layers, work, box=accumulators.box, padding=accumulators.padding)


def tolerance(n_entry):
    # Values up to 5 carry 11 float32 roundings, of phase and products; a voxel of padding ≥ 1 receives at most 8 full
    # samples of an entry.
    return 8 * max(n_entry, 1) * 5 * 11 * 6e-8


def assert_equal_twin(accumulators, value, weight, n_entry):
    np.testing.assert_allclose(accumulators.re, value.real, atol=tolerance(n_entry), rtol=0)
    np.testing.assert_allclose(accumulators.im, value.imag, atol=tolerance(n_entry), rtol=0)
    np.testing.assert_allclose(accumulators.weight, weight, atol=tolerance(n_entry), rtol=0)


def assert_same_bits(a: Accumulators, b: Accumulators):
    np.testing.assert_array_equal(a.re, b.re)
    np.testing.assert_array_equal(a.im, b.im)
    np.testing.assert_array_equal(a.weight, b.weight)


@pytest.mark.parametrize("box, r_high, padding", [(16, 1, 2), (16, 5, 1), (32, 15, 2), (33, 16.5, 2), (64, 20, 3)])
@pytest.mark.parametrize("n_image, n_entry", [(0, 0), (1, 0), (1, 1), (2, 5)])
def test_equals_twin(box, r_high, padding, n_image, n_entry, rng):
    work = random_work(rng, box, r_high, n_image, n_entry)
    result = insert_new(work, box, r_high, padding=padding)
    value, weight = twin_of(result, work)
    assert_equal_twin(result, value, weight, n_entry)
    fold_hermitian(result)
    twin.fold_hermitian(result.sphere, value, weight)
    assert_equal_twin(result, value, weight, 2 * n_entry)


@pytest.mark.parametrize("curvature", [1e-3, 0.01, 0.1])
@pytest.mark.parametrize("box, r_high, padding", [(32, 15, 2), (100, 45, 2), (64, 20, 3)])
def test_curved_equals_twin(box, r_high, padding, curvature, rng):
    """Surfaces that leave the plane by up to some hundred voxels; the layers of slabs together, to the last bit."""
    n = 6
    work = random_work(rng, box, r_high, 2, n)
    rotations = work.rotations.copy()
    rotations[0] = np.eye(3)
    rotations[1:3] *= 1.03  # of a magnified image
    work = replace(work, rotations=rotations, curvature=curvature * np.array([1, -1, 0.7, 0, -0.3, 0.1]))
    result = insert_new(work, box, r_high, padding=padding, threads=2)
    value, weight = twin_of(result, work)
    assert_equal_twin(result, value, weight, n)
    flat = insert_new(replace(work, curvature=None), box, r_high, padding=padding)
    assert np.abs(result.weight - flat.weight).max() > 0.1
    cuts = [0, 1, result.sphere.layers // 3, result.sphere.layers]
    parts = [insert_new(work, box, r_high, padding=padding, layers=layers) for layers in pairwise(cuts)]
    for name in ("re", "im", "weight"):
        np.testing.assert_array_equal(np.concatenate([getattr(each, name) for each in parts]), getattr(result, name))


def test_curvature_is_checked(rng):
    work = random_work(rng, 16, 5, 1, 2)
    with pytest.raises(ValueError, match=r"curvature: expected shape \(2\), got \(3\)"):
        insert_new(replace(work, curvature=np.zeros(3)), 16, 5)
    with pytest.raises(ValueError, match="curvature: expected finite numbers only"):
        insert_new(replace(work, curvature=np.array([0, np.inf])), 16, 5)
    some = replace(work, curvature=np.array([0.1, 0.2])).some(np.array([1]))
    np.testing.assert_array_equal(some.curvature, [0.2])


@pytest.mark.parametrize("n_pixel", [0, 1, 7, 8, 9, 255, 256, 257])
def test_any_number_of_pixels(n_pixel, rng):
    work = random_work(rng, 64, 25, 2, 3)
    work = replace(
        work,
        images=work.images[:, :, :n_pixel].copy(),
        weights=work.weights[:, :n_pixel].copy(),
        kx=work.kx[:n_pixel],
        ky=work.ky[:n_pixel],
    )
    result = insert_new(work, 64, 25)
    assert_equal_twin(result, *twin_of(result, work), 3)


def test_samples_outside_are_left_out(rng):
    work = replace(random_work(rng, 32, 15, 2, 3), scale=1.3)
    result = insert_new(work, 32, 9)
    value, weight = twin_of(result, work)
    assert_equal_twin(result, value, weight, 3)
    full = insert_new(work, 32, 20)
    assert result.weight.sum() < 0.5 * full.weight.sum()


def slice_of(sphere, volume, rotation, kx, ky, step):
    """Trilinear slice of the complex voxels of a sphere, sample by sample."""
    radius = sphere.radius
    out = np.zeros(len(kx), complex)
    for k, (u, v) in enumerate(zip(kx, ky, strict=True)):
        q = step * rotation.T @ [u, v, 0]
        mate = q[0] < 0
        q = -q if mate else q
        lowest = np.floor(q).astype(int)
        for corner in product((0, 1), repeat=3):
            x, y, z = lowest + corner
            out[k] += (
                np.prod(1 - np.abs(q - (x, y, z))) * volume[sphere.start[(y + radius) * sphere.layers + z + radius] + x]
            )
        if mate:
            out[k] = out[k].conj()
    return out


def test_is_the_adjoint_of_slicing(rng):
    work = random_work(rng, 32, 10, 2, 4)
    images, kx, ky = work.images, work.kx, work.ky
    result = insert_new(work, 32, 10)
    volume = rng.standard_normal(result.re.shape) + 1j * rng.standard_normal(result.re.shape)
    expected = expected_weight = size = 0.0
    for e, i in enumerate(work.image):
        slice_ = slice_of(result.sphere, volume, work.rotations[e], kx, ky, 2)
        moved = (images[i, 0] + 1j * images[i, 1]) * np.exp(2j * np.pi / 32 * (work.shifts[e] @ np.stack([kx, ky])))
        expected += work.weight[e] * (slice_.conj() @ moved).real
        expected_weight += work.weight[e] * (slice_.real @ work.weights[i])
        size += np.abs(slice_) @ np.abs(moved)
    # Float32 roundings of the values (11, see above) relative to the sum of the terms' magnitudes.
    tolerance = 11 * 6e-8 * size
    assert (volume.real * result.re + volume.imag * result.im).sum() == pytest.approx(expected, abs=tolerance)
    assert (volume.real * result.weight).sum() == pytest.approx(expected_weight, abs=tolerance)


@pytest.mark.parametrize("quantum", [0.0, 2.0**-30])
def test_threads_change_no_bit(quantum, rng):
    work = random_work(rng, 64, 20, 4, 11)
    one = insert_new(work, 64, 20, quantum=quantum, threads=1)
    for threads in (2, 3, 13):
        assert_same_bits(one, insert_new(work, 64, 20, quantum=quantum, threads=threads))


def test_many_entries_are_the_sum_of_few(rng):
    n_entry = 80_000  # so many are listed for some rows of tiles at a time
    kx, ky = np.array([0, 7, 11], np.int32), np.array([3, 3, -9], np.int32)
    images, weights = rng.standard_normal((1, 2, 3), np.float32), np.ones((1, 3), np.float32)
    rotations = Rotation.random(n_entry, rng).as_matrix()
    quantum = quantum_for(64.0 * n_entry)

    def work(part):
        n = len(rotations[part])
        return Entries(images, weights, np.zeros(n, int), rotations[part], np.zeros((n, 2)), np.ones(n), kx, ky)

    few = new_accumulators(64, r_high=40)
    for start in range(0, n_entry, 20_000):
        insert(few, work(slice(start, start + 20_000)), quantum=(quantum, quantum))
    assert_same_bits(few, insert_new(work(slice(None)), 64, 40, quantum=quantum, threads=2))


# Rows of samples along the axes and diagonals, on voxels and on borders of tiles; no rotations, but still defined.
_MATRICES = {
    "quarter turns": Rotation.create_group("O").as_matrix(),
    "sheared": Rotation.create_group("O").as_matrix() @ np.array([[1, 0.5, 0], [0, 1, 0], [0.25, 0, 1]]),
    "line": np.ones((2, 3, 3)) / 3,
    "point": np.zeros((2, 3, 3)),
}


@pytest.mark.parametrize("scale", [0.3, 1.0, 1.5])
@pytest.mark.parametrize("name", _MATRICES)
def test_any_matrix(name, scale, rng):
    rotations = _MATRICES[name]
    n = len(rotations)
    work = replace(random_work(rng, 96, 40, 1, n), rotations=rotations, scale=scale)
    result = insert_new(work, 96, 40)
    value, weight = twin_of(result, work)
    # Which mate of a pair at x = 0 gets a sample is a matter of rounding.
    fold_hermitian(result)
    twin.fold_hermitian(result.sphere, value, weight)
    # On a line or point, and with rows of less than a voxel, all samples of an entry may fall on one voxel.
    assert_equal_twin(result, value, weight, n * len(work.kx) / 8 if name in ("line", "point") else 12 * n)


def test_any_order_of_pixels(rng):
    work = random_work(rng, 64, 30, 2, 3)
    order = rng.permutation(np.arange(len(work.kx)))
    side = rng.choice(np.array([-1, 1], np.int32), len(work.kx))
    work = replace(
        work,
        images=np.ascontiguousarray(work.images[:, :, order]),
        weights=np.ascontiguousarray(work.weights[:, order]),
        kx=(side * work.kx)[order],
        ky=work.ky[order],
    )
    result = insert_new(work, 64, 30)
    assert_equal_twin(result, *twin_of(result, work), 3)


def each_slab(work, box, r_high, n, **options) -> list[Accumulators]:
    """The accumulators of n slabs, each with the same work."""
    bounds = new_accumulators(box, r_high=r_high).sphere.bounds(n)
    return [insert_new(work, box, r_high, layers=layers, **options) for layers in pairwise(bounds.tolist())]


@pytest.mark.parametrize("quantum", [0.0, 2.0**-30])
@pytest.mark.parametrize("n", [2, 3, 17, 83, 100])
def test_slabs_change_no_bit(n, quantum, rng):
    work = random_work(rng, 64, 20, 4, 11)
    whole = insert_new(work, 64, 20, quantum=quantum)
    slabs = each_slab(work, 64, 20, n, quantum=quantum, threads=2)
    for name in ("re", "im", "weight"):
        np.testing.assert_array_equal(getattr(whole, name), np.concatenate([getattr(slab, name) for slab in slabs]))


def test_folded_slabs_are_the_folded_whole(rng):
    work = random_work(rng, 32, 12, 2, 3)
    whole, slabs = insert_new(work, 32, 12), each_slab(work, 32, 12, 4)
    fold_hermitian(whole)
    plane = sum(hermitian_plane(slab) for slab in slabs)
    for slab in slabs:
        add_hermitian_mates(slab, plane)
    for name in ("re", "im", "weight"):
        np.testing.assert_array_equal(getattr(whole, name), np.concatenate([getattr(slab, name) for slab in slabs]))


def test_more_than_two_to_the_31_voxels(rng):
    """The last of 500 slabs of the accumulators of box 1400, and one image of few samples in it."""
    n = 500
    whole = sphere(1401)
    assert whole.n_voxel > 2**31
    slabs = [whole.voxels(*layers) for layers in pairwise(whole.bounds(n).tolist())]
    assert slabs[0][0] == 0
    assert slabs[-1][1] == whole.n_voxel
    assert [end for _, end in slabs[:-1]] == [begin for begin, _ in slabs[1:]]
    # Whole layers cannot be divided: a slab errs by at most one of them, half at either end.
    np.testing.assert_allclose(np.diff(slabs)[:, 0], whole.n_voxel / n, rtol=0, atol=np.pi / 2 * 1403**2)
    layers = tuple(whole.bounds(n)[-2:].tolist())
    slow = np.arange(-699, 700, dtype=np.int32)
    kx, ky = np.concatenate([slow, slow[::7]]), np.concatenate([slow[::-1] // 40, slow[::7]])
    rotation = Rotation.from_euler("zx", [[85, 10], [-80, 20]], degrees=True).as_matrix()
    images, weights = rng.random((2, 2, len(kx)), np.float32), rng.random((2, len(kx)), np.float32)
    work = Entries(images, weights, np.arange(2), rotation, np.zeros((2, 2)), np.ones(2), kx, ky)
    result = insert_new(work, 1400, 700, layers=layers)
    assert result.re.nbytes < 2**30
    value, weight = twin_of(result, work)
    assert np.count_nonzero(weight) > 8
    assert_equal_twin(result, value, weight, 2)


def test_order_and_partition_change_no_bit(rng):
    work = random_work(rng, 48, 18, 5, 12)
    quantum = quantum_for(12 * 8 * 8.0)  # 12 entries, 8 samples of a voxel, values up to 8
    once = insert_new(work, 48, 18, quantum=quantum)
    halves = [work.some(slice(0, 5)), work.some(slice(5, None))]
    for order in (halves, halves[::-1]):
        twice = new_accumulators(48, r_high=18)
        for half in order:
            insert(twice, half, quantum=(quantum, quantum))
        assert_same_bits(once, twice)
    assert_same_bits(once, insert_new(work.some(slice(None, None, -1)), 48, 18, quantum=quantum))
    ranks = [insert_new(half, 48, 18, quantum=quantum) for half in halves]
    np.testing.assert_array_equal(once.re, ranks[0].re + ranks[1].re)
    np.testing.assert_array_equal(once.weight, ranks[0].weight + ranks[1].weight)


def test_contributions_are_multiples_of_the_quantum(rng):
    work = random_work(rng, 32, 12, 1, 1)
    rounded, plain = (insert_new(work, 32, 12, quantum=quantum) for quantum in (2.0**-10, 0.0))
    for name in ("re", "im", "weight"):
        sums = getattr(rounded, name)
        np.testing.assert_array_equal(sums, np.rint(sums * 2**10) / 2**10)
        # At most 8 contributions of one image to a voxel at padding 2, each off by at most half a quantum.
        np.testing.assert_allclose(sums, getattr(plain, name), atol=8 * 2.0**-11, rtol=0)


def test_quantum_for_keeps_the_bound_below_two_to_the_51():
    for bound in (1.0, 1.5, 2.0, 1e-30, 3e20):
        quantum = quantum_for(bound)
        assert 2.0**50 * quantum <= bound < 2.0**51 * quantum


def test_errors_name_the_argument(rng):
    accumulators = new_accumulators(32, r_high=5)
    work = random_work(rng, 32, 5, 2, 3)
    for change, words in (
        ({"image": np.array([0, 2, 1])}, r"entry_image: element 1 is 2, expected 0 to 1"),
        ({"rotations": work.rotations[:2]}, r"rotations: expected shape \(3, 3, 3\), got \(2, 3, 3\)"),
        ({"rotations": work.rotations * np.nan}, "rotations: expected finite"),
    ):
        with pytest.raises(ValueError, match=words):
            insert(accumulators, replace(work, **change), quantum=(0, 0))
    for quantum in ((3, 0), (0, 3)):
        with pytest.raises(ValueError, match="quantum: expected 0 or a power of two, got 3"):
            insert(accumulators, work, quantum=quantum)
    with pytest.raises(ValueError, match="r_high"):
        new_accumulators(32, r_high=0)
    with pytest.raises(ValueError, match="layers: expected 0 to 23 ascending, got 0, 24"):
        new_accumulators(32, r_high=5, layers=(0, 24))
