"""What stays the same from the first iteration of a refinement to the last."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry.symmetry import Symmetry
from pycryo.maps.slab_map import SlabMap
from pycryo.model.owners import Owners
from pycryo.refinement.data.image_statistics import ImageStatistics
from pycryo.refinement.data.partition import Partition
from pycryo.refinement.data.prior import PosePrior
from pycryo.refinement.data.solvent import Solvent
from pycryo.refinement.expectation.slice_sharing import Rates
from pycryo.refinement.files.background import Background
from pycryo.refinement.options import RefineOptions


@dataclass(frozen=True, slots=True)
class Setup:
    """What stays the same from the first iteration to the last.

    Attributes
    ----------
    partition : Partition
        This rank's part of the data.
    options : RefineOptions
    group : Symmetry
    box, pixel_size : int, float
        Of the model: those of most images, px and Å.
    diameter : float
        Of the particle, Å.
    owners : two Owners
        Of the model of each half.
    user_mask : SlabMap or None
    statistics : ImageStatistics
    memory : float
        Bytes for the images of a global search on this rank.
    starts : tuple of SlabMap
        The reference that the run begins with, or that of each class, on a coarse grid: its frame is kept
        (`pycryo.refinement.maximization.drift`).
    reference_mark : str
        By which these references are recognised.
    signal : (box // 2 + 1,) float64
        See `pycryo.refinement.data.signal_power.signal_power`.
    prior : PosePrior or None
        Of the poses of each particle.
    rates : list of two (Rates or None)
        Speeds of the ranks of each half; the first global search measures them.
    background : Background
        Where files are finished while the next iteration computes.
    """

    partition: Partition
    options: RefineOptions
    group: Symmetry
    box: int
    pixel_size: float
    diameter: float
    owners: tuple[Owners, Owners]
    user_mask: SlabMap | None
    statistics: ImageStatistics
    memory: float
    starts: tuple[SlabMap, ...]
    reference_mark: str
    signal: NDArray[np.float64]
    prior: PosePrior | None = None
    rates: list[Rates | None] = field(default_factory=lambda: [None, None])
    background: Background = field(default_factory=Background)

    def __repr__(self) -> str:
        return f"Setup({self.partition.n} particles, {self.group.name}, {self.box} px, {self.pixel_size:.6g} Å/px)"

    def free(self) -> None:
        """Give back the communicators of the halves. Collective."""
        self.partition.free()
        for each in self.owners:
            each.free()

    @property
    def field_of_view(self) -> float:
        """Edge of the box, Å."""
        return self.box * self.pixel_size

    @property
    def solvent(self) -> Solvent:
        """What masks of the references are made of."""
        return Solvent(self.partition.comm, self.field_of_view, self.diameter, self.user_mask)
