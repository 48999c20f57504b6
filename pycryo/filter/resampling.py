"""Resampling of weighted points: weights made flatter, systematic draws, points drawn several times merged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.filter._sampling import systematic_resample
from pycryo.filter.support import Array


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
    return np.asarray(systematic_resample(weight, offset, count))


def flatten_weights(log_weight: Array, min_effective: float) -> Array:
    """(n, m) weights, sum 1, raised to the largest power ≤ 1 at which the effective sample size is `min_effective`."""
    m = log_weight.shape[1]
    goal = min(min_effective, 0.5 * m)
    relative = log_weight - log_weight.max(axis=1, keepdims=True)
    low, high = np.full(len(relative), 1e-9), np.ones(len(relative))
    power = high.copy()
    for _ in range(12):
        weight = np.exp(relative * power[:, None])
        effective = weight.sum(1) ** 2 / np.square(weight).sum(1)
        enough = effective >= goal
        if enough.all() and (power == 1).all():
            break
        low, high = np.where(enough, power, low), np.where(enough, high, power)
        power = np.where(enough & (power == 1), 1.0, np.sqrt(low * high))
    weight = np.exp(relative * np.where(power == 1, 1.0, low)[:, None])
    return np.asarray(weight / weight.sum(1, keepdims=True))


def merge_repeats(picked: NDArray[np.int64]) -> Array:
    """Weights of systematically drawn indices (ascending rows): a repeated index counts at its first place."""
    n, m = picked.shape
    first = np.ones((n, m), bool)
    first[:, 1:] = picked[:, 1:] != picked[:, :-1]
    group = np.cumsum(first, axis=1) - 1 + np.arange(n)[:, None] * m
    counts = np.bincount(group.ravel(), minlength=n * m)
    return np.asarray(np.where(first, counts[group], 0) / m)
