"""The Fourier transform of a small map at any frequency, with its slope: cubic splines of a padded transform."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

# Samples per Fourier px.
_PADDING = 3


class SplineTransform:
    """Transform Σ V(u) exp(-2πi u·k / box) of a map up to a frequency; exact where k is a whole number / 3.

    Parameters
    ----------
    data : (box, box, box) real
        Axes (z, y, x), the origin of u at ``box // 2``.
    r_high : float
        Largest \\|k\\| that is read, Fourier px.
    """

    def __init__(self, data: NDArray[np.floating], r_high: float) -> None:
        box = len(data)
        u = np.arange(box) - box // 2
        # A point is read from the samples one before to two after it.
        self._reach = int(np.ceil(_PADDING * r_high)) + 2
        angle = 2 * np.pi / (_PADDING * box)
        # The transform of a cubic spline's coefficients times this is that of the samples that it goes through.
        spread = (2 + np.cos(angle * u)) / 3
        waves = np.exp(-1j * angle * np.outer(u, np.arange(-self._reach, self._reach + 1))) / spread[:, None]
        # The map is real: what is at x < 0 is read at -k.
        half = waves[:, self._reach - 1 :]
        along_x = data.reshape(-1, box) @ np.concatenate([half.real, half.imag], axis=1)
        rows = (along_x[:, : half.shape[1]] + 1j * along_x[:, half.shape[1] :]).reshape(box, box, -1)
        planes = (waves.T @ rows).reshape(box, -1)
        shape = (waves.shape[1], waves.shape[1], half.shape[1])
        self._coefficients: Complex = (waves.T @ planes).ravel()
        self._strides = np.array([1, shape[2], shape[1] * shape[2]])
        z, y, x = np.indices((4, 4, 4)).reshape(3, -1)
        self._taps = np.stack([x, y, z], axis=1) @ self._strides

    def read(self, at: Array) -> tuple[Complex, Complex]:
        """Values (n,) and their slopes (n, 3) along x, y, z per Fourier px at frequencies (n, 3), Fourier px."""
        is_mirrored = at[:, 0] < 0
        points = np.where(is_mirrored, -_PADDING, _PADDING)[:, None] * at
        before = np.floor(points)
        weights = _weights(points - before)
        first = (before.astype(np.int64) + np.array([0, self._reach - 1, self._reach - 1])) @ self._strides
        taps = self._coefficients.take(first[:, None] + self._taps).view(np.float64)
        n = len(at)
        # Value and slope along z, then along y of both but for the slope of the slope, then along x.
        z = (weights[:, 2] @ taps.reshape(n, 4, 32)).reshape(n, 2, 4, 8)
        y = (weights[:, None, 1] @ z).reshape(n, 4, 4, 2)[:, :3]
        x = (weights[:, None, 0] @ y).reshape(n, 6, 2)[:, [0, 1, 2, 4]]
        found = x.view(np.complex128)[..., 0]
        found[is_mirrored] = found[is_mirrored].conj()
        found[:, 1:] *= np.where(is_mirrored, -_PADDING, _PADDING)[:, None]
        return found[:, 0], found[:, 1:]


def _weights(fraction: Array) -> Array:
    """(..., 2, 4) cubic B-splines, and their slopes, of the samples about points `fraction` (...) beyond the second."""
    f = fraction
    g = 1 - f
    value = [g**3 / 6, 2 / 3 - f**2 * (1 + g) / 2, 2 / 3 - g**2 * (1 + f) / 2, f**3 / 6]
    slope = [-(g**2) / 2, f * (3 * f - 4) / 2, -g * (3 * g - 4) / 2, f**2 / 2]
    return np.stack([np.stack(value, axis=-1), np.stack(slope, axis=-1)], axis=-2)
