"""Posteriors of a rank as plain arrays, one row per particle in the order of `Share.rows`: to be stored or sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.support import Posterior, Support
from pycryo.refinement.data.dataset import Share
from pycryo.refinement.state import RowsPosterior

_SUPPORT = tuple(field.name for field in fields(Support))
_REST = tuple(field.name for field in fields(Posterior) if field.name != "support")
COLUMNS = (*_SUPPORT, *_REST)


def to_columns(share: Share, posteriors: tuple[RowsPosterior | None, RowsPosterior | None]) -> dict[str, NDArray[Any]]:
    """The arrays by the names in `COLUMNS`; nothing if this rank has no posterior."""
    parts = []
    for half, found in enumerate(posteriors):
        if found is not None:
            rows, posterior = found
            order = np.argsort(rows)
            place = order[np.searchsorted(rows, share.rows_of(half), sorter=order)]
            arrays = {name: getattr(posterior.support, name) for name in _SUPPORT}
            arrays |= {name: getattr(posterior, name) for name in _REST}
            parts.append({name: data[place] for name, data in arrays.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def from_columns(
    share: Share, columns: Mapping[str, NDArray[Any]]
) -> tuple[RowsPosterior | None, RowsPosterior | None]:
    """The posteriors of each half; None of a half that this rank has no particles of, or without columns."""
    found: list[RowsPosterior | None] = [None, None]
    for half in (0, 1):
        mine = share.half[share.rows] == half
        if columns and mine.any():
            support = Support(*(columns[name][mine] for name in _SUPPORT))
            found[half] = (share.rows_of(half), Posterior(support, *(columns[name][mine] for name in _REST)))
    return found[0], found[1]
