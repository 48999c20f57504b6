"""What an iteration of a refinement shows: its figures, poses and maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.maps.fsc import Fsc
from pycryo.maps.slab_map import SlabMap
from pycryo.refinement.optics.found import Found
from pycryo.refinement.setup import Setup
from pycryo.refinement.state import Pair, State


@dataclass(frozen=True, slots=True)
class Load:
    """What the ranks did in the E-phase of an iteration; lists have one entry per rank of the run.

    Attributes
    ----------
    particles : list of int
        Compared.
    busy : list of float
        Seconds of work: reading, sampling slices, comparing, phases, insertion.
    fixed : list of float
        Those of them that do not grow with the particles held: sampling slices of the scan.
    idle : list of float
        Seconds of waiting for others: in the conveyor for late neighbours, and at the end of the E-phase.
    exposed : list of float
        Seconds of waiting for messages on their way.
    made : list of int
        Slices sampled for the scan.
    n_byte : list of int
        Sent.
    way : str
        How slices got from rank to rank, see `pycryo.parallel.conveyor.WAYS`; empty in the local stage.
    ring_size : int
        Ranks that slices went round.
    hidden : float or None
        Share of the communication that hid behind the comparison; None where there was none.
    """

    particles: list[int]
    busy: list[float]
    fixed: list[float]
    idle: list[float]
    exposed: list[float]
    made: list[int]
    n_byte: list[int]
    way: str
    ring_size: int
    hidden: float | None


@dataclass(frozen=True, slots=True)
class Record:
    """Figures of one iteration, as run.json holds them: Å, degrees, seconds, shells.

    `resolution` is that of the best class, in the final iteration no better than what the poses support;
    `class_resolution` and `class_share` are lists of all classes, `class_change` is the share of the images whose
    class is another one than in the last iteration. `scores_scan` are the scores per image of the global scan at its
    full resolution, `scores_scan_all` those of all pairs of slices and shifts; spreads, effective sample sizes,
    `changed_mode`, `broad_share`, phases and slices per image, `score_threshold` and `n_junk` are those of
    `pycryo.refinement.maximization.pose_figures.PoseFigures`. `defocus_change` is the median size of what is added to
    the defocus, `defocus_moved` that of its difference to the last iteration; both, `spread_defocus` and the prior
    `sigma_defocus` are 0 before the defocus is searched.
    """

    number: int
    stage: str
    r_high: float
    resolution: float
    class_resolution: list[float]
    class_share: list[float]
    class_change: float
    pose_change: float
    spread_rotation: float
    spread_shift: float
    sigma_shift: float
    defocus_change: float
    defocus_moved: float
    spread_defocus: float
    sigma_defocus: float
    spread_in_plane: float
    spread_tilt: float
    effective_mean: float
    effective_median: float
    changed_mode: float
    broad_share: float
    phases_per_image: float
    slices_per_image: float
    n_slices_scan: int
    scores_scan: float
    scores_scan_all: float
    p_max: float
    log_evidence: float
    score_threshold: float
    n_junk: int
    gridding_iterations: int
    gridding_deviation: float
    seconds: dict[str, float]
    load: Load
    decision: str

    def __repr__(self) -> str:
        return f"Record({self.number}, {self.stage}, {self.resolution:.4g} Å, rotations to {self.spread_rotation:.2g}°)"


@dataclass(frozen=True, slots=True)
class Poses:
    """Poses of all particles, gathered.

    Attributes
    ----------
    rows : (n,) int64
        Rows of `Particles`, ascending.
    quaternion : (n, 4) float64
    shift : (n, 2) float64
        Where the particle sits (minus RELION's origin), Å.
    defocus_change : (n,) float64
        What is added to U and V, Å.
    class_index : (n,) int32
        The most probable class, from 0.
    p_max, n_significant, log_evidence, figure_of_merit : (n,) float64
        See `pycryo.filter.support.Posterior`; the last is the score of `pycryo.refinement.data.figure_of_merit`.
    """

    rows: NDArray[np.int64]
    quaternion: NDArray[np.float64]
    shift: NDArray[np.float64]
    defocus_change: NDArray[np.float64]
    class_index: NDArray[np.int32]
    p_max: NDArray[np.float64]
    n_significant: NDArray[np.float64]
    log_evidence: NDArray[np.float64]
    figure_of_merit: NDArray[np.float64]

    def __repr__(self) -> str:
        return f"Poses({len(self.rows)} particles)"


@dataclass(frozen=True, slots=True)
class ClassMaps:
    """Maps of one class, dealt to all ranks, on `pycryo.model.solve.grid_box` points over the field of view.

    Attributes
    ----------
    half_maps : two SlabMap
        Not regularised.
    fsc : Fsc
    mask : SlabMap
    map : SlabMap or None
        Of all data, in the final iteration.
    """

    half_maps: Pair
    fsc: Fsc
    mask: SlabMap
    map: SlabMap | None

    def __repr__(self) -> str:
        return f"ClassMaps({self.fsc})"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an iteration shows; `classes` holds the maps of each, `poses` are on rank 0 only (None elsewhere).

    `optics` is what was found after the iteration, if anything was.
    """

    state: State
    record: Record
    classes: tuple[ClassMaps, ...]
    poses: Poses | None
    optics: Found | None = None

    def __repr__(self) -> str:
        record = self.record
        return f"Outcome(iteration {record.number}, {record.stage}, {record.resolution:.4g} Å)"

    @property
    def is_final(self) -> bool:
        """Whether the maps of all data are there."""
        return self.classes[0].map is not None


# Called on every rank after each iteration, with the records so far. True of rank 0 ends the run: one more iteration,
# and the final one.
Observer = Callable[[Setup, Outcome, list[Record]], object]
