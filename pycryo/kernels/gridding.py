"""Element-wise work of the gridding iteration on layers of a packed sphere and planes of a grid (kernel `gridding`).

All functions work on one layer or plane with one thread and do not hold the interpreter's lock: call them for several
at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo import _core
from pycryo.errors import InputError
from pycryo.kernels.sphere import MARGIN, Sphere


@dataclass(frozen=True, slots=True, eq=False)
class Ball:
    """Voxels of a sphere that a padded grid holds, and among them the ball in which W is not zero.

    Attributes
    ----------
    sphere : Sphere
    padding : int
        Padded Fourier px per Fourier px. The shell of a voxel is round(|k| / padding), halves to the even one (if
        1 / padding is exact).
    reach : int
        Largest |x|, |y|, |z| on the grid; other voxels of the sphere are ignored.
    inside : int
        Largest |k|² in the ball, padded Fourier px².
    """

    sphere: Sphere
    padding: int
    reach: int
    inside: int

    @property
    def layers(self) -> range:
        """Layers on the grid."""
        beyond = self.sphere.radius - self.reach
        return range(beyond, self.sphere.layers - beyond)

    @property
    def n_shell(self) -> int:
        """Shells of the voxels on the grid, and at most one more."""
        farthest = min(self.sphere.radius + MARGIN, math.sqrt(3) * self.reach)
        return round(farthest / self.padding) + 1


def ball(sphere: Sphere, padding: int, n: int, r_high: float) -> Ball:
    """The ball of shells below `r_high` Fourier px on a grid of `n` padded points per axis.

    Raises
    ------
    InputError
        If `padding`, `n` or `r_high` is not positive.
    """
    if padding < 1 or n < 1 or not r_high > 0:
        raise InputError(f"padding, n, r_high: expected positive numbers, got {padding}, {n}, {r_high}")
    last = math.ceil(r_high) - 1
    # |k|/padding = last + 1/2 is of shell `last` if that is even.
    edge = (padding * (2 * last + 1)) ** 2
    inside = edge // 4 if edge % 4 or last % 2 == 0 else edge // 4 - 1
    return Ball(sphere, padding, min(sphere.radius, (n - 1) // 2), min(inside, int((sphere.radius + MARGIN) ** 2)))


def shell_sums(ball: Ball, layer: int, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of T over the voxels of each shell in a layer, and their number.

    Parameters
    ----------
    ball : Ball
    layer : int
        0 is y = -r.
    weight : (n,) float64
        T of the layer's voxels.

    Returns
    -------
    (n_shell, 2) float64

    Raises
    ------
    InputError
        If `weight` does not fit the layer.
    """
    sums = np.empty((ball.n_shell, 2))
    _core.gridding_shell_sums(*_place(ball, layer), weight, sums)
    return sums


def first_weight(
    ball: Ball, layer: int, weight: NDArray[np.float64], add: NDArray[np.float64], w: NDArray[np.float64]
) -> None:
    """Set W of a layer to 1 / target in the ball, to 0 elsewhere.

    Parameters
    ----------
    ball : Ball
    layer : int
    weight : (n,) float64
        T of the layer's voxels.
    add : (n_shell,) float64
        target = T + add[shell], which must not be 0.
    w : (n,) float64
        W of the layer's voxels, the result.

    Raises
    ------
    InputError
        If arrays do not fit the layer.
    """
    _core.gridding_start(*_place(ball, layer), weight, add, w)


def product(
    ball: Ball,
    layer: int,
    weight: NDArray[np.float64],
    add: NDArray[np.float64],
    w: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Set `out` to W · target in the ball; it is not touched elsewhere. Parameters as in `first_weight`.

    Raises
    ------
    InputError
        If arrays do not fit the layer.
    """
    _core.gridding_product(*_place(ball, layer), weight, add, w, out)


def place(
    ball: Ball, layer: int, re: NDArray[np.float64], im: NDArray[np.float64] | None, samples: NDArray[Any]
) -> None:
    """Bring values of a layer's voxels in the ball to their places in a row of a slab transform.

    Parameters
    ----------
    ball : Ball
    layer : int
    re, im : (n,) float64
        Values of the layer's voxels. None: real ones.
    samples : (n, width) complex64 or complex128
        Axes (z, x), z in the order of `numpy.fft`; not touched outside the ball. Voxels x ≥ width are left out.

    Raises
    ------
    InputError
        If arrays do not fit the layer.
    """
    _core.gridding_place(*_place(ball, layer), re, im, _parts(samples))


def deviation(ball: Ball, layer: int, samples: NDArray[Any]) -> float:
    """Largest |C - 1| in the interior of the ball in a layer, where C is the real part of the samples; 0 without any.

    The interior are voxels whose neighbours up to 2 away along every axis are in the ball and on the grid: at the rim
    the interpolation kernel reaches out of the ball, where nothing can make C = 1.

    Parameters
    ----------
    ball : Ball
    layer : int
    samples : (n, width) complex64 or complex128
        As in `place`.

    Raises
    ------
    InputError
        If there are too few samples.
    """
    return _core.gridding_deviation(*_place(ball, layer), _parts(samples))


def divide(ball: Ball, layer: int, samples: NDArray[Any], w: NDArray[np.float64]) -> None:
    """Divide W of a layer's voxels in the ball by C, or by 1e-6 where C is less; parameters as in `deviation`.

    Raises
    ------
    InputError
        If arrays do not fit the layer.
    """
    _core.gridding_divide(*_place(ball, layer), _parts(samples), w)


def scale(points: NDArray[Any], along_y: NDArray[Any], along_x: NDArray[Any]) -> None:
    """Multiply a plane by a function of y and by one of x, in place.

    Parameters
    ----------
    points : (n_y, n_x) float32 or float64
    along_y, along_x : (n_y,), (n_x,) of the same type

    Raises
    ------
    InputError
        If shapes disagree.
    """
    _core.gridding_scale(points, along_y, along_x)


def _place(ball: Ball, layer: int) -> tuple[NDArray[np.int64], int, int, int, float]:
    """The arguments of the kernel that describe a layer."""
    depth = ball.sphere.layers
    start = ball.sphere.start[layer * depth : (layer + 1) * depth + 1]
    return start, layer - ball.sphere.radius, ball.reach, ball.inside, 1 / ball.padding


def _parts(samples: NDArray[Any]) -> NDArray[Any]:
    """View (n, width, 2) of real and imaginary parts."""
    real = np.float32 if samples.dtype == np.complex64 else np.float64
    return samples.view(real).reshape(*samples.shape, 2)
