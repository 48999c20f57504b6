"""Weights by which the sums are divided, against the formula and the iteration of the paper on full volumes."""

from __future__ import annotations

import numpy as np
import pytest
from exact_sums import (
    BOXES,
    PADDING,
    accumulators,
    blobs,
    centred,
    hermitian_weight,
    interpolated_transform,
    outer,
    packed,
)

from pycryo.kernels.backprojector import Accumulators
from pycryo.kernels.gridding import ball
from pycryo.kernels.reference import gridding as twin
from pycryo.model.solve import Solver, grid_box, solve
from pycryo.parallel.comm import SerialComm


def shells(size: int) -> np.ndarray:
    k = np.round(np.fft.fftfreq(size, 1 / size))
    radius = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)
    return np.rint(radius / PADDING).astype(int)


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
@pytest.mark.parametrize("with_ssnr, keeps_scale", [(False, False), (True, False), (True, True)])
def test_weights_are_those_of_the_formula(box, r_high, with_ssnr, keeps_scale, rng):
    """White spectrum, uneven T with gaps: every voxel is divided by its own T + mean(T)/SSNR of its shell.

    With `keeps_scale` a shell is multiplied so that the mean of what T becomes, weighted by T, is 1.
    """
    size = PADDING * box
    transform = interpolated_transform(rng.standard_normal((box,) * 3))
    weight = hermitian_weight(size, rng)
    shell = shells(size)
    gaps = hermitian_weight(size, rng) < 2.0
    weight[gaps] *= 1e-6
    source = accumulators(transform, weight, r_high)
    # The mean is taken over the voxels of the sphere, as far as the padded grid reaches.
    within = ball(source.sphere, PADDING, size, r_high)

    def shell_mean(values):
        sums = sum(
            twin.shell_sums(within, layer, packed(values, source.sphere, range(layer, layer + 1)))
            for layer in within.layers
        )
        mean = sums[:, 0] / np.maximum(sums[:, 1], 1)
        return np.append(mean, np.zeros(max(0, shell.max() + 1 - len(mean))))

    mean = shell_mean(weight)
    if with_ssnr:
        ssnr = 10 ** rng.uniform(-4, 2, box // 2 - 1)  # the last shells are not given: SSNR 1/1000, as the least
        ratio = np.full(len(mean), 1e-3)
        ratio[: len(ssnr)] = np.maximum(ssnr, 1e-3)
        target = weight + (mean / ratio)[shell]
        if keeps_scale:
            filtered = shell_mean(weight**2 / np.where(target > 0, target, 1))
            target *= np.where(filtered > 0, filtered / np.where(mean > 0, mean, 1), 1)[shell]
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
        solver = Solver(SerialComm(), source, double=double)
        found = solver.solve(ssnr=ssnr, keeps_scale=keeps_scale, max_iterations=0)
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
