"""Insertion of many ranks' images into the slabs of F and T, against one rank that inserts them all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from thread_comm import run_ranks

from pycryo.kernels.backprojector import fold_hermitian, insert, quantum_for
from pycryo.kernels.entries import Entries
from pycryo.kernels.pixels import half_plane
from pycryo.model import insertion as insertion_module
from pycryo.model import sum_exchange
from pycryo.model.insertion import Frame, Insertion, combined
from pycryo.model.owners import Owners, all_own, halves_own, owner_ranks, slab_voxels
from pycryo.parallel.comm import SerialComm

BOX = 20
FRAME = Frame(BOX, 2, 8.0, (quantum_for(1e6), quantum_for(1e6)))
SUMS = ("re", "im", "weight")


def entries(n_image: int, seed: int, per_image: int = 3) -> Entries:
    rng = np.random.default_rng(seed)
    pixels = half_plane(BOX, FRAME.r_high)
    n = n_image * per_image
    return Entries(
        rng.standard_normal((n_image, 2, len(pixels))).astype(np.float32),
        rng.random((n_image, len(pixels))).astype(np.float32),
        np.repeat(np.arange(n_image), per_image),
        Rotation.random(n, rng=rng).as_matrix(),
        rng.standard_normal((n, 2)),
        rng.random(n),
        pixels.kx,
        pixels.ky,
        1.0,
    )


def whole(batches: list[Entries]):
    """F and T of all images by one process."""
    expected = FRAME.accumulators(None)
    for each in batches:
        insert(expected, each, quantum=FRAME.quantum)
    fold_hermitian(expected)
    return expected


def assert_slab_of(found, expected):
    """`found` holds what `expected`, whole, has on its layers; to the last bit, as all sums are exact."""
    first, last = expected.sphere.voxels(found.first, found.last)
    for name in SUMS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name)[first:last])


@pytest.mark.parametrize("model", ["slab", "sharded", "replicated"])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_any_ranks_find_what_one_finds(size, model):
    """Three batches on rank 0, none on the last rank, one on the others; a rank more than once through an exchange."""
    batches = [entries(1 + rank % 3, rank) for rank in range(size + 2)]

    def work(comm):
        one = Insertion(comm, all_own(comm, model), FRAME)
        for number, batch in enumerate(batches):
            if number % max(1, size - 1) == comm.rank:
                one.add(batch)
        one.exchange()
        if comm.rank == 0:
            one.add(entries(2, 99))
        return one.result()

    expected = whole([*batches, entries(2, 99)])
    for found in run_ranks(size, work):
        assert_slab_of(found, expected)


@pytest.mark.parametrize("block", [1, 1 << 30])
def test_slabs_and_key_values_give_the_same(monkeypatch, block):
    """Many images go as dense slabs, in one block or in four; few as key-values, in one message or in many."""
    monkeypatch.setattr(insertion_module, "_LEAST_BLOCK", block)
    monkeypatch.setattr(sum_exchange, "_MESSAGE", block)
    chosen = []
    for name in ("_send_slabs", "_send_key_values"):
        plain = getattr(Insertion, name)
        monkeypatch.setattr(
            Insertion, name, lambda self, *a, plain=plain, name=name: (chosen.append(name), plain(self, *a))
        )
    for n_image, name in ((60, "_send_slabs"), (1, "_send_key_values")):
        batches = [entries(n_image, rank, per_image=1) for rank in range(3)]

        def work(comm, batches=batches):
            one = Insertion(comm, all_own(comm, "slab"), FRAME)
            one.add(batches[comm.rank])
            return one.result(), one.n_byte

        for found, n_byte in run_ranks(3, work):
            assert_slab_of(found, whole(batches))
            assert n_byte > 0
        assert set(chosen) == {name}
        chosen.clear()


def test_nobody_has_images():
    for found in run_ranks(3, lambda comm: Insertion(comm, all_own(comm, "slab"), FRAME).result()):
        assert not any(getattr(found, name).any() for name in SUMS)


def test_a_rank_with_images_that_owns_nothing():
    """Half 1's owners are ranks 0 and 1 of 3, its images come from all."""
    batches = [entries(2, rank) for rank in range(3)]

    def work(comm):
        first, _ = halves_own(comm, "slab")
        one = Insertion(comm, first, FRAME)
        one.add(batches[comm.rank])
        return one.result()

    found = run_ranks(3, work)
    assert found[2] is None
    for each in found[:2]:
        assert_slab_of(each, whole(batches))


@pytest.mark.parametrize("model", ["slab", "replicated"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_both_halves_together(size, model):
    batches = [[entries(2, 10 * half + rank) for rank in range(size)] for half in (0, 1)]

    def work(comm):
        owners = halves_own(comm, model)
        sums = []
        for half, each in enumerate(owners):
            one = Insertion(comm, each, FRAME)
            one.add(batches[half][comm.rank])
            sums.append(one.result())
        return combined(sums[0], sums[1], owners)

    expected = whole(batches[0])
    second = whole(batches[1])
    expected = replace(expected, **{name: getattr(expected, name) + getattr(second, name) for name in SUMS})
    for found in run_ranks(size, work):
        assert_slab_of(found, expected)


# --- owners -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_owners_cover_all_ranks_once(size):
    first, second = owner_ranks(size)
    if size == 1:
        assert first == second == range(1)
    else:
        assert [*first, *second] == list(range(size))
        assert len(first) - len(second) in (0, 1)


def test_slabs_of_owners_cover_the_sphere():
    ball = FRAME.sphere
    owners = Owners(SerialComm(), range(1), SerialComm(), "slab")
    assert owners.layers(ball) == (0, ball.layers)
    for found in run_ranks(5, lambda comm: [slab_voxels(each, ball) for each in halves_own(comm, "slab")]):
        for voxels, ranks in zip(found, owner_ranks(5), strict=True):
            assert voxels[ranks.start] == 0
            assert voxels[ranks.stop] == ball.n_voxel
            assert (np.diff(voxels)[[rank for rank in range(5) if rank not in ranks]] == 0).all()
