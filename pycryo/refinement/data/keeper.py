"""Who keeps the posteriors of the iteration that runs, so that a run that was killed need not find them again."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.support import Posterior, RowsPosterior


class Keeper(Protocol):
    """What the E-phase knows of `pycryo.refinement.files.saved.unfinished`.

    Posteriors are those that the search left: not yet dealt to classes, nor moved into the frame of the other half.
    """

    @property
    def kept(self) -> tuple[RowsPosterior | None, RowsPosterior | None]:
        """Those of this rank that an earlier run found in this iteration, of each half, with ascending rows."""

    @property
    def n_kept(self) -> int:
        """How many these are on all ranks together."""

    @property
    def n_score(self) -> NDArray[np.int64]:
        """(n_all,) scores that their scan took; 0 of those that were not scanned, or are of other ranks."""

    def add(self, rows: NDArray[np.int64], posterior: Posterior, n_score: NDArray[np.int64]) -> None:
        """Take those found now of the particles `rows`, with scores as in `n_score`; write now and then.

        Not collective.
        """
