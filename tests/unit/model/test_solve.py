"""Accumulators to maps, against full complex transforms in double precision and maps known analytically."""

from __future__ import annotations

import numpy as np
import pytest
from exact_sums import BOXES, PADDING, accumulators, blobs, hermitian_weight, interpolated_transform
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from thread_comm import run_ranks

from pycryo.kernels.backprojector import Accumulators, insert, new_accumulators
from pycryo.kernels.entries import Entries
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.sphere import sphere, sphere_radius
from pycryo.model import padded_grid
from pycryo.model.solve import Solver, grid_box, solve
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.rows import even_bounds
from pycryo.parallel.slabs import row_batches


@pytest.mark.parametrize("box, r_high", BOXES)
@pytest.mark.parametrize("options", [{}, {"max_iterations": 0}, {"double": False}])
def test_map_of_exact_accumulators(box, r_high, options):
    """T equal within the sphere, as of endless images: nothing to regularise."""
    source = accumulators(interpolated_transform(blobs(box, box)), np.full((PADDING * box,) * 3, 3.7), r_high)
    before = [part.copy() for part in (source.re, source.im, source.weight)]
    solution = solve(SerialComm(), source, **options)
    points = grid_box(box, r_high)
    assert solution.points == points
    assert solution.planes.shape == (points,) * 3
    assert solution.planes.dtype == np.float32
    # Left out are frequencies beyond r_high, at worst exp(-2π²·2.5²·(11/30)²) = 6e-8 of the peak's, and aliased are
    # tails beyond the field of view: exp(-(11/2.5)²/2) = 6e-5 of 0.5 at one corner region of the smallest box. The mean
    # of T over the outermost shell, which the array does not hold entirely, differs from T: by 1/60 of that shell.
    np.testing.assert_allclose(solution.planes, blobs(box, points), atol=1e-4)
    for part, old in zip((source.re, source.im, source.weight), before, strict=True):
        np.testing.assert_array_equal(part, old)


