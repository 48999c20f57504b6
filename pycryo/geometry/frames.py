"""Frames: where a point group's axes may lie, as rotations from the convention's axes (`pycryo.maps.symmetry_axes`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry.grids import rotation_count, rotation_grid
from pycryo.geometry.rotations import conjugate, multiply, quaternion_to_matrix
from pycryo.geometry.symmetry import Symmetry, symmetry

Array = NDArray[np.float64]


def single_axis(group: Symmetry) -> int | None:
    """Which coordinate axis a cyclic group turns about: 2, of D1 0; None for the other groups."""
    if group.name == "D1":
        return 0
    return 2 if group.name[0] == "C" else None


def normaliser_of(group: Symmetry) -> Symmetry:
    """Rotations that bring a group's axes onto themselves; for a single axis, the group itself."""
    if group.name == "D2":
        return symmetry("O")
    if group.name == "T":
        return Symmetry("T", _with_quarter_turns(group))
    if group.name[0] == "D" and group.name != "D1":
        return symmetry(f"D{len(group)}")
    return group


def _with_quarter_turns(group: Symmetry) -> Array:
    """(24, 4) T and its product with a quarter turn about one of its 2-fold axes: O about the axes of T."""
    half_turn = group.quaternions[np.abs(group.quaternions[:, 0]).argmin()]
    quarter = (half_turn + np.array([1.0, 0, 0, 0])) / np.sqrt(2)
    return np.concatenate([group.quaternions, multiply(group.quaternions, quarter)])


def least_turn(direction: Array, axis: int) -> Array:
    """(4,) the smallest rotation that takes a coordinate axis to a line along `direction` (3,)."""
    start = np.eye(3)[axis]
    end = direction if direction @ start >= 0 else -direction
    quaternion = np.concatenate([[1 + start @ end], np.cross(start, end)])
    return np.asarray(quaternion / np.linalg.norm(quaternion))


def frame_grid(group: Symmetry, step: float) -> Array:
    """(n, 4) frames, the identity first, one about every `step` radians; a single axis along all directions."""
    axis = single_axis(group)
    if axis is None:
        normaliser = normaliser_of(group)
        grid = rotation_grid(rotation_count(step, normaliser), normaliser)
    else:
        n = round(2 * np.pi / step**2)
        height = (np.arange(n) + 0.5) / n
        turn = np.pi * (1 + np.sqrt(5)) * np.arange(n)
        across = np.sqrt(1 - height**2)
        directions = np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=-1)
        grid = np.array([least_turn(np.roll(direction, axis + 1), axis) for direction in directions])
    return np.concatenate([[[1.0, 0.0, 0.0, 0.0]], grid])


def best_apart(frames: Array, scores: Array, group: Symmetry, n: int, angle: float) -> list[Array]:
    """The `n` best frames (4,) that are not within `angle` radians of better ones."""
    normaliser, axis = normaliser_of(group), single_axis(group)
    chosen: list[Array] = []
    for frame in frames[np.argsort(-scores, kind="stable")]:
        for other in chosen:
            if axis is None:
                cosine = np.abs(normaliser.equivalents(frame) @ other).max()
                away = 2 * np.arccos(min(1.0, float(cosine)))
            else:
                cosine = quaternion_to_matrix(frame)[:, axis] @ quaternion_to_matrix(other)[:, axis]
                away = np.arccos(min(1.0, abs(float(cosine))))
            if away < angle:
                break
        else:
            chosen.append(frame)
            if len(chosen) == n:
                break
    return chosen


def turns_without_inverses(group: Symmetry) -> Array:
    """(t, 4) rotations of the group but the identity, one of each pair of inverses: both have the same correlation."""
    kept: list[Array] = []
    for each in group.quaternions[1:]:
        if not any(abs(float(each @ conjugate(other))) > 1 - 1e-9 for other in kept):
            kept.append(each)
    return np.array(kept)


def some_turns(group: Symmetry, n: int) -> Array:
    """(t, 4) up to `n` rotations, evenly from the list without inverses: together they make the group."""
    turns = turns_without_inverses(group)
    some = np.unique(np.linspace(0, len(turns) - 1, min(n, len(turns))).round().astype(np.int64))
    return np.asarray(turns[some])
