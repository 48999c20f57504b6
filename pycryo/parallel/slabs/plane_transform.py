"""Transforms of one plane of a real grid along its two axes, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Bytes of the rows of a plane that are transformed at a time: larger arrays would go back to the system each time, and
# getting them anew cost a third of the transform.
_BLOCK_BYTES = 256 << 10


def read_plane(plane: NDArray[Any], rows: slice | NDArray[np.int64], points: NDArray[Any]) -> None:
    """Transform a plane (n, n // 2 + 1), which is lost, to the grid points (n_row, n) of some rows. Not scaled."""
    import scipy.fft

    spectrum = scipy.fft.ifft(plane, axis=0, overwrite_x=True, norm="forward")[rows]
    for block in _blocks(len(points), plane):
        points[block] = scipy.fft.irfft(spectrum[block], points.shape[1], axis=1, norm="forward")


def write_plane(points: NDArray[Any], plane: NDArray[Any]) -> None:
    """Transform the grid points (n, n) of a plane (n, n // 2 + 1)."""
    import scipy.fft

    for block in _blocks(len(points), plane):
        plane[block] = scipy.fft.rfft(points[block], axis=1)
    spectrum = scipy.fft.fft(plane, axis=0, overwrite_x=True)
    if not np.may_share_memory(spectrum, plane):
        plane[:] = spectrum


def _blocks(n_row: int, plane: NDArray[Any]) -> Iterator[slice]:
    """Parts of the rows of a plane."""
    step = max(1, _BLOCK_BYTES // (plane.shape[1] * plane.itemsize))
    return (slice(first, min(n_row, first + step)) for first in range(0, n_row, step))
