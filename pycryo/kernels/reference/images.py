"""Float64 twin of `pycryo.kernels.images`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def images(samples: NDArray[np.float64], kx: ArrayLike, ky: ArrayLike, box: int) -> NDArray[np.float64]:
    """(n, box, box) sums of waves; arguments as in `pycryo.kernels.images.images`."""
    at = np.arange(box) - box // 2
    along_x, along_y = (np.exp(2j * np.pi * np.outer(at, np.asarray(k)) / box) for k in (kx, ky))
    # Each sample stands for its conjugate, too, but that of k = 0.
    twice = np.where((np.asarray(kx) == 0) & (np.asarray(ky) == 0), 1, 2)
    values = (samples[:, 0] + 1j * samples[:, 1]) * twice / box**2
    return np.asarray(np.einsum("nk,yk,xk->nyx", values, along_y, along_x, optimize=True).real)
