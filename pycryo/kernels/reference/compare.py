"""Float64 twin of `pycryo.kernels.compare`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.compare import CELL_SLICES

Float = NDArray[np.float64]


def scores(
    images: Float,
    weights: Float,
    slices: Float,
    log_prior_shift: Float | None = None,
    log_prior_slice: Float | None = None,
    active: NDArray[np.bool_] | None = None,
) -> Float:
    """Scores (n_image, n_shift, n_slice), -∞ where a cell is not active; arguments as in `pycryo.kernels.compare`."""
    cross = np.einsum("itck,sck->its", images, slices)
    norm = np.einsum("ik,sck->is", weights, slices**2)
    result: Float = cross - norm[:, None] / 2
    if log_prior_shift is not None:
        result = result + log_prior_shift[:, :, None]
    if log_prior_slice is not None:
        result = result + log_prior_slice
    if active is not None:
        result[~np.broadcast_to(np.repeat(active, CELL_SLICES, 1)[:, None, : len(slices)], result.shape)] = -np.inf
    return result


def log_sum_exp(scores: Float) -> Float:
    """log Σ exp(score) of each image, (n_image,)."""
    result: Float = np.logaddexp.reduce(scores.reshape(len(scores), -1), axis=1)
    return result


def best_poses(scores: Float, n_best: int) -> tuple[Float, NDArray[np.int64]]:
    """Best scores and their indices slice·n_shift + shift, (n_image, n_best); -∞ and -1 where there are fewer."""
    flat = scores.transpose(0, 2, 1).reshape(len(scores), -1)
    order = np.argsort(-flat, axis=1, kind="stable")[:, :n_best]
    best, index = np.full((len(scores), n_best), -np.inf), np.full((len(scores), n_best), -1, np.int64)
    best[:, : order.shape[1]] = np.take_along_axis(flat, order, axis=1)
    index[:, : order.shape[1]] = order
    index[np.isneginf(best)] = -1
    return best, index
