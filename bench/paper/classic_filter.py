"""The product-form particle filter as THUNDER 1.4.14 has it by default, written from its published rules.

Rotations and shifts are two sets of points with weights of their own, never pairs: each round scores all pairs, adds
the likelihoods up along either axis and resamples both axes for themselves. New rotations are drawn from an angular
central Gaussian about the old ones, whose widths are those of the cloud; the flat prior is kept by weighing with one
over the fitted density. It replaces `pycryo.refinement.expectation.posterior.sample_posterior`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.draws import Draws, normal, uniform
from pycryo.filter.phases import PhaseSettings
from pycryo.filter.proposals import Widths
from pycryo.filter.resampling import resample
from pycryo.filter.support import Posterior, Support
from pycryo.geometry.rotations import conjugate, multiply, quaternion_to_matrix
from pycryo.kernels.compare_local import compare_local
from pycryo.refinement.expectation.posterior import Comparison

Array = NDArray[np.float64]

N_ROTATION, N_SHIFT = 125, 9
# Phases after a scan and in the local stage at least, and in all; the widths must fall to this share to go on.
_LEAST_GLOBAL, _LEAST_LOCAL, _MOST, _IMPROVED = 11, 4, 100, 0.95
# Width of a perturbation in units of the cloud's: of the first phase of the local stage, and of all others.
_LARGE, _SMALL = 2.0, 0.5
# Likelihoods of rotations below this share of the largest count as none.
_LEAST_PEAK = 1e-3


def sample(
    comparison: Comparison,
    start: Support,
    widths: Widths,
    draws: Draws,
    settings: PhaseSettings,
    *,
    r_high: float,
    **_: Any,
) -> Posterior:
    """The posterior of a batch; the arguments are those of `sample_posterior`."""
    ids, seed, stream = draws.ids, draws.seed, draws.stream
    near, n = comparison.target.between(1, r_high), len(ids)
    is_local = start.weight.shape[1] == N_ROTATION

    def key(purpose: int) -> int:
        return (stream << 12) + purpose

    offset = uniform(seed, key(0), ids, 2)
    if is_local:
        rotations, shifts = start.quaternion, start.shift[:, :N_SHIFT]
    else:
        pick_r = resample(start.weight, np.ascontiguousarray(offset[:, 0]), N_ROTATION)
        pick_t = resample(start.weight, np.ascontiguousarray(offset[:, 1]), N_SHIFT)
        rotations = np.take_along_axis(start.quaternion, pick_r[..., None], 1)
        shifts = np.take_along_axis(start.shift, pick_t[..., None], 1)
    mean, width = _cloud(rotations)
    deviation = shifts.std(axis=1)
    if not is_local:
        # Not narrower than the scan's own steps.
        width = np.maximum(width, np.square(widths.rotation[:, None]))
        deviation = np.maximum(deviation, 2 * widths.shift[:, None])
    active, best = np.arange(n), np.full((n, 3), np.inf)
    result = _empty(n)
    for phase in range(_MOST):
        factor = _LARGE if is_local and phase == 0 else _SMALL
        here = ids[active]
        moved = _perturbed(rotations, mean, factor * np.sqrt(np.minimum(width, 1)), seed, key(8 * phase + 1), here)
        step = normal(seed, key(8 * phase + 2), here, 2 * N_SHIFT).reshape(-1, N_SHIFT, 2)
        placed = shifts + factor * deviation[:, None] * step
        some = active if len(active) < n else slice(None)
        score = compare_local(
            comparison.volumes, quaternion_to_matrix(moved), placed, near.images[some], near.weights[some],
            near.pixels, scale=comparison.model_scale, threads=comparison.threads,
        ).astype(np.float64)  # fmt: skip
        mean, width = _cloud(moved)
        deviation = placed.std(axis=1)
        weight_r, weight_t = _balance_rotations(moved), _balance_shifts(placed, deviation)
        top = score.max(axis=(1, 2))
        likelihood = np.exp(score - top[:, None, None])
        along_r = np.einsum("nrt,nt->nr", likelihood, weight_t)
        along_t = np.einsum("nrt,nr->nt", likelihood, weight_r)
        kept = np.maximum(0, along_r - _LEAST_PEAK * along_r.max(axis=1, keepdims=True))
        draw = uniform(seed, key(8 * phase + 3), here, 2)
        pick_r = resample(_normalised(weight_r * kept), np.ascontiguousarray(draw[:, 0]), N_ROTATION)
        pick_t = resample(_normalised(weight_t * along_t), np.ascontiguousarray(draw[:, 1]), N_SHIFT)
        rows = np.arange(len(active))
        result.mode_quaternion[active] = moved[rows, along_r.argmax(axis=1)]
        result.mode_shift[active] = placed[rows, along_t.argmax(axis=1)]
        joint = _normalised((likelihood * weight_r[:, :, None] * weight_t[:, None]).reshape(len(active), -1))
        result.p_max[active] = joint.max(axis=1)
        result.n_significant[active] = 1 / np.square(joint).sum(axis=1)
        mass = np.einsum("nrt,nr,nt->n", likelihood, weight_r, weight_t)
        result.log_evidence[active] = top + np.log(np.maximum(mass, 1e-300))
        # The vector part of a quaternion is half the rotation vector.
        result.spread_rotation[active] = 2 * width.prod(axis=1) ** (1 / 6)
        result.spread_shift[active] = np.sqrt(deviation.prod(axis=1))
        result.n_slices[active] += N_ROTATION
        result.n_phases[active] += 1
        rotations = np.take_along_axis(moved, pick_r[..., None], 1)
        shifts = np.take_along_axis(placed, pick_t[..., None], 1)
        result.support.quaternion[active] = rotations
        result.support.shift[active] = shifts[:, np.arange(N_ROTATION) % N_SHIFT]
        if phase + 1 < (_LEAST_LOCAL if is_local else _LEAST_GLOBAL):
            continue
        figures = np.column_stack([width.prod(axis=1) ** (1 / 6), deviation])
        improved = (figures < _IMPROVED * best[active]).any(axis=1)
        best[active] = np.minimum(best[active], figures)
        if not improved.any():
            break
        active, rotations, shifts, mean, width, deviation = (
            each[improved] for each in (active, rotations, shifts, mean, width, deviation)
        )
    return result


def _cloud(rotations: Array) -> tuple[Array, Array]:
    """Mean (n, 4) and widths (n, 3) of the angular central Gaussian of clouds of rotations (n, m, 4)."""
    moments = np.einsum("nmi,nmj->nij", rotations, rotations) / rotations.shape[1]
    mean = np.linalg.eigh(moments)[1][:, :, -1]
    turns = multiply(rotations, conjugate(mean)[:, None])
    square = np.square(turns).mean(axis=1)
    return mean, np.maximum(square[:, 1:] / square[:, :1], 1e-12)


def _perturbed(rotations: Array, mean: Array, width: Array, seed: int, key: int, ids: NDArray[np.int64]) -> Array:
    """Rotations turned by draws of an angular central Gaussian, to the sign next to the mean."""
    n, m = rotations.shape[:2]
    turn = normal(seed, key, ids, 4 * m).reshape(n, m, 4)
    turn[..., 1:] *= width[:, None]
    moved = multiply(turn / np.linalg.norm(turn, axis=-1, keepdims=True), rotations)
    return np.asarray(moved * np.where(np.einsum("nmi,ni->nm", moved, mean) < 0, -1.0, 1.0)[..., None])


def _balance_rotations(rotations: Array) -> Array:
    """Weights ∝ 1/density of the angular central Gaussian fitted to the cloud: (xᵀA⁻¹x)²."""
    moments = np.einsum("nmi,nmj->nij", rotations, rotations) / rotations.shape[1]
    inverse = np.linalg.inv(moments + 1e-14 * np.eye(4))
    return _normalised(np.square(np.einsum("nmi,nij,nmj->nm", rotations, inverse, rotations)))


def _balance_shifts(shifts: Array, deviation: Array) -> Array:
    """Weights ∝ 1/density of the Gaussian of the cloud."""
    away = np.square((shifts - shifts.mean(axis=1, keepdims=True)) / np.maximum(deviation, 1e-9)[:, None]).sum(axis=-1)
    return _normalised(np.exp(0.5 * (away - away.max(axis=1, keepdims=True))))


def _normalised(weight: Array) -> Array:
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _empty(n: int) -> Posterior:
    support = Support(
        np.zeros((n, N_ROTATION, 4)),
        np.zeros((n, N_ROTATION, 2)),
        np.full((n, N_ROTATION), 1 / N_ROTATION),
        np.zeros((n, N_ROTATION), np.int32),
    )
    figures = np.zeros((7, n))
    counts = np.zeros((2, n), np.int64)
    mode = np.zeros((n, 4)), np.zeros((n, 2)), np.zeros(n, np.int32), np.ones((n, 1))
    return Posterior(support, *mode, *figures[:5], *counts, *figures[5:])
