"""Kernel `gridding` against its float64 twin."""

import numpy as np
import pytest

from pycryo.kernels import gridding
from pycryo.kernels.reference import gridding as twin
from pycryo.kernels.sphere import sphere, sphere_radius

# padding, r_high, points of the padded grid: a grid that holds the sphere, one that cuts it, odd ones, tiny ones.
SETTINGS = [(2, 6.0, 30), (2, 8.0, 16), (1, 5.5, 11), (3, 4.2, 30), (4, 3.01, 40), (2, 7.3, 25), (1, 1.0, 2), (2, 1, 1)]


def make(padding, r_high, n):
    return gridding.ball(sphere(sphere_radius(padding, r_high)), padding, n, r_high)


def n_voxel(ball, layer):
    return len(twin.shells(ball, layer))


@pytest.mark.parametrize("padding, r_high, n", SETTINGS)
def test_ball_is_the_shells_below_r_high(padding, r_high, n):
    ball = make(padding, r_high, n)
    for layer in range(ball.sphere.layers):
        shell = twin.shells(ball, layer)
        np.testing.assert_array_equal(twin.inside(ball, layer), (shell >= 0) & (shell < r_high))
        assert (layer in ball.layers) == (shell >= 0).any()
        assert shell.max() < ball.n_shell


@pytest.mark.parametrize("padding, r_high, n", SETTINGS)
def test_voxels_equal_twin(padding, r_high, n, rng):
    ball = make(padding, r_high, n)
    add = rng.uniform(0.1, 1, ball.n_shell)
    for layer in range(ball.sphere.layers):
        size = n_voxel(ball, layer)
        weight, out = rng.uniform(0, 5, (2, size))
        # A dozen sums of up to 10^3 terms below 5 in another order.
        np.testing.assert_allclose(
            gridding.shell_sums(ball, layer, weight), twin.shell_sums(ball, layer, weight), atol=1e-12
        )
        w = np.full(size, np.nan)
        gridding.first_weight(ball, layer, weight, add, w)
        expected = twin.first_weight(ball, layer, weight, add)
        np.testing.assert_array_equal(w, expected)
        w = rng.uniform(0.5, 2, size)
        inside = twin.inside(ball, layer)
        before = out.copy()
        gridding.product(ball, layer, weight, add, w, out)
        # With and without fused multiply and add: one rounding.
        np.testing.assert_allclose(out[inside], twin.product(ball, layer, weight, add, w)[inside], rtol=3e-16)
        np.testing.assert_array_equal(out[~inside], before[~inside])


@pytest.mark.parametrize("padding, r_high, n", SETTINGS)
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("cut", [0, 1])
def test_samples_equal_twin(padding, r_high, n, dtype, cut, rng):
    """`cut`: rows of a grid that holds one sample less than the ball's widest row has."""
    ball = make(padding, r_high, n)
    width = max(1, min(ball.reach, ball.sphere.radius) + 1 - cut)
    for layer in range(ball.sphere.layers):
        size = n_voxel(ball, layer)
        re, im = rng.standard_normal((2, size))
        for imaginary in (im, None):
            samples = np.zeros((n, width), dtype)
            gridding.place(ball, layer, re, imaginary, samples)
            value = re + 1j * (0 if imaginary is None else imaginary)
            np.testing.assert_array_equal(samples, twin.place(ball, layer, value, n, width).astype(dtype))
        if cut:
            continue
        # Differences to 1 of both signs, and what is cut to 1e-6.
        samples = (1 + 1.1 * rng.uniform(-1, 1, (n, width)) + 3j).astype(dtype)
        exact = samples.astype(np.complex128)
        assert gridding.deviation(ball, layer, samples) == twin.deviation(ball, layer, exact)
        w = rng.uniform(0.5, 2, size)
        expected = twin.divide(ball, layer, exact, w)
        gridding.divide(ball, layer, samples, w)
        np.testing.assert_array_equal(w, expected)


@pytest.mark.parametrize("long", [100, 130])
def test_long_rows(long, rng):
    """Rows of several chunks."""
    ball = make(1, float(long), 2 * long + 5)
    for layer in (0, 3, long // 2, ball.sphere.radius):
        weight = rng.uniform(0, 5, n_voxel(ball, layer))
        # Sums of up to 10^3 terms below 5 in another order.
        np.testing.assert_allclose(
            gridding.shell_sums(ball, layer, weight), twin.shell_sums(ball, layer, weight), rtol=1e-14
        )


def test_interior_is_two_erosions_of_the_ball():
    """The corner that is farthest out decides: what NumPy finds by eroding the whole half volume is the same."""
    from scipy.ndimage import binary_erosion

    ball = make(2, 6.7, 28)
    r, reach = ball.sphere.radius, ball.reach
    full = np.zeros((2 * r + 1,) * 3, bool)
    for layer in range(ball.sphere.layers):
        y, z, x = twin.voxels(ball, layer)
        inside = twin.inside(ball, layer)
        full[y + r, z[inside] + r, x[inside] + r] = True
        full[-y + r, -z[inside] + r, -x[inside] + r] = True
    cut = slice(r - reach, r + reach + 1)
    eroded = np.zeros_like(full)
    eroded[cut, cut, cut] = binary_erosion(full[cut, cut, cut], np.ones((5, 5, 5)))
    assert eroded.any()
    for layer in range(ball.sphere.layers):
        y, z, x = twin.voxels(ball, layer)
        np.testing.assert_array_equal(twin.interior(ball, layer), eroded[y + r, z + r, x + r])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_y, n_x", [(0, 3), (1, 1), (5, 17), (9, 64), (3, 0)])
def test_planes_equal_twin(n_y, n_x, dtype, rng):
    points = rng.standard_normal((n_y, n_x)).astype(dtype)
    along_y, along_x = (rng.standard_normal(n).astype(dtype) for n in (n_y, n_x))
    expected = twin.scale(points, along_y, along_x)
    gridding.scale(points, along_y, along_x)
    # Two products are rounded.
    np.testing.assert_allclose(points, expected, rtol=2.5 * np.finfo(dtype).eps)


def test_errors_name_the_argument():
    ball = make(2, 4.0, 20)
    size = n_voxel(ball, 5)
    values, add = np.zeros(size), np.ones(ball.n_shell)
    with pytest.raises(ValueError, match="weight: expected shape"):
        gridding.shell_sums(ball, 5, np.zeros(size - 1))
    with pytest.raises(ValueError, match="shells: expected at least"):
        gridding.first_weight(ball, 5, values, add[:1], values.copy())
    with pytest.raises(ValueError, match="product: expected shape"):
        gridding.product(ball, 5, values, add, values, np.zeros(3))
    with pytest.raises(ValueError, match="im: expected"):
        gridding.place(ball, 5, values, np.zeros(size, np.float32), np.zeros((20, 4), complex))
    with pytest.raises(ValueError, match="samples: expected more than"):
        gridding.deviation(ball, 5, np.zeros((ball.reach, 4), complex))
    with pytest.raises(ValueError, match="w: expected shape"):
        gridding.divide(ball, 5, np.zeros((20, 4), complex), np.zeros(3))
    with pytest.raises(ValueError, match="along_x: expected shape"):
        gridding.scale(np.zeros((3, 4)), np.zeros(3), np.zeros(5))
    with pytest.raises(ValueError, match="padding, n, r_high: expected positive"):
        gridding.ball(ball.sphere, 2, 0, 4.0)
