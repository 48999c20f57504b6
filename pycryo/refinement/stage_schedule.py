"""Control of a refinement: stage and frequency limits follow from what was measured (docs/method.md, Control)."""

from __future__ import annotations

import math
from dataclasses import replace

from pycryo.refinement.parts import part_grown
from pycryo.refinement.rescans import MOST_BROAD, TURNS, scanned_again
from pycryo.refinement.schedule import Limits, Measured, Schedule

# An iteration makes progress if the resolution gains this many shells, or the spread falls to this share of what it
# was.
_PROGRESS_SHELLS = 0.5
_PROGRESS_SPREAD = 0.9
# After the global stage if the shell grows to this multiple, of which some is chance. The defocus stage, which need not
# have begun at all, asks for more.
_PROGRESS_LOCAL, _PROGRESS_DEFOCUS = 1.007, 1.02
# Classes are settled when no larger share of the images changes theirs.
_SETTLED_CLASSES = 0.03
# Iterations for which classes may share their halves' references, at the least and at the most; of classes that begin
# with the same reference, so many of them, from the second on, climb: finer features are first those of the noise and
# of the chance shares, and images that follow them at wrong poses or in the wrong class do not come back.
_JOINED, _CLIMB = (3, 12), 7
# The global stage of one class is settled when no larger share of the images is found at another pose, and no larger
# one has a broad posterior. What the local stage finds faster, the resolution above all, needs no global search.
_SETTLED_MODES, _SETTLED_BROAD = 0.08, 0.3
# Otherwise, after so many iterations without progress, at least; more of them while most images have broad posteriors,
# which gain slowly, and which a local search would not hold. Not if nothing is known of the poses, see `MOST_BROAD`.
_LEAST_ITERATIONS, _PATIENCE, _PATIENCE_BROAD = 3, 2, 5
# r_high of the global stage: beyond the shell up to which the half-maps agree by 0.5, by these shells; it grows by this
# many shells or this share of its own an iteration. Images at wrong poses hold them by their own noise in the finest
# shells of the reference.
_BEYOND_SURE, _GROWTH = 2.0, (2.5, 0.6)
# r_high has settled when it would grow by no more shells. The first local iteration has a reference that ends with the
# global stage's r_high.
_SETTLED_R_HIGH, _LEAST_LOCAL = 1.0, 2
# Where posteriors overlap, expectation-maximization creeps; less so with this power of the likelihood. It would make up
# a map of noise sooner, too: the half-maps must agree so many times further than they were compared. Those of 500
# images of noise agree 1.2 times as far (of 10 000 1.6 times, see doubt), those of ten particles with SNR 0.01 to 0.05
# 1.55 to 1.95 times.
_SHARPNESS = 1.3
_SURE = 1.4
# After the first iteration images of noise have a mean log evidence of -1.4 to 0.9 (ten sets of 500 to 10 000), those
# of 1TII at an SNR of 0.01 4.5, at 0.05 9.
_DOUBTED_EVIDENCE = 1.5
# Iterations of the global stage at the most; and of one that is in doubt, at the r_high of the first.
_MAX_GLOBAL, _MAX_DOUBT = 16, 3
# Defoci are settled when their median change turns the CTF by fewer degrees at r_high: signal lost is 1 - cos, 0.5 %.
_SETTLED_DEFOCUS = 6.0
# Iterations without progress after which the defocus stage ends although defoci still change.
_MOST_STALLED = 4


def next_schedule(now: Schedule, seen: Measured, limits: Limits, *, is_last: bool) -> tuple[Schedule, str]:
    """The schedule of the next iteration and the reason in one line; `is_last`: iterations are used up."""
    following, reason = _of_these_images(now, seen, limits, is_last=is_last)
    following = replace(following, has_optics=now.has_optics)
    if now.part == 0:
        return following, reason
    return part_grown(following, reason, now, limits)


def _of_these_images(now: Schedule, seen: Measured, limits: Limits, *, is_last: bool) -> tuple[Schedule, str]:
    """See `next_schedule`; that there may be other images left aside."""
    if now.stage == "global" and _is_doubted(now, seen, limits):
        return _in_doubt(now, seen, limits, is_last=is_last)
    following, reason = _next_stage(now, seen, limits, is_last=is_last)
    if following.stage in ("global", "local"):
        following, reason = _sharpened(following, reason, now, seen)
    return scanned_again(following, reason, now, seen, limits)


