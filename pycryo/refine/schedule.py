"""Control of a refinement: stage and frequency limits follow from what was measured (method.md §7)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


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
        Best resolution so far, shells.
    stalled : int
        Iterations of this stage without progress.
    iterations : int
        Iterations of this stage done.
    least_spread : float
        Smallest median spread of the posteriors in this stage, degrees.
    """

    stage: str
    r_high: float
    best_shell: float = 0.0
    stalled: int = 0
    iterations: int = 0
    least_spread: float = math.inf


@dataclass(frozen=True, slots=True)
class Measured:
    """What an iteration showed.

    Attributes
    ----------
    shell : float
        Resolution (corrected FSC 0.143), shells.
    pose_change : float
        Median change of the modes since the last iteration, degrees; infinite in the first.
    spread : float
        Median spread of the posteriors per axis, degrees.
    defocus_moved : float
        Median change of the defocus since the last iteration, Å.
    defocus_turn : float
        Degrees by which that turns the CTF at r_high.
    """

    shell: float
    pose_change: float
    spread: float
    defocus_moved: float = 0.0
    defocus_turn: float = 0.0


# An iteration makes progress if the resolution gains this many shells, or the spread falls to this share of the least.
_PROGRESS_SHELLS = 0.5
_PROGRESS_SPREAD = 0.9
# Iterations of the global stage at the most.
_MAX_GLOBAL = 16
# Defoci are settled when their median change turns the CTF by fewer degrees at r_high: signal lost is 1 - cos, 0.5 %.
_SETTLED_DEFOCUS = 6.0


def next_schedule(
    now: Schedule,
    seen: Measured,
    stages: tuple[str, ...],
    r_limit: float,
    is_last: bool,
    defocus_from: float = 0.0,
) -> tuple[Schedule, str]:
    """The schedule of the next iteration and the reason in one line.

    Parameters
    ----------
    now : Schedule
    seen : Measured
    stages : tuple of str
        Stages of this run, in order.
    r_limit : float
        Largest r_high (Nyquist).
    is_last : bool
        The number of iterations is used up.
    defocus_from : float
        The defocus stage, if it is one of `stages`, needs a resolution beyond this shell.
    """
    progress = seen.shell > now.best_shell + _PROGRESS_SHELLS or seen.spread < _PROGRESS_SPREAD * now.least_spread
    stalled = 0 if progress else now.stalled + 1
    best = max(now.best_shell, seen.shell)
    r_high = min(r_limit, max(seen.shell, 2.0) + max(3.0, 0.12 * seen.shell))
    if now.stage == "global":
        r_high = min(r_high, now.r_high + max(2.5, 0.2 * now.r_high))
    figures = (
        f"resolution at shell {seen.shell:.1f} (best before {now.best_shell:.1f}), poses moved "
        f"{seen.pose_change:.2f} deg, spread {seen.spread:.2f} deg"
    )
    onward = Schedule(now.stage, r_high, best, stalled, now.iterations + 1, min(now.least_spread, seen.spread))
    if now.stage == "final":
        return onward, figures
    if is_last:
        return replace(onward, stage="final"), f"last iteration allowed by --max-iter: {figures}"
    if now.stage == "global":
        settled = (onward.iterations >= 3 and stalled >= 2) or onward.iterations >= _MAX_GLOBAL
        if not settled:
            return onward, f"global search goes on: {figures}"
        if "local" in stages:
            return Schedule("local", r_high, best), f"global search is settled, local search begins: {figures}"
        return replace(onward, stage="final"), f"global search is settled: {figures}"
    if now.stage == "defocus":
        return _after_defocus(onward, seen, figures)
    still = seen.pose_change < 0.5 * seen.spread
    if onward.iterations >= 3 and stalled >= 2 and "defocus" in stages and best > defocus_from:
        return Schedule("defocus", r_high, best), f"local search is settled, defocus search begins: {figures}"
    if onward.iterations >= 3 and stalled >= 2 and (still or stalled >= 4):
        return replace(onward, stage="final"), f"converged: {figures}"
    return onward, f"local search goes on: {figures}"


def _after_defocus(onward: Schedule, seen: Measured, figures: str) -> tuple[Schedule, str]:
    """The end of the defocus stage: neither defoci nor resolution change, or the defoci were right from the start."""
    figures = f"defoci moved {seen.defocus_moved:.0f} A, which turns the CTF by {seen.defocus_turn:.0f} deg, {figures}"
    still = seen.defocus_turn < _SETTLED_DEFOCUS and (onward.stalled >= 1 or onward.iterations == 1)
    if still or onward.stalled >= 4:
        return replace(onward, stage="final"), f"converged: {figures}"
    return onward, f"defocus search goes on: {figures}"


def insertion_limit(r_high: float, nyquist: float) -> float:
    """Shells below it are inserted: beyond r_high, so that the FSC can show that there is more."""
    return min(nyquist, math.ceil(r_high + max(5.0, 0.25 * r_high)))
