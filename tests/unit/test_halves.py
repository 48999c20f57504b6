"""Maps and accumulators of the half-sets between ranks and grids."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import blobs, write_set
from scipy.spatial.transform import Rotation
from thread_comm import ThreadComm, run_ranks

from pycryo.backprojector import Accumulators, new_accumulators
from pycryo.io.particles import read_particles
from pycryo.maps import Map, low_pass
from pycryo.pixels import half_plane
from pycryo.projector import project_slices
from pycryo.refine.dataset import deal
from pycryo.refine.gridding import grid_box
from pycryo.refine.halves import (
    both_halves,
    join_low_resolution,
    pair_of_maps,
    shared_volume,
    solvent_mask,
    sum_accumulators,
    to_grid,
    to_roots,
    to_volume,
)

# --- grids ------------------------------------------------------------------------------------------------------------


def exact_slices(rotations: np.ndarray, kx: np.ndarray, ky: np.ndarray, box: int, pixel: float) -> np.ndarray:
    """Transform of the phantom's projections in line sums of voxels: real, then imaginary parts."""
    phantom = blobs()
    k = np.stack([kx, ky, np.zeros(len(kx))], axis=1) / (box * pixel)
    out = np.empty((len(rotations), 2, len(kx)))
    for rotation, values in zip(rotations, out, strict=True):
        q = k @ rotation  # Aᵀk of each sample
        total = np.zeros(len(kx), complex)
        for centre, width, mass in zip(phantom.centres, phantom.widths, phantom.masses, strict=True):
            total += mass * np.exp(-2 * np.pi**2 * width**2 * np.square(q).sum(1) - 2j * np.pi * q @ centre)
        values[:] = total.real, total.imag
    return out / pixel**3  # density per Å³, summed over voxels


@pytest.mark.parametrize("box, pixel", [(48, 2.0), (47, 2.0)])
@pytest.mark.parametrize("r_high", [6.0, 9.5, 24.0])
def test_coarse_reference_has_the_slices_of_the_whole_map(box, pixel, r_high):
    """A reference on the grid of its limit serves images of the full box: same frequencies, same grey values."""
    r_high = min(r_high, box / 2 - 1)
    source = Map(blobs().volume(box, pixel).astype(np.float32), pixel)
    coarse = to_grid(source, box, r_high)
    assert len(coarse) == grid_box(box, r_high)
    assert coarse.dtype == np.float32
    rotations = Rotation.random(5, rng=np.random.default_rng(1)).as_matrix()
    pixels = half_plane(box, r_high)
    found, full = (
        project_slices(to_volume(each, box, 2, r_high), rotations, pixels.kx, pixels.ky)
        for each in (coarse, source.data)
    )
    assert to_volume(coarse, box, 2, r_high).box == box
    peak = np.abs(full).max()
    # The coarse grid holds the same Fourier components, up to its own Nyquist. What the map has there (its blobs are
    # 3 Å wide) is missing between the padded samples inwards, with tails of a few percent two shells further in.
    cut = np.exp(-2 * np.pi**2 * 3.0**2 * (grid_box(box, r_high) / 2 / (box * pixel)) ** 2)
    np.testing.assert_allclose(found, full, atol=(0.04 * cut + 1e-6) * peak)
    # Trilinear interpolation at padding 2: a few percent of the amplitudes next to it (Penczek et al. 1992), most at
    # the peak itself, which is read at a grid point, where the division by sinc² raises it.
    np.testing.assert_allclose(found, exact_slices(rotations, pixels.kx, pixels.ky, box, pixel), atol=0.04 * peak)
    # On average over all samples the amplitude is right.
    expected = exact_slices(rotations, pixels.kx, pixels.ky, box, pixel)
    assert (found * expected).sum() / np.square(expected).sum() == pytest.approx(1, abs=0.01)


def test_volume_reads_what_is_asked_for():
    volume = to_volume(np.ones((20, 20, 20), np.float32), 48, 2, 7.0)
    assert (volume.box, volume.padding, volume.r_high) == (48, 2, 7.0)
    assert to_volume(np.ones((20, 20, 20), np.float32), 48, 2, 24.0).r_high == 9.0  # what 20 points hold


# --- joined low frequencies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [16, 15])
@pytest.mark.parametrize("shells", [0.0, 2.5, 3.0, 100.0])
def test_join_low_resolution(points, shells, rng):
    pair = tuple(rng.standard_normal((points,) * 3).astype(np.float32) for _ in range(2))
    before = [each.copy() for each in pair]
    joined = join_low_resolution(pair, shells)
    k = np.fft.fftfreq(points, 1 / points)
    low = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2) < shells
    transforms = [np.fft.fftn(each) for each in pair]
    mean = 0.5 * (transforms[0] + transforms[1])
    for each, old, found in zip(pair, before, joined, strict=True):
        np.testing.assert_array_equal(each, old)
        assert found.dtype == np.float32
        # Single-precision transforms of numbers of order 1, there and back: about 1e-7 · √log(size), times 5.
        expected = np.fft.ifftn(np.where(low, mean, np.fft.fftn(each))).real
        np.testing.assert_allclose(found, expected, atol=2e-6)


# --- masks ------------------------------------------------------------------------------------------------------------


def test_solvent_mask_is_a_soft_sphere():
    mask = solvent_mask(32, 96.0, 48.0, None)
    radius = np.sqrt(sum(np.square(axis - 16.0) for axis in np.indices((32,) * 3))) * 3.0
    assert mask.dtype == np.float32
    assert (mask[radius <= 24.0] == 1).all()
    # The edge of 2 of 32 points ends 6 Å further out.
    assert (mask[radius >= 30.0] == 0).all()
    assert ((mask > 0) & (mask < 1)).any()


