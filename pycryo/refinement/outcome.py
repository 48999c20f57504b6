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
    """Figures of one iteration, as run.json holds them. Medians are over the images that look like particles.

    Attributes
    ----------
    number : int
        Of the iteration, from 1.
    stage : str
        "global", "local", "defocus", "optics" or "final".
    r_high : float
        Samples below it were compared, Fourier px.
    resolution : float
        Of the best class, Å; in the final iteration no better than what the poses support.
    class_resolution, class_share : list of float
        Resolution of each class, Å, and its part of the particles.
    class_change : float
        Share of the images whose class is another one than in the last iteration.
    pose_change : float
        Median angle between the modes of this iteration and the last, degrees; infinite in the first.
    spread_rotation, spread_shift : float
        Median spreads of the posteriors per axis, degrees and Å.
    sigma_shift : float
        Spread of the shifts over the particles, per axis, Å.
    defocus_change, defocus_moved : float
        Median size of what is added to the defocus, and of its difference to the last iteration, Å.
    spread_defocus, sigma_defocus : float
        Median spread of the defocus, and the width of its prior, Å. These four are 0 before the defocus is searched.
    spread_in_plane, spread_tilt : float
        Median spreads of the rotations about the viewing axis, and per axis across it, degrees.
    effective_mean, effective_median : float
        Effective sample size of the last phase.
    changed_mode : float
        Share of the images whose mode moved by more than 10° and 3 spreads.
    broad_share : float
        Share of the images whose posterior is too broad for a local search.
    phases_per_image, slices_per_image : float
        Mean number of phases, and of slices that an image was compared with in them.
    n_slices_scan : int
        Slices of the global scan; 0 if there was none.
    scores_scan, scores_scan_all : float
        Scores per image of the scan at its full resolution, and those of all pairs of slices and shifts.
    p_max : float
        Median weight of the heaviest support point.
    log_evidence : float
        Mean over all images.
    score_threshold : float
        Images that score less are better left out.
    n_junk : int
        Images that look like something other than a particle.
    gridding_iterations, gridding_deviation : int, float
        Of the maps' gridding correction.
    seconds : dict of str to float
        Time of each phase, s, and "total".
    load : Load
    decision : str
        What follows, and why.
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
    """What an iteration shows.

    Attributes
    ----------
    state : State
        What the next iteration takes from this one.
    record : Record
    classes : tuple of ClassMaps
        Maps of each class, dealt to all ranks.
    poses : Poses or None
        On rank 0 only.
    optics : Found, optional
        What was found after the iteration, if anything was.
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
