"""Phase errors of a microscope's lenses and its magnification, as RELION's optics tables state them.

See docs/conventions.md, Aberrations and magnification.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def odd_order(index: int) -> tuple[int, int]:
    """Radial and angular order (n, m) of a coefficient of ``rlnOddZernike``."""
    k = (math.isqrt(1 + 4 * index) - 1) // 2
    n = 2 * k + 1
    return n, 2 * (index - k * k - k) - n


def even_order(index: int) -> tuple[int, int]:
    """Radial and angular order (n, m) of a coefficient of ``rlnEvenZernike``."""
    k = math.isqrt(index)
    n = 2 * k
    return n, 2 * (index - k * k) - n


def zernike(n: int, m: int, x: Array, y: Array) -> Array:
    """R_n^|m|(ρ) · cos(mθ) for m ≥ 0, · sin(|m|θ) for m < 0, not normalised, at the points (x, y) = ρ (cos θ, sin θ).

    ρ may be greater than 1: coefficients of optics tables are for frequencies in 1/Å.
    """
    order = abs(m)
    square = x * x + y * y
    radial = np.zeros_like(square)
    for k in range((n - order) // 2 + 1):
        factor = math.factorial(n - k) // (
            math.factorial(k) * math.factorial((n + order) // 2 - k) * math.factorial((n - order) // 2 - k)
        )
        radial += (-1) ** k * factor * square ** ((n - order) // 2 - k)
    turned = (x + 1j * y) ** order
    return np.asarray(radial * (turned.real if m >= 0 else turned.imag))


def odd_sum(coefficients: Sequence[float], x: Array, y: Array) -> Array:
    """Σ o_i Z_i of the coefficients of ``rlnOddZernike``, radians, at frequencies (x, y), 1/Å."""
    return _sum([odd_order(i) for i in range(len(coefficients))], coefficients, x, y)


def even_sum(coefficients: Sequence[float], x: Array, y: Array) -> Array:
    """Σ e_i Z_i of the coefficients of ``rlnEvenZernike``, radians, at frequencies (x, y), 1/Å."""
    return _sum([even_order(i) for i in range(len(coefficients))], coefficients, x, y)


def _sum(orders: list[tuple[int, int]], coefficients: Sequence[float], x: Array, y: Array) -> Array:
    total = np.zeros_like(x)
    for (n, m), coefficient in zip(orders, coefficients, strict=True):
        if coefficient != 0:
            total += coefficient * zernike(n, m, x, y)
    return total


def tilt_phase(tilt: Array, spherical_aberration: float, wavelength: float, x: Array, y: Array) -> Array:
    """-2π Cs λ² |k|² (τ·k), radians, at frequencies (x, y), 1/Å.

    Parameters
    ----------
    tilt : (2,) float64
        τ along x and y, mrad.
    spherical_aberration : float
        Cs, mm.
    wavelength : float
        λ, Å.
    x, y : float64
    """
    strength = -2 * np.pi * (1e7 * spherical_aberration) * wavelength**2
    return np.asarray(strength * (x * x + y * y) * 1e-3 * (tilt[0] * x + tilt[1] * y))


def magnified(matrices: Array, magnification: Array) -> Array:
    """Matrices A (..., 3, 3) for images whose frequency k is M k in the undistorted one, M (..., 2, 2).

    A slice reads the volume at Aᵀ (M k, 0) = A'ᵀ (k, 0): the first two rows of A' are Mᵀ times those of A.
    """
    result = np.array(matrices, np.float64)
    result[..., :2, :] = np.swapaxes(magnification, -1, -2) @ matrices[..., :2, :]
    return result


def magnified_defocus(u: Array, v: Array, angle: Array, magnification: Array) -> tuple[Array, Array, Array]:
    """U', V' (Å) and angle' (degrees), with which Δf(k)·|k|² is what U, V and the angle make of M k.

    `u`, `v`, `angle` are (n,), `magnification` is (2, 2): the quadratic form D becomes Mᵀ D M.
    """
    turn = np.deg2rad(angle)
    mean, half = (u + v) / 2, (u - v) / 2
    along, across = half * np.cos(2 * turn), half * np.sin(2 * turn)
    form = np.stack([np.stack([mean + along, across], -1), np.stack([across, mean - along], -1)], -2)
    form = magnification.T @ form @ magnification
    mean = (form[..., 0, 0] + form[..., 1, 1]) / 2
    along, across = (form[..., 0, 0] - form[..., 1, 1]) / 2, form[..., 0, 1]
    half = np.hypot(along, across)
    return mean + half, mean - half, np.rad2deg(np.arctan2(across, along)) / 2
