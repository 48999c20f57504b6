"""Where a refinement stands, and what its next step depends on (docs/method.md, Control)."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Where a refinement stands.

    Attributes
    ----------
    stage : str
        "global", "local", "defocus" or "final".
    r_high : float
        Shells below it are compared, Fourier px of the model.
    best_shell : float
        Best resolution so far, shells; with several classes their mean.
    stalled : int
        Iterations of this stage without progress.
    iterations : int
        Iterations of this stage done.
    least_spread : float
        Median spread of the posteriors at the last progress of this stage, degrees: slow gains add up.
    is_joined : bool
        The halves share their references while classes come apart, so that each class is the same thing in both, seen
        from the same side.
    rescans : str
        After the global stage "all" images are searched globally again, or a part of them "in turn", or those with a
        "broad" posterior, or none, "". In the global stage all are, "", or a part in turn.
    sharpness : float
        Power of the likelihood in the posteriors.
    in_doubt : bool
        Nothing tells that the images show more than the start did.
    part : int
        So many images of each half-set are compared, see `pycryo.refinement.parts`; 0: all.
    compared : int
        So many were in the last iteration, and have posteriors; 0: all.
    has_optics : bool
        Aberrations and magnification were looked for.
    """

    stage: str
    r_high: float
    best_shell: float = 0.0
    stalled: int = 0
    iterations: int = 0
    least_spread: float = math.inf
    is_joined: bool = False
    rescans: str = ""
    sharpness: float = 1.0
    in_doubt: bool = False
    part: int = 0
    compared: int = 0
    has_optics: bool = False

    @property
    def is_new(self) -> bool:
        """Images are compared for the first time, those of the last iteration as if they were."""
        return self.part != self.compared


@dataclass(frozen=True, slots=True)
class Measured:
    """What an iteration showed.

    Attributes
    ----------
    shells : tuple of float
        Resolution (corrected FSC 0.143) of each class, shells.
    pose_change : float
        Median change of the modes since the last iteration, degrees; infinite in the first.
    spread : float
        Median spread of the posteriors per axis, degrees.
    defocus_moved : float
        Median change of the defocus since the last iteration, Å.
    defocus_turn : float
        Degrees by which that turns the CTF at r_high.
    class_change : float
        Share of the images whose class is another one than in the last iteration.
    broad_share : float
        Share of the images whose posterior is too broad for a local search.
    log_evidence : float
        Mean over the images: how much better than noise alone the reference explains them.
    sure_shell, supported_shell : float
        Where the half-maps agree by 0.5, and by 0.143 but for a single shell; of the best class.
    changed_mode : float
        Share of the images whose pose is another one than in the last iteration, not nearby; 1 in the first.
    sigma_turn : float
        Degrees by which the defocus's standard deviation over the images turns the CTF at r_high.
    """

    shells: tuple[float, ...]
    pose_change: float
    spread: float
    defocus_moved: float = 0.0
    defocus_turn: float = 0.0
    class_change: float = 0.0
    broad_share: float = 0.0
    log_evidence: float = math.inf
    sure_shell: float = math.inf
    supported_shell: float = 0.0
    changed_mode: float = 1.0
    sigma_turn: float = math.inf


@dataclass(frozen=True, slots=True)
class Limits:
    """What all decisions of a run keep to.

    Attributes
    ----------
    stages : tuple of str
        Of this run, in order.
    r_limit : float
        Largest r_high (Nyquist).
    defocus_from : float
        The defocus stage, if it is one of `stages`, needs a resolution beyond this shell.
    r_joined : two float
        Largest r_high while the halves share their references, at the beginning and after the climb; the same if there
        is none.
    unknown_spread : float
        Median spread, degrees, of poses of which nothing is known.
    r_start : float
        Shell up to which the start reference is known: r_high of the final iteration, if all that was found is doubted.
    most_part : int
        The largest part of the images that saves time, of each half-set.
    """

    stages: tuple[str, ...]
    r_limit: float
    defocus_from: float = 0.0
    r_joined: tuple[float, float] = (math.inf, math.inf)
    unknown_spread: float = math.inf
    r_start: float = math.inf
    most_part: int = 0
