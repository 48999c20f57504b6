"""Aberrations and magnification of an optics group from sums over its images (docs/method.md, Optics).

Frequencies are those of the undistorted image, (x, y) = M k, 1/Å. All is fitted by scoring: the expected second
derivatives take the place of the real ones. Phases wrap, so fits begin at low frequencies and reach further step by
step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Shares of the highest frequency up to which a fit reaches, step by step, and its iterations at each.
_REACH, _N_ITERATION = (0.5, 0.65, 0.8, 0.9, 1.0), 12
# Radians up to which a phase is small, and the factor by which second derivatives may differ from what is expected.
_SMALL, _MOST_UNLIKE = 0.5, 3.0
# Variance relative to that of the images' noise alone: the reference's noise, of as many images, adds a share that is
# its FSC where the images tell most (docs/method.md, Optics).
_REFERENCE_NOISE = 1.5


@dataclass(frozen=True, slots=True)
class Fitted:
    """Parameters of a fit.

    Attributes
    ----------
    value : (p,) float64
    covariance : (p, p) float64
    """

    value: Array
    covariance: Array

    @property
    def error(self) -> Array:
        """(p,) standard errors."""
        return np.sqrt(np.diagonal(self.covariance))

    def chi_square(self, some: slice) -> float:
        """How far some of the parameters are from 0: about as many as they are by chance."""
        value = self.value[some]
        return float(value @ np.linalg.solve(self.covariance[some, some], value))


def odd_basis(x: Array, y: Array) -> Array:
    """(n, 6): shift along x, y; beam tilt along x, y; trefoil sin 3θ, cos 3θ (rlnOddZernike 2 and 5)."""
    square = x * x + y * y
    return np.stack([x, y, square * x, square * y, 3 * x * x * y - y**3, x**3 - 3 * x * y * y], axis=1)


def even_basis(x: Array, y: Array) -> Array:
    """(n, 9): |k|² · (1, cos 2θ, sin 2θ), then |k|⁴ · (1, cos 2θ, sin 2θ, cos 4θ, sin 4θ), and 1."""
    square = x * x + y * y
    cos2, sin2 = x * x - y * y, 2 * x * y
    return np.stack(
        [
            *(square, cos2, sin2),
            *(square**2, square * cos2, square * sin2),
            *(cos2**2 - sin2**2, 2 * cos2 * sin2, np.ones_like(x)),
        ],
        axis=1,
    )


def fit_odd(x: Array, y: Array, product: NDArray[np.complex128], information: Array, *, reach: float = 1.0) -> Fitted:
    """Phases φ = `odd_basis` · value of images beyond those that were taken out of them.

    Parameters
    ----------
    x, y : (n,) float64
    product : (n,) complex128
        Σ CTF·X·P*/σ² over the images, P the slices.
    information : (n,) float64
        Σ CTF²·|P|²/σ²: variance of each of its parts, and what it is without phase errors.
    reach : float
        Share of the highest frequency that is used.
    """

    def derivative(phase: Array) -> tuple[Array, Array]:
        return (product * np.exp(-1j * phase)).imag, information

    return _scored(odd_basis(x, y), np.hypot(x, y), derivative, reach)


def fit_even(
    x: Array,
    y: Array,
    sine: Array,
    cosine: Array,
    power: Array,
    power_cosine: Array,
    power_sine: Array,
    *,
    has_constant: bool = False,
    reach: float = 1.0,
) -> Fitted:
    """Phases ε = `even_basis` · value of the CTF sin(χ - ε) beyond those that χ has.

    Parameters
    ----------
    x, y : (n,) float64
    sine, cosine : (n,) float64
        Σ sin χ Re(X·P*)/σ², Σ cos χ Re(X·P*)/σ².
    power, power_cosine, power_sine : (n,) float64
        Σ|P|²/σ², Σ cos 2χ |P|²/σ², Σ sin 2χ |P|²/σ².
    has_constant : bool
        The last parameter, a phase that is the same at all frequencies, is looked for; else it is 0.
    reach : float
        Share of the highest frequency that is used.
    """

    def derivative(phase: Array) -> tuple[Array, Array]:
        c1, s1, c2, s2 = np.cos(phase), np.sin(phase), np.cos(2 * phase), np.sin(2 * phase)
        slope = -s1 * sine - c1 * cosine + 0.5 * (c2 * power_sine - s2 * power_cosine)
        return slope, 0.5 * (power + c2 * power_cosine + s2 * power_sine)

    count = 9 if has_constant else 8
    found = _scored(even_basis(x, y)[:, :count], np.hypot(x, y), derivative, reach)
    value, covariance = np.zeros(9), np.zeros((9, 9))
    value[:count], covariance[:count, :count] = found.value, found.covariance
    return Fitted(value, covariance)


def _scored(basis: Array, radius: Array, derivative: Callable[[Array], tuple[Array, Array]], reach: float) -> Fitted:
    """Maximum of a likelihood of phases that are linear in the parameters."""
    size = np.abs(basis).max(axis=0)
    scaled = basis / np.where(size > 0, size, 1)
    value = np.zeros(basis.shape[1])
    highest = reach * radius.max(initial=0.0)
    for share in _REACH:
        near = radius <= share * highest
        rows = scaled[near]
        for _ in range(_N_ITERATION):
            slope, information = derivative(scaled @ value)
            hessian = rows.T @ (information[near, None] * rows)
            step = np.linalg.lstsq(hessian, rows.T @ slope[near], rcond=1e-10)[0]
            largest = np.abs(rows @ step).max(initial=0.0)
            value = value + step * min(1.0, 0.5 / max(largest, 1e-12))
            if largest < 1e-4:
                break
    _, information = derivative(scaled @ value)
    information = np.where(radius <= highest, information, 0)
    inverse = np.linalg.pinv(scaled.T @ (information[:, None] * scaled), rcond=1e-12)
    covariance: Array = _REFERENCE_NOISE * np.asarray(inverse, np.float64)
    scale = np.where(size > 0, size, 1)
    return Fitted(value / scale, covariance / np.outer(scale, scale))


def without_poses(
    before: Fitted,
    basis: Array,
    slope: Array,
    seconds: tuple[Array, Array],
    taken: tuple[Array, Array],
    *,
    n_common: int,
) -> Fitted:
    """The fit with the pose, grey scale and decay of each image at their best instead of as they were found.

    Only if its phases are so small that the likelihood is a parabola; else it is `before`.

    Parameters
    ----------
    before : Fitted
        With the images as they are; parameters beyond those of the `basis` stay.
    basis : (n, p) float64
    slope : (n,) float64
        First derivative of the log likelihood by a phase, at 0.
    seconds : two (n,) float64
        Less its second derivative: as expected, which tells the errors, and as it is, which tells how far to go. Images
        show more than a map that was blurred by what is to be found.
    taken : (p - n_common,), (p - n_common, p - n_common) float64
        What is to be taken off the derivatives by the last parameters.
    n_common : int
        Parameters that poses can take wholly: they follow from the others.
    """
    count = basis.shape[1]
    if np.abs(basis @ before.value[:count]).max(initial=0.0) > _SMALL:
        return before
    expected, seen = (basis.T @ (each[:, None] * basis) for each in seconds)
    if not _is_like(seen, expected):
        seen = expected
    first = basis.T @ slope
    value, covariance = before.value.copy(), before.covariance.copy()
    mine, common = slice(n_common, count), slice(0, n_common)
    value[mine] = _inverse(seen[mine, mine] - taken[1]) @ (first[mine] - taken[0])
    covariance[mine, mine] = _REFERENCE_NOISE * _inverse(expected[mine, mine] - taken[1])
    if n_common:
        left = first[common] - seen[common, mine] @ value[mine]
        value[common] = _inverse(seen[common, common]) @ left
        covariance[common, mine] = covariance[mine, common] = 0
    return Fitted(value, covariance)


def _is_like(seen: Array, expected: Array) -> bool:
    """Whether second derivatives are within a factor of those that are expected, in all directions."""
    scale = 1 / np.sqrt(np.maximum(np.diagonal(expected), 1e-300))
    both = (matrix * scale[:, None] * scale for matrix in (expected, seen))
    values, vectors = np.linalg.eigh(next(both))
    half = vectors / np.sqrt(np.maximum(values, 1e-12 * values[-1]))
    found = np.linalg.eigvalsh(half.T @ next(both) @ half)
    return bool(found[0] > 1 / _MOST_UNLIKE and found[-1] < _MOST_UNLIKE)


def _inverse(matrix: Array) -> Array:
    """Of a symmetric matrix whose rows differ in size."""
    size = np.sqrt(np.maximum(np.diagonal(matrix), 1e-300))
    scale = size[:, None] * size
    inverse: Array = np.asarray(np.linalg.pinv(matrix / scale, rcond=1e-12), np.float64)
    return np.asarray(inverse / scale)


def fit_magnification(slope: Array, hessian: Array) -> Fitted:
    """(a, b, c) of (1 + [[a, b], [b, c]]) by which M is to be multiplied, from the derivatives by them."""
    inverse = np.asarray(np.linalg.pinv(hessian, rcond=1e-10), np.float64)
    return Fitted(inverse @ slope, _REFERENCE_NOISE * inverse)
