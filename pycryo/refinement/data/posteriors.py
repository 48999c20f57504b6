"""Posteriors of a rank: as plain arrays to be stored or sent, and in maps that are read elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.support import Posterior, RowsPosterior, Support
from pycryo.geometry.rotations import multiply, quaternion_to_matrix
from pycryo.maps.registration import Motion
from pycryo.refinement.data.partition import Partition

_SUPPORT = tuple(field.name for field in fields(Support))
_REST = tuple(field.name for field in fields(Posterior) if field.name != "support")
COLUMNS = (*_SUPPORT, *_REST)


def to_columns(
    partition: Partition, posteriors: tuple[RowsPosterior | None, RowsPosterior | None]
) -> dict[str, NDArray[Any]]:
    """The arrays by the names in `COLUMNS`, a row per particle in the order of `Partition.rows`.

    Nothing, if this rank has no posterior.
    """
    parts = []
    for half, found in enumerate(posteriors):
        if found is not None:
            rows, posterior = found
            order = np.argsort(rows)
            place = order[np.searchsorted(rows, partition.rows_of(half), sorter=order)]
            parts.append({name: data[place] for name, data in as_columns(posterior).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def from_columns(
    partition: Partition, columns: Mapping[str, NDArray[Any]]
) -> tuple[RowsPosterior | None, RowsPosterior | None]:
    """The posteriors of each half; None of a half that this rank has no particles of, or without columns."""
    found: list[RowsPosterior | None] = [None, None]
    for half in (0, 1):
        mine = partition.half[partition.rows] == half
        if columns and mine.any():
            found[half] = (partition.rows_of(half), of_columns({name: columns[name][mine] for name in COLUMNS}))
    return found[0], found[1]


def as_columns(posterior: Posterior) -> dict[str, NDArray[Any]]:
    """The arrays by the names in `COLUMNS`, in the order of the images."""
    support = {name: getattr(posterior.support, name) for name in _SUPPORT}
    return support | {name: getattr(posterior, name) for name in _REST}


def of_columns(columns: Mapping[str, NDArray[Any]]) -> Posterior:
    """The reverse of `as_columns`."""
    support = Support(*(columns[name] for name in _SUPPORT))
    return Posterior(support, *(columns[name] for name in _REST))


def moved_posteriors(
    posteriors: tuple[RowsPosterior | None, RowsPosterior | None],
    motions: tuple[tuple[Motion | None, ...], tuple[Motion | None, ...]],
    pixel_size: NDArray[np.float64],
) -> tuple[RowsPosterior | None, RowsPosterior | None]:
    """Those of both halves in the maps read at M u + c: `motions` of each half and class, `pixel_size` (n_all,), Å."""
    first, second = (
        None if found is None else (found[0], moved(found[1], of_half, pixel_size[found[0]]))
        for found, of_half in zip(posteriors, motions, strict=True)
    )
    return first, second


def moved(posterior: Posterior, motions: tuple[Motion | None, ...], pixel_size: NDArray[np.float64]) -> Posterior:
    """Poses in the maps read at M u + c, from those in the maps; `motions` of each class, `pixel_size` (n,) in Å."""
    for k, motion in enumerate(motions):
        if motion is not None:
            posterior = _moved(posterior, k, motion, pixel_size)
    return posterior


def _moved(posterior: Posterior, k: int, motion: Motion, pixel_size: NDArray[np.float64]) -> Posterior:
    """Poses of class k."""
    turn, support = motion.quaternion, posterior.support
    mine, mode_mine = support.class_index[..., None] == k, posterior.mode_class[:, None] == k

    def shifted(quaternion: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
        """A point M u + c is seen at A (M u + c) + t."""
        per_px = pixel_size.reshape((-1,) + (1,) * (shift.ndim - 1))
        return np.asarray(shift + (quaternion_to_matrix(quaternion)[..., :2, :] @ motion.move) / per_px)

    return replace(
        posterior,
        support=replace(
            support,
            quaternion=np.where(mine, multiply(support.quaternion, turn), support.quaternion),
            shift=np.where(mine, shifted(support.quaternion, support.shift), support.shift),
        ),
        mode_quaternion=np.where(mode_mine, multiply(posterior.mode_quaternion, turn), posterior.mode_quaternion),
        mode_shift=np.where(mode_mine, shifted(posterior.mode_quaternion, posterior.mode_shift), posterior.mode_shift),
    )


def with_file_defocus(found: RowsPosterior | None) -> RowsPosterior | None:
    """The posteriors without the changes of the defocus that were found."""
    if found is None:
        return None
    zero = np.zeros(len(found[0]))
    return found[0], replace(found[1], defocus_change=zero, spread_defocus=zero)
