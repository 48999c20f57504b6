"""Transforms of planes of a real grid along their two axes, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.fourier import fft, ifft, irfft, rfft
from pycryo.parallel.slabs.row_batches import in_cache


def read_planes(planes: NDArray[Any], rows: slice | NDArray[np.int64], points: NDArray[Any]) -> None:
    """Transform planes (m, n, n // 2 + 1), which are lost, to the points (m, n_row, n) of some rows. Not scaled."""
    spectrum = ifft(planes, axis=1, overwrite=True, scaled=False)[:, rows]
    for block in _blocks(points.shape[1], planes):
        points[:, block] = irfft(spectrum[:, block], points.shape[2], axis=2, scaled=False)


def write_planes(points: NDArray[Any], planes: NDArray[Any]) -> None:
    """Transform the grid points (m, n, n) of planes (m, n, n // 2 + 1)."""
    for block in _blocks(points.shape[1], planes):
        planes[:, block] = rfft(points[:, block], axis=2)
    spectrum = fft(planes, axis=1, overwrite=True)
    if not np.may_share_memory(spectrum, planes):
        planes[:] = spectrum


def _blocks(n_row: int, planes: NDArray[Any]) -> Iterator[slice]:
    """Parts of the rows of all planes."""
    step = in_cache(len(planes), planes.shape[2], planes.dtype)
    return (slice(first, min(n_row, first + step)) for first in range(0, n_row, step))