def test_solvent_mask_fits_the_box():
    """A diameter of the whole field of view still leaves room for the edge."""
    for points in (8, 9, 32, 50):
        mask = solvent_mask(points, 100.0, 100.0, None)
        radius = np.sqrt(sum(np.square(axis - points // 2.0) for axis in np.indices((points,) * 3)))
        assert mask.max() == 1
        assert (mask[radius >= points / 2] == 0).all()


def test_solvent_mask_of_the_user():
    """Resampled to the grid, and kept within 0..1 where the resampling overshoots."""
    block = np.zeros((48,) * 3, np.float32)
    block[14:34, 18:30, 12:36] = 1
    user = low_pass(Map(block, 2.0), 12.0)  # soft, with ripples
    user = Map(np.clip(user.data, 0, 1), 2.0)
    mask = solvent_mask(24, 96.0, 1.0, user)
    assert mask.shape == (24,) * 3
    assert mask.min() >= 0
    assert mask.max() <= 1
    # Every second voxel, but for what the coarse grid cannot hold: the clipped ripples of the edges beyond 8 Å.
    np.testing.assert_allclose(mask, user.data[::2, ::2, ::2], atol=0.1)


# --- between ranks ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    return read_particles(write_set(tmp_path_factory.mktemp("few"), blobs(), 6, geometries=((16, 3.0),)))


HALF = np.array([0, 1, 0, 1, 0, 0], np.int8)


def volumes(shape, seed: int) -> list[np.ndarray]:
    """Multiples of 2^-20, so that sums are exact."""
    return list(np.rint(np.random.default_rng(seed).standard_normal((3, *shape)) * 2**20) * 2.0**-20)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_accumulators_of_the_ranks_are_summed_and_folded(particles, size):
    shape = new_accumulators(16, r_high=5.0).re.shape

    def work(comm):
        share = deal(comm, particles, HALF, None)
        found = []
        for half in (0, 1):
            part = Accumulators(*volumes(shape, 10 * comm.rank + half), 16, 2, 5.0) if share.holds(half) else None
            if part is not None:
                sum_accumulators(part, share.half_comm[half])
            found.append(part)
        mine = [part if comm.rank == root else None for part, root in zip(found, share.roots, strict=True)]
        return found, both_halves(share, mine[0], mine[1])

    results = run_ranks(size, work)
    sums = []
    for half in (0, 1):
        holders = [rank for rank, (found, _) in enumerate(results) if found[half] is not None]
        expected = [
            np.sum(parts, axis=0) for parts in zip(*(volumes(shape, 10 * r + half) for r in holders), strict=True)
        ]
        for volume, sign in zip(expected, (1, -1, 1), strict=True):
            # F(0, y, z) += conj F(0, -y, -z), from the values before.
            volume[:, :, 0] = volume[:, :, 0] + sign * volume[::-1, ::-1, 0]
        for rank in holders:
            found = results[rank][0][half]
            for volume, value in zip((found.re, found.im, found.weight), expected, strict=True):
                np.testing.assert_array_equal(volume, value)
        sums.append(expected)
    for rank, (_, everything) in enumerate(results):
        if rank != 0:
            assert everything is None
            continue
        assert (everything.box, everything.padding, everything.r_high) == (16, 2, 5.0)
        for volume, one, other in zip((everything.re, everything.im, everything.weight), *sums, strict=True):
            np.testing.assert_array_equal(volume, one + other)


@pytest.mark.parametrize("size, ranks_per_node", [(1, 1), (2, 2), (3, 1), (3, 2), (4, 4), (7, 1), (7, 2), (7, 7)])
def test_maps_travel_to_rank_0_and_back_to_their_half(particles, size, ranks_per_node, monkeypatch):
    monkeypatch.setattr(ThreadComm, "ranks_per_node", ranks_per_node)
    maps = [np.random.default_rng(half).standard_normal((6, 6, 6)).astype(np.float32) for half in (0, 1)]

    def work(comm):
        share = deal(comm, particles, HALF, None)
        mine = tuple(maps[half] if comm.rank == share.roots[half] else None for half in (0, 1))
        pair = pair_of_maps(share, mine)
        references = to_roots(share, pair, 6)
        volumes = [None, None]
        for half, comm in enumerate(share.half_comm):
            if comm is not None:
                root = 0 if half == 0 else comm.size - 1
                with shared_volume(comm, root, references[half], 12, 2, 4.0) as volume:
                    volumes[half] = (volume.box, volume.padding, volume.r_high, volume.data.copy())
        return share, pair, references, volumes

    for rank, (share, pair, references, volumes) in enumerate(run_ranks(size, work)):
        assert (pair is not None) == (rank == 0)
        for half in (0, 1):
            if pair is not None:
                np.testing.assert_array_equal(pair[half], maps[half])
            assert (references[half] is not None) == (rank == share.roots[half])
            if references[half] is not None:
                np.testing.assert_array_equal(references[half], maps[half])
            assert (volumes[half] is not None) == share.holds(half)
            if volumes[half] is not None:
                expected = to_volume(maps[half], 12, 2, 4.0)
                assert volumes[half][:3] == (12, 2, expected.r_high)
                np.testing.assert_array_equal(volumes[half][3], expected.data)
