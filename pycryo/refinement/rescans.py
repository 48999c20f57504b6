"""Which images an iteration compares with the shared slices: all, some in turn, or none.

See docs/method.md, Which images are scanned.
"""

from __future__ import annotations

from dataclasses import replace

from pycryo.refinement.schedule import Limits, Measured, Schedule

# After the global stage all images are scanned again as long as this share is found elsewhere, and otherwise those
# whose posterior is broad, if they are at least this share: slices cost as much for few.
_FOUND, _LEAST_BROAD = 0.004, 0.01
# But not if more than that are broad: noise that is searched globally again and again makes up a structure that both
# halves share. Once, in the final iteration, more are if something is known of their poses.
MOST_BROAD = 0.5
# Where posteriors overlap, the map changes slowly, and so do the images' modes. When no larger share of the images
# changes its mode in an iteration, and the median spread is greater than that, degrees, each image is scanned in one of
# so many iterations, and searched about its last posterior in the others; in all of them in the final one. Not while
# most posteriors are too broad to be held by their support points: of these hardly one counts as changed.
_FEW_CHANGES, _OVERLAP, TURNS = 0.12, 3.0, 3


def scanned_again(
    following: Schedule, reason: str, now: Schedule, seen: Measured, limits: Limits
) -> tuple[Schedule, str]:
    """The schedule of the next iteration with its rescans, and the reason."""
    in_turn = _in_turn(following, now, seen)
    if following.stage == "global":
        return (replace(following, rescans="in turn"), reason) if in_turn else (following, reason)
    ends = following.stage == "final" and seen.spread < limits.unknown_spread
    if "global" not in limits.stages or seen.broad_share > (1.0 if ends else MOST_BROAD):
        return following, reason
    if seen.changed_mode >= _FOUND:
        what = "a third of the images is" if in_turn else "all images are"
        why = f"{100 * seen.changed_mode:.1f} % were found at another pose, {what} scanned again"
        return replace(following, rescans="in turn" if in_turn else "all"), f"{reason}; {why}"
    if seen.broad_share < _LEAST_BROAD:
        return following, reason
    why = f"{100 * seen.broad_share:.0f} % of the images, those with broad posteriors, are scanned again"
    return replace(following, rescans="broad"), f"{reason}; {why}"


def _in_turn(following: Schedule, now: Schedule, seen: Measured) -> bool:
    """Whether the images are scanned in turn from now on, or still."""
    if following.stage == "final" or following.in_doubt or len(seen.shells) > 1 or seen.broad_share > MOST_BROAD:
        return False
    return now.rescans == "in turn" or (seen.changed_mode <= _FEW_CHANGES and seen.spread > _OVERLAP)
