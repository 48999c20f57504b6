"""Float64 twin of `pycryo.kernels.compare_local`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.pixels import Pixels
from pycryo.kernels.reference.projector import project_slices
from pycryo.kernels.reference.shift import shift


def compare_local(
    volume: NDArray[np.complex128],
    rotations: NDArray[np.float64],
    shifts: NDArray[np.float64],
    images: NDArray[np.float64],
    weights: NDArray[np.float64],
    pixels: Pixels,
    *,
    step: float,
) -> NDArray[np.float64]:
    """Scores as in `pycryo.kernels.compare_local`; `volume`, `step` as in the twin of the projector."""
    scores = np.empty((len(images), rotations.shape[1], shifts.shape[1]))
    for i in range(len(images)):
        slices = project_slices(volume, rotations[i], pixels.kx, pixels.ky, step)
        moved = shift(images[i : i + 1], pixels.kx, pixels.ky, shifts[i : i + 1], pixels.box)[0]
        power = np.einsum("k,rck->r", weights[i], slices**2)
        scores[i] = np.einsum("tck,rck->rt", moved, slices) - power[:, None] / 2
    return scores