@pytest.mark.parametrize("box, r_high, double", [(16, 8.0, True), (21, 6.3, False)])
def test_models_and_ranks_agree_to_the_last_bit(box, r_high, double, rng, monkeypatch):
    """Also with memory for single rows in an exchange, and with an update of W, which the tolerance asks for."""
    transform = interpolated_transform(rng.standard_normal((box,) * 3))
    weight = hermitian_weight(PADDING * box, rng)
    ssnr = rng.uniform(0.5, 20, box // 2)

    def maps(comm, model):
        parts = (1, 0) if model == "replicated" else (comm.size, comm.rank)
        solver = Solver(comm, accumulators(transform, weight, r_high, *parts), model=model, double=double)
        first = solver.solve(tolerance=1e-3)
        second = solver.solve(ssnr=ssnr, max_iterations=0)
        third = solver.solve(ssnr=solver.measured_ssnr(), keeps_scale=True, max_iterations=0)
        bounds = even_bounds(first.points, comm.size)
        assert len(first.planes) == bounds[comm.rank + 1] - bounds[comm.rank]
        planes = first.planes, second.planes, third.planes
        return *planes, solver.mean_weight, first.iterations, first.deviation

    expected = maps(SerialComm(), "slab")
    monkeypatch.setattr(padded_grid, "_GATHER_BYTES", 4000)
    monkeypatch.setattr(row_batches, "_BYTES", 1000)
    for model in ("replicated", "sharded", "slab"):
        for size in (1, 2, 3, 4, 7):
            results = run_ranks(size, lambda comm, model=model: maps(comm, model))
            for part in (0, 1, 2):
                found = np.concatenate([result[part] for result in results])
                np.testing.assert_array_equal(found, expected[part])
            for result in results:
                np.testing.assert_array_equal(result[3], expected[3])
                assert result[4:] == expected[4:]


def test_more_ranks_than_planes(rng):
    transform, weight = interpolated_transform(blobs(6, 6)), hermitian_weight(12, rng)
    expected = solve(SerialComm(), accumulators(transform, weight, 1.0)).planes
    for model in ("sharded", "slab"):
        planes = run_ranks(
            20,
            lambda comm, model=model: (
                solve(comm, accumulators(transform, weight, 1.0, comm.size, comm.rank), model=model).planes
            ),
        )
        np.testing.assert_array_equal(np.concatenate(planes), expected)


def gaussian_transform(box: int, k: np.ndarray) -> np.ndarray:
    """Transform of `blobs` at k (..., 3) = (x, y, z) Fourier px."""
    width = 2 * np.pi * 2.5 / box
    total = np.zeros(k.shape[:-1], complex)
    for *centre, height in ((0, 0, 0, 1.0), (2.5, -1, 1, 0.7), (-1, 2, -3, 0.5)):
        volume = height * (2 * np.pi * 2.5**2) ** 1.5
        total += volume * np.exp(-0.5 * width**2 * (k**2).sum(axis=-1) - 2j * np.pi / box * (k @ centre))
    return total


def fold(made: Accumulators) -> None:
    """Add the conjugate of its mate at (-y, -z) to each voxel of x = 0."""
    column = made.sphere.start[:-1][np.diff(made.sphere.start) > 0]
    for part, sign in ((made.re, 1), (made.im, -1), (made.weight, 1)):
        part[column] += sign * part[column][::-1]


def test_map_of_inserted_slices(rng):
    """Exact slices of known blobs at random orientations."""
    box, n = 32, 600
    made = new_accumulators(box, r_high=15.0)
    pixels = half_plane(box, 15.0)
    rotations = Rotation.random(n, rng).as_matrix()
    plane = np.stack([pixels.kx, pixels.ky, 0 * pixels.kx], axis=-1)
    slices = gaussian_transform(box, plane @ rotations)
    images = np.stack([slices.real, slices.imag], axis=1).astype(np.float32)
    ones, nowhere = np.ones((n, len(pixels)), np.float32), np.zeros((n, 2))
    entries = Entries(images, ones, np.arange(n), rotations, nowhere, np.ones(n), pixels.kx, pixels.ky)
    insert(made, entries, quantum=(0, 0))
    fold(made)
    expected = blobs(box, box)
    found = solve(SerialComm(), made).planes
    # Trilinear insertion errs by the curvature of the transform between samples: 0.008 of the peak here.
    assert np.abs(found - expected).max() < 0.02 * expected.max()


def test_empty_accumulators_give_an_empty_map():
    whole = sphere(sphere_radius(2, 8.0))
    for ssnr in (None, np.ones(9)):
        zeros = (np.zeros(whole.n_voxel) for _ in range(3))
        solution = solve(SerialComm(), Accumulators(*zeros, whole, 0, whole.layers, 16, 2, 8.0), ssnr=ssnr)
        np.testing.assert_array_equal(solution.planes, 0)


def test_other_layers_are_refused():
    source = accumulators(np.zeros((24,) * 3), np.zeros((24,) * 3), 5.0, 2, 1)
    with pytest.raises(ValueError, match="accumulators: expected layers 0 to 23, got"):
        solve(SerialComm(), source)
    with pytest.raises(ValueError, match="model: expected"):
        solve(SerialComm(), source, model="other")


@given(st.integers(1, 2000), st.floats(0.01, 1.0))
def test_grid_box(box, share):
    r_high = share * box / 2
    points = grid_box(box, r_high)
    assert points <= box
    if points < box:
        assert points % 2 == 0
        assert points / 2 > r_high + 1  # its Nyquist, and one shell for the neighbours
        for prime in (2, 3, 5, 7, 11):
            while points % prime == 0:
                points //= prime
        assert points == 1
    # As small as it can be: the next smaller fast size would not do, and fast sizes are dense.
    assert grid_box(box, r_high) <= max(8, 1.35 * 2 * (r_high + 3))


@pytest.mark.parametrize("box, r_high, points", [(64, 32, 64), (65, 32.5, 65), (64, 10, 24), (64, 10.2, 28), (6, 1, 6)])
def test_grid_box_examples(box, r_high, points):
    # 64 px, below 10: 2·(10 + 2) = 24; below 10.2: 2·(11 + 2) = 26 = 2·13 is not fast, 28 = 2·14 is.
    assert grid_box(box, r_high) == points
