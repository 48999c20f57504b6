"""How many rows or planes are transformed at a time, and memory for them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Bytes that are transformed at a time: fewer cost more calls, larger arrays would go back to the system each time, and
# getting them anew cost a third of the transform.
_BYTES = 256 << 10


def in_cache(n: int, width: int, dtype: DTypeLike) -> int:
    """How many arrays (n, width) are transformed at a time."""
    return max(1, _BYTES // (n * width * np.dtype(dtype).itemsize))


def batches(rows: Sequence[int], widths: NDArray[np.int64], n: int, dtype: DTypeLike) -> list[Sequence[int]]:
    """Rows (n, widths[row]) in their order, cut into those of one width that are transformed at a time."""
    found: list[Sequence[int]] = []
    first = 0
    while first < len(rows):
        width = int(widths[rows[first]])
        end = min(len(rows), first + in_cache(n, width, dtype))
        end = next((i for i in range(first, end) if widths[rows[i]] != width), end)
        found.append(rows[first:end])
        first = end
    return found


class RowMemory(threading.local):
    """Memory of each thread for rows, so that the allocator keeps no pieces of all sizes.

    Parameters
    ----------
    n, width : int
        Rows and columns of the largest array.
    dtype : type
    """

    def __init__(self, n: int, width: int, dtype: type) -> None:
        self._n = n
        self._flat: NDArray[Any] = np.empty(max(n * width, _BYTES // np.dtype(dtype).itemsize), dtype)

    def samples(self, count: int, width: int) -> NDArray[Any]:
        """(count, n, width) zeros, as many as `batches` has at a time."""
        array = self._flat[: count * self._n * width].reshape(count, self._n, width)
        array[:] = 0
        return array