def _is_doubted(now: Schedule, seen: Measured, limits: Limits) -> bool:
    """Whether noise explains the images as well, and nothing is known of their poses.

    Then half-maps agree because they followed one reference. The first iteration of a global search raises the doubt,
    later ones may end it.
    """
    if now.iterations > 0 and not now.in_doubt:
        return False
    return seen.spread >= limits.unknown_spread and seen.log_evidence < _DOUBTED_EVIDENCE


def _in_doubt(now: Schedule, seen: Measured, limits: Limits, *, is_last: bool) -> tuple[Schedule, str]:
    """The images get more iterations at the same r_high to show what they hold; finer ones would make up a map."""
    figures = f"mean log evidence of an image {seen.log_evidence:.2f}, spread {seen.spread:.2f} deg"
    onward = replace(now, iterations=now.iterations + 1, in_doubt=True)
    if not is_last and onward.iterations < _MAX_DOUBT:
        return onward, f"global search goes on, in doubt whether the images show a particle: {figures}"
    last = replace(onward, stage="final", r_high=min(now.r_high, limits.r_start), is_joined=False)
    return last, f"the data do not support a map beyond the start's resolution: {figures}"


def _next_stage(now: Schedule, seen: Measured, limits: Limits, *, is_last: bool) -> tuple[Schedule, str]:
    """See `next_schedule`; images that are scanned again left aside."""
    onward, figures = _onward(now, seen, limits)
    if now.stage == "final":
        return replace(onward, in_doubt=now.in_doubt), figures
    if is_last:
        return replace(onward, stage="final"), f"last iteration allowed by --max-iter: {figures}"
    if now.is_joined:
        return _after_joined(onward, seen, limits, figures)
    if now.stage == "local":
        return _after_local(now, onward, limits, figures)
    return (_after_global if now.stage == "global" else _after_defocus)(onward, seen, limits, figures)


def _onward(now: Schedule, seen: Measured, limits: Limits) -> tuple[Schedule, str]:
    """The schedule if the stage goes on, and the figures of the decision."""
    shell = sum(seen.shells) / len(seen.shells)
    if now.stage == "global":
        progress = shell > now.best_shell + _PROGRESS_SHELLS or seen.spread < _PROGRESS_SPREAD * now.least_spread
    else:
        least = _PROGRESS_DEFOCUS if now.stage == "defocus" else _PROGRESS_LOCAL
        progress = shell > least * now.best_shell
    progress |= seen.class_change > _SETTLED_CLASSES
    stalled = 0 if progress else now.stalled + 1
    best = max(now.best_shell, shell)
    r_high = _r_high(seen, limits)
    if now.stage == "global":
        r_high = min(r_high, _fastest(now, limits), max(now.r_high, seen.sure_shell + _BEYOND_SURE))
    best_before = f" (best before {now.best_shell:.1f})" if now.best_shell > 0 else ""
    moved = f", poses moved {seen.pose_change:.2f} deg" if math.isfinite(seen.pose_change) else ""
    figures = f"resolution at shell {shell:.1f}{best_before}{moved}, spread {seen.spread:.2f} deg"
    least_spread = min(now.least_spread, seen.spread) if progress else now.least_spread
    return Schedule(now.stage, r_high, best, stalled, now.iterations + 1, least_spread), figures


def _fastest(now: Schedule, limits: Limits) -> float:
    """The largest r_high after an iteration of the global stage."""
    least, share = _GROWTH
    return min(limits.r_limit, now.r_high + max(least, share * now.r_high))


def _r_high(seen: Measured, limits: Limits) -> float:
    """As far as the half-maps agree, and a little further."""
    furthest = max(*seen.shells, seen.supported_shell)
    return min(limits.r_limit, max(furthest, 2.0) + max(3.0, 0.12 * furthest))


def _after_joined(onward: Schedule, seen: Measured, limits: Limits, figures: str) -> tuple[Schedule, str]:
    """The halves share their references until the classes are apart."""
    coarsest, finest = limits.r_joined
    climbs = coarsest < finest
    least, most = (_CLIMB + 2 if climbs else _JOINED[0]), _JOINED[1]
    apart = seen.class_change <= _SETTLED_CLASSES
    figures = f"{100 * seen.class_change:.1f} % of the images changed their class, {figures}"
    if onward.iterations < most and (onward.iterations < least or not apart):
        done = min(1.0, (onward.iterations - 1) / _CLIMB)
        r_joined = coarsest + done * (finest - coarsest) if climbs and done < 1 else finest
        return replace(onward, r_high=min(onward.r_high, r_joined), is_joined=True), f"classes come apart: {figures}"
    reason = "classes are apart" if apart else "classes do not come apart any more"
    return Schedule(onward.stage, min(onward.r_high, finest)), f"{reason}, the half-sets part: {figures}"


