"""Accumulators to maps, against full complex transforms in double precision and maps known analytically."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from thread_comm import run_ranks

from pycryo.kernels.backprojector import Accumulators, insert, new_accumulators
from pycryo.kernels.entries import Entries
from pycryo.kernels.gridding import ball
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.reference import gridding as twin
from pycryo.kernels.sphere import Sphere, sphere, sphere_radius
from pycryo.model import padded_grid
from pycryo.model.solve import Solver, grid_box, solve
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.rows import even_bounds
from pycryo.parallel.slabs import plane_transform

PADDING = 2


def centred(n: int) -> np.ndarray:
    return np.arange(n) - n // 2


def outer(line: np.ndarray) -> np.ndarray:
    return line[:, None, None] * line[:, None] * line


def blobs(box: int, points: int) -> np.ndarray:
    """Three Gaussians of 2.5 px in a field of view of `box` px, sampled on `points` per axis, as (z, y, x)."""
    at = centred(points) * box / points
    out = np.zeros((points,) * 3)
    for x, y, z, height in ((0, 0, 0, 1.0), (2.5, -1, 1, 0.7), (-1, 2, -3, 0.5)):
        gx, gy, gz = (np.exp(-((at - c) ** 2) / (2 * 2.5**2)) for c in (x, y, z))
        out += height * gz[:, None, None] * gy[:, None] * gx
    return out


def interpolated_transform(volume: np.ndarray) -> np.ndarray:
    """Transform on the padded grid (numpy's layout) as the insertion of dense exact samples leaves it over T.

    Spreading by the trilinear kernel multiplies the map by its transform, sinc² of x over the padded box.
    """
    box = len(volume)
    size = PADDING * box
    padded = np.zeros((size,) * 3)
    at = slice(size // 2 - box // 2, size // 2 - box // 2 + box)
    padded[at, at, at] = volume * outer(np.sinc(centred(box) / size) ** 2)
    return np.fft.fftn(np.fft.ifftshift(padded))


def packed(full: np.ndarray, of: Sphere, layers: range) -> np.ndarray:
    """The voxels of some layers of numpy's layout; frequencies that the padded grid does not have are 0."""
    size, r = len(full), of.radius
    parts = []
    for layer in layers:
        lengths = np.diff(of.start[layer * of.layers : (layer + 1) * of.layers + 1])
        for z, length in zip(range(-r, r + 1), lengths, strict=True):
            x = np.arange(length)
            exists = (2 * x < size) & (2 * abs(z) < size) & (2 * abs(layer - r) < size)
            parts.append(full[z % size, (layer - r) % size, x % size] * exists)
    return np.concatenate([*parts, np.zeros(0)])


def accumulators(
    transform: np.ndarray, weight: np.ndarray, r_high: float, size: int = 1, rank: int = 0
) -> Accumulators:
    """F = T·transform and T as insertion and folding leave them, of a rank's layers."""
    whole = sphere(sphere_radius(PADDING, r_high))
    first, last = whole.bounds(size)[rank : rank + 2].tolist()
    value, weights = (packed(each, whole, range(first, last)) for each in (transform * weight, weight))
    parts = (np.ascontiguousarray(part, float) for part in (value.real, value.imag, weights))
    return Accumulators(*parts, whole, first, last, len(transform) // PADDING, PADDING, r_high)


def shells(size: int) -> np.ndarray:
    k = np.round(np.fft.fftfreq(size, 1 / size))
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
    return np.rint(radius / PADDING).astype(int)


def hermitian_weight(size: int, rng: np.random.Generator) -> np.ndarray:
    """Positive, different everywhere, equal at q and -q."""
    weight = rng.uniform(0.2, 5.0, (size,) * 3)
    line = -np.arange(size) % size
    return weight + weight[np.ix_(line, line, line)]


BOXES = [(32, 16.0), (31, 15.5), (32, 12.5), (36, 13.0), (30, 11.2)]


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


@pytest.mark.parametrize("box, r_high", BOXES)
def test_start_meets_the_condition_in_the_interior(box, r_high, rng):
    """W·T is 1 within the sphere, whatever T is, so C = (W·T) ⊗ K is nearly 1 wherever K stays inside."""
    source = accumulators(interpolated_transform(blobs(box, box)), hermitian_weight(PADDING * box, rng), r_high)
    solution = solve(SerialComm(), source)
    assert solution.iterations == 1
    # The transform of sinc² on |x| < ½ ends in a kink of slope 2·1.62: its tails are (-1)ⁿ 3.24/(4π²n²), of which the
    # sphere lacks those from n = 3 on, an alternating sum of about half its first term, 0.0046, along up to three axes.
    assert solution.deviation < 0.014
    assert solve(SerialComm(), source, max_iterations=0).iterations == 0


@pytest.mark.parametrize("box, r_high", [(20, 10.0), (19, 9.5)])
@pytest.mark.parametrize("with_ssnr", [False, True])
def test_weights_are_those_of_the_formula(box, r_high, with_ssnr, rng):
    """White spectrum, uneven T with gaps: every voxel is divided by its own T + mean(T)/SSNR of its shell."""
    size = PADDING * box
    transform = interpolated_transform(rng.standard_normal((box,) * 3))
    weight = hermitian_weight(size, rng)
    shell = shells(size)
    gaps = hermitian_weight(size, rng) < 2.0
    weight[gaps] *= 1e-6
    source = accumulators(transform, weight, r_high)
    # The mean is taken over the voxels of the sphere, as far as the padded grid reaches.
    within = ball(source.sphere, PADDING, size, r_high)
    sums = sum(
        twin.shell_sums(within, layer, packed(weight, source.sphere, range(layer, layer + 1)))
        for layer in within.layers
    )
    mean = sums[:, 0] / np.maximum(sums[:, 1], 1)
    mean = np.append(mean, np.zeros(max(0, shell.max() + 1 - len(mean))))
    if with_ssnr:
        ssnr = 10 ** rng.uniform(-4, 2, box // 2 - 1)  # the last shells are not given: SSNR 1/1000, as the least
        ratio = np.full(len(mean), 1e-3)
        ratio[: len(ssnr)] = np.maximum(ssnr, 1e-3)
        target = weight + (mean / ratio)[shell]
    else:
        ssnr = None
        target = (weight + (mean / 60)[shell]) / (1 + 1 / 60)
    k = np.round(np.fft.fftfreq(size, 1 / size))
    reachable = 2 * np.abs(k) < size
    inside = (shell < r_high) & reachable[:, None, None] & reachable[:, None] & reachable
    spectrum = np.where(inside, transform * weight / np.where(inside, target, 1), 0)
    real = np.fft.fftshift(np.fft.ifftn(spectrum).real)
    at = slice(size // 2 - box // 2, size // 2 - box // 2 + box)
    expected = real[at, at, at] / outer(np.sinc(centred(box) / size) ** 2)
    for double in (False, True):
        found = solve(SerialComm(), source, ssnr=ssnr, max_iterations=0, double=double)
        # The result is float32; a transform in single precision rounds at 6e-8 in each of some 16 stages.
        np.testing.assert_allclose(found.planes, expected, atol=1e-6 * np.abs(expected).max())
        np.testing.assert_allclose(found.mean_weight, mean[: len(found.mean_weight)], rtol=1e-12)


def iterate(source: Accumulators, add: np.ndarray, tolerance: float, most: int) -> tuple[np.ndarray, int, list[float]]:
    """W in numpy's layout, iterations and all max|C - 1|: Algorithm 2 on full complex volumes in double precision."""
    points = grid_box(source.box, source.r_high)
    size = PADDING * points
    within = ball(source.sphere, PADDING, size, source.r_high)
    weight, inside, interior = (np.zeros((size,) * 3, dtype) for dtype in (float, bool, bool))
    for layer in within.layers:
        y, z, x = twin.voxels(within, layer)
        first, last = source.sphere.voxels(layer, layer + 1)
        here = twin.inside(within, layer)
        for target, value in (
            (weight, source.weight[first:last]),
            (inside, here),
            (interior, twin.interior(within, layer)),
        ):
            for sign in (-1, 1):
                target[sign * z[here] % size, sign * y % size, sign * x[here] % size] = value[here]
    target = weight + add[np.minimum(shells(size), len(add) - 1)]
    w = np.where(inside, 1 / np.where(inside, target, 1), 0)
    kernel = outer(np.sinc(np.fft.fftfreq(size)) ** 2)
    before, history = w, []
    while len(history) < most:
        convolved = np.fft.fftn(np.fft.ifftn(w * target) * kernel).real
        latest = np.abs(convolved[interior] - 1).max()
        if history and latest > 0.98 * history[-1]:
            return before, len(history), history
        history.append(latest)
        if latest < tolerance:
            break
        before, w = w, w / np.maximum(convolved, 1e-6)
    return w, len(history), history


# The first tolerance is met at once; the second never, but an update of W makes C worse and is taken back; the third
# time an update is the last thing done.
@pytest.mark.parametrize("tolerance, max_iterations", [(1e-2, 10), (0.0, 10), (0.0, 1)])
def test_iteration_is_that_of_the_paper(tolerance, max_iterations, rng):
    source = accumulators(interpolated_transform(blobs(24, 24)), hermitian_weight(48, rng), 9.0)
    solver = Solver(SerialComm(), source)
    solution = solver.solve(tolerance=tolerance, max_iterations=max_iterations)
    w, iterations, history = iterate(source, np.append(solver.mean_weight, 0) / 60, tolerance, max_iterations)
    assert solution.iterations == iterations
    # Sums of 10^5 terms of size 1 in another order, and one quotient after another of them.
    np.testing.assert_allclose(solution.deviation, history[-1], atol=1e-12)
    value = source.re + 1j * source.im
    spectrum = np.zeros_like(w, complex)
    for layer in range(source.sphere.layers):
        y, z, x = twin.voxels(ball(source.sphere, PADDING, len(w), 9.0), layer)
        first, last = source.sphere.voxels(layer, layer + 1)
        keep = 2 * np.maximum(np.maximum(abs(y), abs(z)), x) < len(w)
        for sign, part in ((-1, value.conj()), (1, value)):
            spectrum[sign * z[keep] % len(w), sign * y % len(w), sign * x[keep] % len(w)] = part[first:last][keep]
    points = solution.points
    at = np.ix_(*[centred(points) % len(w)] * 3)
    real = np.fft.ifftn(spectrum * w).real[at] * (points / source.box) ** 3 * (1 + 1 / 60)
    expected = real / outer(np.sinc(centred(points) / len(w)) ** 2)
    # The result is float32.
    np.testing.assert_allclose(solution.planes, expected, atol=1e-6 * np.abs(expected).max())


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
        bounds = even_bounds(first.points, comm.size)
        assert len(first.planes) == bounds[comm.rank + 1] - bounds[comm.rank]
        return first.planes, second.planes, solver.mean_weight, first.iterations, first.deviation

    expected = maps(SerialComm(), "slab")
    monkeypatch.setattr(padded_grid, "_GATHER_BYTES", 4000)
    monkeypatch.setattr(plane_transform, "_BLOCK_BYTES", 1000)
    for model in ("replicated", "sharded", "slab"):
        for size in (1, 2, 3, 4, 7):
            results = run_ranks(size, lambda comm, model=model: maps(comm, model))
            for part in (0, 1):
                found = np.concatenate([result[part] for result in results])
                np.testing.assert_array_equal(found, expected[part])
            for result in results:
                np.testing.assert_array_equal(result[2], expected[2])
                assert result[3:] == expected[3:]


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
