"""Float64 twin of `pycryo.kernels.shift`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def shift(
    images: NDArray[np.float64], kx: ArrayLike, ky: ArrayLike, shifts: NDArray[np.float64], box: int
) -> NDArray[np.float64]:
    """``images · exp(+2πi k·s / box)``; shapes as in `pycryo.kernels.shift.shift`."""
    phase = 2 * np.pi * (shifts[..., :1] * np.asarray(kx) + shifts[..., 1:] * np.asarray(ky)) / box
    values = (images[:, 0] + 1j * images[:, 1])[:, None] * np.exp(1j * phase)
    return np.stack([values.real, values.imag], axis=2)
