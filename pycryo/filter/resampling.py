"""Resampling of weighted points: weights made flatter, systematic draws, points drawn several times merged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import pycryo.filter._weights as _weights
from pycryo.filter.support import Array
from pycryo.threads import get_threads


def resample(weight: Array, offset: Array, count: int) -> NDArray[np.int64]:
    """(n, count) ascending indices of the points of n images, drawn systematically.

    Parameters
    ----------
    weight : (n, m) float64
        Sum 1 of each image.
    offset : (n,) float64
        Where the comb of `count` teeth begins, in units of their distance; uniform in [0, 1) for an unbiased draw.
    count : int
    """
    return _weights.systematic_resample(weight, offset, count)


def flatten_weights(log_weight: Array, min_effective: float) -> Array:
    """(n, m) weights, sum 1, raised to the largest power ≤ 1 at which the effective sample size is `min_effective`.

    Of few points it is half their number; it is found to 1 % and never less. Points below exp(-60) of the heaviest
    one's weight have none.
    """
    return _weights.flatten_weights(log_weight, min_effective, get_threads())
