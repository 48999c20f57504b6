"""Slices of the references of several classes, each pose in the reference of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.pixels import Pixels
from pycryo.kernels.projector import FourierVolume, project_slices


def class_slices(
    volumes: Sequence[FourierVolume],
    classes: NDArray[np.int32],
    rotations: NDArray[np.float64],
    pixels: Pixels,
    scale: float,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """(n, 2, n_pixel) slices at `rotations` (n, 3, 3), each of the volume that `classes` (n,) names.

    `scale` is Fourier px of the volumes per Fourier px of the images, see `pycryo.kernels.projector.project_slices`.
    """
    if len(volumes) == 1:
        return project_slices(volumes[0], rotations, pixels.kx, pixels.ky, scale=scale, threads=threads)
    slices = np.empty((len(rotations), 2, len(pixels)), np.float32)
    for k, volume in enumerate(volumes):
        mine = np.flatnonzero(classes == k)
        slices[mine] = project_slices(volume, rotations[mine], pixels.kx, pixels.ky, scale=scale, threads=threads)
    return slices