def _after_global(onward: Schedule, seen: Measured, limits: Limits, figures: str) -> tuple[Schedule, str]:
    """The end of the global stage: no progress, for longer where posteriors are broad and gain slowly."""
    gains_slowly = seen.broad_share > MOST_BROAD and seen.spread < limits.unknown_spread
    patience = _PATIENCE_BROAD if gains_slowly else _PATIENCE
    settled = (
        onward.iterations >= _LEAST_ITERATIONS and onward.stalled >= patience
    ) or onward.iterations >= _MAX_GLOBAL
    has_local = "local" in limits.stages
    # Classes are settled by their changes, which count as progress.
    known = seen.changed_mode <= _SETTLED_MODES and seen.broad_share <= _SETTLED_BROAD and len(seen.shells) == 1
    if not settled and not (has_local and known):
        return onward, f"global search goes on: {figures}"
    if gains_slowly and not _allows_defocus(onward, limits):
        return replace(onward, stage="final"), f"global search is settled, no local one holds the poses: {figures}"
    if has_local:
        begun = Schedule("local", _r_high(seen, limits), onward.best_shell, least_spread=onward.least_spread)
        return begun, f"global search is settled, local search begins: {figures}"
    return replace(onward, stage="final"), f"global search is settled: {figures}"


def _after_local(now: Schedule, onward: Schedule, limits: Limits, figures: str) -> tuple[Schedule, str]:
    """The end of the local stage: the images were compared as far as they will be, and it gained nothing."""
    least = TURNS if now.rescans == "in turn" else _LEAST_LOCAL
    if onward.r_high > now.r_high + _SETTLED_R_HIGH or onward.iterations < least:
        return onward, f"local search goes on: {figures}"
    if _allows_defocus(onward, limits):
        begun = replace(onward, stage="defocus", stalled=0, iterations=0)
        return begun, f"images are compared as far as they will be, defocus search begins: {figures}"
    if onward.stalled == 0:
        return onward, f"local search goes on: {figures}"
    return replace(onward, stage="final"), f"converged: {figures}"


def _allows_defocus(onward: Schedule, limits: Limits) -> bool:
    """Whether the map shows enough for a search of the defocus."""
    return "defocus" in limits.stages and onward.best_shell > limits.defocus_from


def _after_defocus(onward: Schedule, seen: Measured, limits: Limits, figures: str) -> tuple[Schedule, str]:
    """The end of the defocus stage: neither defoci nor resolution change, or the file's defoci were right."""
    figures = f"defoci moved {seen.defocus_moved:.0f} A, which turns the CTF by {seen.defocus_turn:.0f} deg, {figures}"
    still = seen.defocus_turn < _SETTLED_DEFOCUS or not shows_defocus(seen.sigma_turn)
    if (still and onward.stalled >= 1) or onward.stalled >= _MOST_STALLED:
        return replace(onward, stage="final"), f"converged: {figures}"
    return onward, f"defocus search goes on: {figures}"


def _sharpened(following: Schedule, reason: str, now: Schedule, seen: Measured) -> tuple[Schedule, str]:
    """The first iteration of a global search tells whether the others are sharpened.

    Not while classes come apart: sharp posteriors hold images where they are.
    """
    if now.is_joined or now.iterations > 0 or now.stage != "global":
        return replace(following, sharpness=now.sharpness), reason
    further = max(seen.shells) / now.r_high
    if further < _SURE:
        return replace(following, sharpness=now.sharpness), reason
    why = f"the half-maps agree {further:.2f} times as far as the images were compared, posteriors are sharpened"
    return replace(following, sharpness=_SHARPNESS), f"{reason}; {why}"


def shows_defocus(sigma_turn: float) -> bool:
    """Whether the defoci found tell more than the file's: `sigma_turn` as in `Measured`."""
    return sigma_turn >= _SETTLED_DEFOCUS


def insertion_limit(r_high: float, nyquist: float) -> float:
    """Shells below it are inserted: beyond r_high, so that the FSC can show that there is more."""
    return min(nyquist, math.ceil(r_high + max(5.0, 0.25 * r_high)))
