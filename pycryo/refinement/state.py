"""What an iteration of a refinement takes from the one before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.support import RowsPosterior
from pycryo.maps.registration import Motion
from pycryo.maps.slab_map import SlabMap
from pycryo.refinement.optics.change import Change
from pycryo.refinement.schedule import Schedule

# Of each half, of each class.
Motions = tuple[tuple[Motion | None, ...], tuple[Motion | None, ...]]
# Of the two halves.
Pair = tuple[SlabMap, SlabMap]


@dataclass(frozen=True, slots=True)
class State:
    """What an iteration takes from the one before.

    Attributes
    ----------
    number : int
        Iterations done.
    schedule : Schedule
        Of the next iteration.
    references : tuple of Pair
        Of each class the two halves', dealt to all ranks; a run that begins with one reference for all its classes
        has one only.
    class_share : (n_class,) float64
        Prior of the classes, sum 1.
    noise : (n_group, n_shell) float64
        σ² per real component.
    scale : (n_group,) float64
        Grey scales of the optics groups.
    sigma_shift : float
        Shift prior per axis, Å.
    sigma_defocus : float or None
        Prior of the changes of the defocus, Å; None before they are searched.
    posteriors : two of (rows, Posterior) or None
        Of this rank's particles.
    insertion_weight : (n_all,) float64
        u_p of every particle.
    motions : two tuples of (Motion or None)
        Of the maps of each half and class, to be undone in the next iteration: against half 1, in the final iteration
        against the start; () for none.
    optics_changes : tuple of (group, Change)
        What was found of the optics groups, to be added to those of the file.
    """

    number: int
    schedule: Schedule
    references: tuple[Pair, ...]
    class_share: NDArray[np.float64]
    noise: NDArray[np.float64]
    scale: NDArray[np.float64]
    sigma_shift: float
    sigma_defocus: float | None
    posteriors: tuple[RowsPosterior | None, RowsPosterior | None]
    insertion_weight: NDArray[np.float64]
    motions: Motions = ((), ())
    optics_changes: tuple[tuple[int, Change], ...] = ()

    def __repr__(self) -> str:
        return f"State(after iteration {self.number}, next is {self.schedule.stage})"
