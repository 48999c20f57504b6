"""Accumulators to maps, against a full complex transform in double precision and maps known analytically."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycryo.backprojector import Accumulators
from pycryo.refine.gridding import grid_box, solve

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


def half_volume(full: np.ndarray, radius: int) -> np.ndarray:
    """[z + r, y + r, x] from numpy's layout; frequencies that the padded grid does not have are 0."""
    size = len(full)
    line = np.arange(-radius, radius + 1)
    out = full[np.ix_(line % size, line % size, line[radius:] % size)]
    exists = 2 * np.abs(line) < size
    return out * (exists[:, None, None] & exists[:, None] & exists[radius:])


def accumulators(transform: np.ndarray, weight: np.ndarray, r_high: float) -> Accumulators:
    """F = T·transform and T as insertion and folding leave them."""
    radius = int(np.ceil(PADDING * r_high)) + 1
    value = half_volume(transform * weight, radius)
    arrays = (np.ascontiguousarray(part, float) for part in (value.real, value.imag, half_volume(weight, radius)))
    return Accumulators(*arrays, len(transform) // PADDING, PADDING, r_high)


def shells(size: int) -> np.ndarray:
    k = np.round(np.fft.fftfreq(size, 1 / size))
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
    # Halves between two shells: as the float32 of the code and the double of this line agree on the even one.
    return np.rint(radius.astype(np.float32) / PADDING).astype(int)


def hermitian_weight(size: int, rng: np.random.Generator) -> np.ndarray:
    """Positive, different everywhere, equal at q and -q."""
    weight = rng.uniform(0.2, 5.0, (size,) * 3)
    line = -np.arange(size) % size
    return weight + weight[np.ix_(line, line, line)]


BOXES = [(32, 16.0), (31, 15.5), (32, 12.5), (36, 13.0), (30, 11.2)]


@pytest.mark.parametrize("box, r_high", BOXES)
@pytest.mark.parametrize("options", [{}, {"max_iterations": 0}, {"max_iterations": 0, "single": True}])
def test_map_of_exact_accumulators(box, r_high, options):
    """T equal within the sphere, as of endless images: nothing to regularise."""
    source = accumulators(interpolated_transform(blobs(box, box)), np.full((PADDING * box,) * 3, 3.7), r_high)
    before = [part.copy() for part in (source.re, source.im, source.weight)]
    solution = solve(source, **options)
    points = grid_box(box, r_high)
    assert solution.map.shape == (points,) * 3
    assert solution.map.dtype == np.float32
    # Left out are frequencies beyond r_high, at worst exp(-2π²·2.5²·(11/30)²) = 6e-8 of the peak's, and aliased are
    # tails beyond the field of view: exp(-(11/2.5)²/2) = 6e-5 of 0.5 at one corner region of the smallest box. The mean
    # of T over the outermost shell, which the array does not hold entirely, differs from T: by 1/60 of that shell.
    np.testing.assert_allclose(solution.map, blobs(box, points), atol=1e-4)
    for part, old in zip((source.re, source.im, source.weight), before, strict=True):
        np.testing.assert_array_equal(part, old)


@pytest.mark.parametrize("box, r_high", BOXES)
def test_start_meets_the_condition_in_the_interior(box, r_high, rng):
    """W·T is 1 within the sphere, whatever T is, so C = (W·T) ⊗ K is nearly 1 wherever K stays inside."""
    source = accumulators(interpolated_transform(blobs(box, box)), hermitian_weight(PADDING * box, rng), r_high)
    solution = solve(source)
    assert solution.iterations == 1
    # The transform of sinc² on |x| < ½ ends in a kink of slope 2·1.62: its tails are (-1)ⁿ 3.24/(4π²n²), of which the
    # sphere lacks those from n = 3 on, an alternating sum of about half its first term, 0.0046, along up to three axes.
    assert solution.deviation < 0.014
    assert solve(source, max_iterations=0).iterations == 0


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
    radius = int(np.ceil(PADDING * r_high)) + 1
    source = accumulators(transform, weight, r_high)
    # The mean is taken over the half volume that is in memory, as far as the padded grid reaches.
    held = min(radius, (size - 1) // 2)
    mine, of = half_volume(weight, held).ravel(), half_volume(shell, held).ravel()
    mean = np.bincount(of, mine) / np.maximum(np.bincount(of), 1)
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
    for single in (False, True):
        found = solve(source, ssnr=ssnr, max_iterations=0, single=single)
        # The result is float32; a transform in single precision rounds at 6e-8 in each of some 16 stages.
        np.testing.assert_allclose(found.map, expected, atol=1e-6 * np.abs(expected).max())
        np.testing.assert_allclose(found.mean_weight, mean[: len(found.mean_weight)], rtol=1e-12)


def test_mean_weight_is_the_radial_mean(rng):
    weight = rng.uniform(0.5, 1.5, (15, 15, 8))
    found = solve(Accumulators(weight, weight, weight, 12, 2, 3.0), max_iterations=0).mean_weight
    z, y, x = np.indices(weight.shape)
    radius = np.sqrt((z - 7.0) ** 2 + (y - 7.0) ** 2 + x**2) / 2
    assert len(found) == 7  # (7, 7, 7)·√3/2 is in shell 6
    for shell, value in enumerate(found):
        # Voxels half-way between two shells belong to either: x, y, z and their sum of squares are odd integers² then.
        clear = (radius > shell - 0.5) & (radius < shell + 0.5)
        either = clear | (radius == shell - 0.5) | (radius == shell + 0.5)
        sums = [weight[part].sum() for part in (clear, either)]
        counts = [part.sum() for part in (clear, either)]
        assert sums[0] / counts[1] <= value <= sums[1] / counts[0]


def test_empty_accumulators_give_an_empty_map():
    shape = (35, 35, 18)
    for ssnr in (None, np.ones(9)):
        solution = solve(Accumulators(*(np.zeros(shape) for _ in range(3)), 16, 2, 8.0), ssnr=ssnr)
        np.testing.assert_array_equal(solution.map, 0)


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
