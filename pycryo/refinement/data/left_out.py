"""Particles that are not used, and why."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.batches import Batch, find_bad_images
from pycryo.io.particles import Particles
from pycryo.parallel.comm import Comm
from pycryo.report.verdict import CONSTANT, NOT_FINITE, left_out_text

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Rows of the particles that are not used, ascending, by reason; a row has one reason."""

    by_reason: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def also(self, reason: str, rows: NDArray[np.int64]) -> LeftOut:
        """With more rows; those that are left out already keep their reason."""
        more = np.setdiff1d(rows, self.rows)
        if not len(more):
            return self
        before = self.by_reason.get(reason, np.empty(0, np.int64))
        return LeftOut({**self.by_reason, reason: np.union1d(before, more)})

    @property
    def rows(self) -> NDArray[np.int64]:
        """(n,) rows of all, ascending."""
        return np.sort(np.concatenate([np.empty(0, np.int64), *self.by_reason.values()]))

    @property
    def reasons(self) -> NDArray[np.object_]:
        """(n,) reason of each of `rows`."""
        rows = self.rows
        found = np.zeros(len(rows), object)
        for reason, some in self.by_reason.items():
            found[np.searchsorted(rows, some)] = reason
        return found

    @property
    def counts(self) -> dict[str, int]:
        """Particles of each reason that has any."""
        return {reason: len(rows) for reason, rows in self.by_reason.items() if len(rows)}


def sort_out(batch: Batch, bad: dict[str, list[int]]) -> NDArray[np.bool_]:
    """Images (n,) of a batch that can be used by themselves; the rows of others are added to `bad`, by reason."""
    wrong = find_bad_images(batch.images)
    for i in np.flatnonzero(wrong).tolist():
        reason = CONSTANT if np.isfinite(batch.images[i]).all() else NOT_FINITE
        bad.setdefault(reason, []).append(int(batch.rows[i]))
    return ~wrong


def gathered(comm: Comm, bad: Mapping[str, list[int]]) -> LeftOut:
    """What all ranks cannot use, in the order of the reasons' names. Collective."""
    result = LeftOut()
    parts = comm.all_gather(dict(bad))
    for reason in sorted({name for part in parts for name in part}):
        rows = [np.asarray(part.get(reason, []), np.int64) for part in parts]
        result = result.also(reason, np.concatenate(rows))
    return result


def names_of(particles: Particles, rows: NDArray[np.int64]) -> str:
    """The first ten of some particles, for a message."""
    names = ", ".join(particles.label(row) for row in rows[:10].tolist())
    return names + (f" and {len(rows) - 10} more" if len(rows) > 10 else "")


def refuse_too_many_bad(particles: Particles, left_out: LeftOut, max_fraction: float) -> None:
    """List the unusable images; stop if they are too many.

    Raises
    ------
    InputError
        If more than `max_fraction` of the images are unusable.
    """
    rows = left_out.rows
    if not len(rows):
        return
    shown, why = names_of(particles, rows), left_out_text(left_out.counts)
    if len(rows) == particles.n or len(rows) > max_fraction * particles.n:
        raise InputError(
            f"{len(rows)} of {particles.n} images cannot be used: {why} ({shown}), more than the share "
            f"{max_fraction:g} that --max-bad-fraction allows: remove them or allow more"
        )
    log.warning("left out %d images: %s (%s)", len(rows), why, shown)
