"""The particle filter on a posterior with two peaks: how its rotations gather, phase by phase."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from style import BLUE, GREY, ORANGE, panels, save

from pycryo.filter.draws import Draws
from pycryo.filter.pairs import Pairs
from pycryo.filter.phases import PhaseSettings, run_phases
from pycryo.filter.proposals import Widths
from pycryo.filter.support import Support

Array = NDArray[np.float64]

# Peaks of the posterior: rotation vector about y and z, degrees, and mass; all are so wide, degrees per axis.
_PEAKS = ((-1.0, 3.0, 0.75), (3.0, 11.0, 0.25))
_WIDTH = 1.8
# Kernels of the first phase, and distance of the rotations that the scan left, degrees: those of a scan of 9°.
_FIRST, _STEP = 4.5, 9.0


def _log_density(x: Array, y: Array, z: Array) -> Array:
    along = sum(m * np.exp(-(np.square(y - at_y) + np.square(z - at_z)) / 2 / _WIDTH**2) for at_y, at_z, m in _PEAKS)
    return np.asarray(np.log(along + 1e-300) - np.square(x / _WIDTH) / 2)


def _turns(vectors: Array) -> Array:
    """(n, 4) quaternions (w, x, y, z) of rotation vectors (n, 3), degrees."""
    angle = np.deg2rad(np.linalg.norm(vectors, axis=1, keepdims=True))
    axis = np.deg2rad(vectors) / np.maximum(angle, 1e-12)
    return np.concatenate([np.cos(angle / 2), np.sin(angle / 2) * axis], axis=1)


def _angles(quaternions: Array) -> Array:
    """(..., 3) rotation vectors of quaternions (w, x, y, z), degrees."""
    axis = quaternions[..., 1:] * np.sign(quaternions[..., :1])
    length = np.linalg.norm(axis, axis=-1, keepdims=True)
    turn = 2 * np.arctan2(length, np.abs(quaternions[..., :1]))
    return np.rad2deg(turn * axis / np.maximum(length, 1e-12))


def draw() -> None:
    """docs/images/method_filter.png"""
    met: list[tuple[Array, Array]] = []

    def score(rows: NDArray[np.int64], rotations: Array, classes: NDArray[np.int32], shifts: Array) -> Pairs:
        vector = _angles(rotations)
        log = _log_density(*np.moveaxis(vector, 2, 0))
        met.append((vector[0], np.exp(log[0] - log[0].max())))
        return Pairs(np.zeros((len(rows), rotations.shape[1], shifts.shape[1]), np.float32), log, 0 * shifts[..., 0])

    left = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, -1, 0], [0, 1, 0], [0, 0, -1]]) * _STEP + [0, 1.0, 4.0]
    n = len(left)
    scan = Support(_turns(left)[None], np.zeros((1, n, 2)), np.full((1, n), 1 / n), np.zeros((1, n), np.int32))
    widths = Widths(np.full(1, np.deg2rad(_FIRST)), np.ones(1), 1e-4, 1e-4)
    settings = PhaseSettings(n_rotation=64, min_phases=3, max_phases=3)
    found = run_phases(score, scan, widths, Draws(7, 0, np.zeros(1, np.int64)), settings)

    figure, axes = panels(1, 4, 2.3, sharey=True, sharex=True)
    z, y = np.meshgrid(np.linspace(-12, 22, 200), np.linspace(-14, 16, 200))
    for one in axes:
        one.contour(z, y, np.exp(_log_density(0 * z, y, z)), levels=[0.02, 0.12, 0.45], colors=BLUE, linewidths=0.9)
        one.set(xlim=(-12, 22), ylim=(-14, 16), xticks=[-10, 0, 10, 20], yticks=[-10, 0, 10])
    for phase, (vector, value) in enumerate(met):
        axes[phase].scatter(vector[:, 2], vector[:, 1], s=3, color=GREY, lw=0)
        axes[phase].scatter(vector[:, 2], vector[:, 1], s=80 * value, color=ORANGE, ec="black", lw=0.4)
        axes[phase].set_title(f"phase {phase + 1}: 64 draws")
    axes[0].plot(left[:, 2], left[:, 1], "x", color="black", ms=5)
    points, weight = _angles(found.support.quaternion[0]), found.support.weight[0]
    axes[3].scatter(points[:, 2], points[:, 1], s=700 * weight, color=ORANGE, ec="black", lw=0.4)
    axes[3].set_title("32 support points")
    axes[0].set_ylabel("turn about y, °")
    figure.supxlabel("turn about z, °", fontsize=9)
    save(figure, "filter")
