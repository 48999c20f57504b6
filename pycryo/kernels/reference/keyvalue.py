"""Twin of `pycryo.kernels.keyvalue`: dictionaries from voxel to sums."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Sums = dict[int, tuple[complex, float]]


def to_key_values(value: NDArray[np.complex128], weight: NDArray[np.float64], first: int) -> Sums:
    """Those of dense sums that are not zero; `first` is the number of the first voxel."""
    touched = np.flatnonzero((value != 0) | (weight != 0))
    return {first + int(i): (complex(value[i]), float(weight[i])) for i in touched}


def merge_key_values(parts: Iterable[Sums]) -> Sums:
    """All sums, of each voxel in the order of the parts, sorted by voxel."""
    merged: Sums = {}
    for part in parts:
        for key, (value, weight) in part.items():
            before = merged.get(key, (0j, 0.0))
            merged[key] = (before[0] + value, before[1] + weight)
    return dict(sorted(merged.items()))
