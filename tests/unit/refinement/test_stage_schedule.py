"""Stages and frequency limits follow from what was measured."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycryo.refinement.stage_schedule import Limits, Measured, Schedule, insertion_limit, next_schedule

BOTH = ("global", "local")
FIRST = Schedule("global", 8.0)


def following(now, seen, stages, r_limit, is_last, **more):
    """The next schedule and its reason."""
    return next_schedule(now, seen, Limits(stages, r_limit, **more), is_last=is_last)


def measured(shell, change, spread, *defocus):
    """Of one class."""
    return Measured((shell,), change, spread, *defocus)


def walk(measured, stages=BOTH, start=FIRST, r_limit=100.0, max_iter=99):
    """Schedules after each iteration, until the one that ends with the final stage."""
    now, path = start, []
    for number, seen in enumerate(measured, 1):
        now, reason = following(now, seen, stages, r_limit, number + 1 >= max_iter)
        assert "\n" not in reason
        path.append((now, reason))
        if now.stage == "final":
            break
    return path


def names(path):
    return [schedule.stage for schedule, _ in path]


def standing(shell=10.0, change=0.1, spread=2.0):
    """Endless iterations that all show the same."""
    while True:
        yield measured(shell, change, spread)


def test_global_then_local_then_final():
    path = walk(standing())
    # The first iteration of each stage is progress from nothing, two without any follow.
    assert names(path) == ["global", "global", "local", "local", "local", "final"]
    reasons = [reason for _, reason in path]
    assert "global search goes on" in reasons[0]
    assert "local search begins" in reasons[2]
    assert "local search goes on" in reasons[3]
    assert "converged" in reasons[-1]
    # Each line tells the numbers that it rests on.
    assert all("shell 10.0" in r and "0.10 deg" in r and "spread 2.00 deg" in r for r in reasons)


def test_global_search_is_patient_with_broad_posteriors():
    """Most images must be broad: a local search would not hold them, and they gain slowly."""
    for share, last, after in ((0.4, 2, "local"), (0.6, 5, "final")):
        path = walk(iter([Measured((10.0,), 3.0, 30.0, broad_share=share)] * 20))
        assert names(path)[: last + 1] == ["global"] * last + [after]
        assert path[last][0].rescans
    # Nothing is known of poses as broad as that.
    now, iterations = FIRST, 0
    while now.stage == "global":
        now, _ = following(now, Measured((10.0,), 3.0, 60.0, broad_share=1.0), BOTH, 99.0, False, unknown_spread=38)
        iterations += 1
    assert iterations == 3


def test_what_follows_the_start_alone_is_doubted():
    """Images that noise explains as well, and poses of which nothing is known."""
    unknown = Measured((10.0,), 5.0, 60.0, broad_share=1.0, log_evidence=0.5)

    def after(now, seen, **more):
        return following(now, seen, BOTH, 99.0, False, unknown_spread=38.0, r_start=6.0, **more)

    now, reason = after(FIRST, unknown)
    assert (now.stage, now.in_doubt, now.r_high) == ("global", True, 8.0)
    assert "in doubt" in reason
    now, _ = after(now, unknown)
    last, reason = after(now, unknown)
    assert (last.stage, last.in_doubt, last.r_high) == ("final", True, 6.0)
    assert "do not support a map" in reason
    assert after(last, unknown)[0].in_doubt
    # Either ends the doubt: known poses, or images that show more than noise.
    known, better = replace(unknown, spread=30.0), replace(unknown, log_evidence=2.0)
    for seen in (known, better):
        for begin in (FIRST, now):
            onward, reason = after(begin, seen)
            assert not onward.in_doubt
            assert onward.r_high > 8.0
    # Classes that come apart are doubted like one.
    joined, reason = after(replace(FIRST, is_joined=True), unknown)
    assert joined.in_doubt
    assert joined.is_joined
    last, _ = after(after(joined, unknown)[0], unknown)
    assert (last.stage, last.is_joined) == ("final", False)
    assert after(joined, better)[1].startswith("classes come apart")
    # Later iterations raise no doubt.
    assert not after(after(FIRST, better)[0], unknown)[0].in_doubt


def test_classes_come_apart_from_coarse_to_fine():
    """They part after the climb; there is none if each began with its own reference."""
    seen = Measured((12.0,), 1.0, 5.0, class_change=0.0)

    def walk_joined(r_joined):
        now, limits = replace(FIRST, is_joined=True), []
        while now.is_joined:
            now, reason = following(now, seen, BOTH, 99.0, False, r_joined=r_joined)
            assert now.sharpness == 1
            limits.append(now.r_high)
        assert "classes are apart, the half-sets part" in reason
        return limits

    climb = walk_joined((3.0, 6.5))
    assert climb == pytest.approx([3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 6.5])
    assert walk_joined((6.5, 6.5)) == [6.5] * 3


def test_a_sure_global_search_is_sharpened():
    """The half-maps agree at 1.4 times the shells compared, after the first iteration; to the end of the stage."""
    for shell, sharp in ((11.0, 1.0), (11.4, 1.3)):
        first, reason = following(FIRST, measured(shell, 5.0, 2.0), BOTH, 99.0, False)
        assert first.sharpness == sharp
        assert ("posteriors are sharpened" in reason) == (sharp > 1)
        path = walk(standing(20.0, spread=20.0), start=first)
        assert {schedule.sharpness for schedule, _ in path if schedule.stage == "global"} == {sharp}
        assert {schedule.sharpness for schedule, _ in path if schedule.stage != "global"} == {1.0}


def test_broad_posteriors_are_scanned_again_after_the_global_stage():
    broad = Measured((10.0,), 0.1, 2.0, broad_share=0.3)
    path = walk(iter([broad] * 20))
    assert names(path) == ["global", "global", "local", "local", "local", "final"]
    assert [schedule.rescans for schedule, _ in path] == [False, False, True, True, True, True]
    assert all("30 % of the images are scanned again" in reason for _, reason in path[2:])
    # Once, at the end, more than half are; a run that is cut short ends like any other.
    for share, limit in ((0.9, 38.0), (0.9, 20.0)):
        seen = Measured((10.0,), 5.0, 30.0, broad_share=share)
        last, _ = following(FIRST, seen, BOTH, 99.0, True, unknown_spread=limit)
        assert (last.stage, last.rescans) == ("final", limit > 30)
    # A scan for few is not worth its slices, and if hardly an image is known nothing tells signal from noise.
    for share, spread in ((0.001, 2.0), (0.9, math.inf)):
        other = Measured((10.0,), 0.1, spread, broad_share=share)
        assert not any(schedule.rescans for schedule, _ in walk(iter([other] * 20)))
    start = Schedule("local", 8.0)
    assert not any(schedule.rescans for schedule, _ in walk(iter([broad] * 20), ("local",), start))


def test_defocus_after_local():
    """Entered where the resolution allows, left when neither defoci nor resolution change."""
    all_three = (*BOTH, "defocus")

    def stages_of(turns, shell=10.0, **limits):
        now, found, turns = FIRST, [], iter(turns)
        while now.stage != "final" and len(found) < 30:
            turn = next(turns) if now.stage == "defocus" else 0.0
            seen = measured(shell, 0.1, 2.0, 50.0, turn)
            now, reason = following(now, seen, all_three, 100.0, False, **limits)
            found.append((now.stage, reason))
        return found

    before = ["global", "global", "local", "local", "local"]
    path = stages_of([40.0, 20.0, 3.0])
    assert [stage for stage, _ in path] == [*before, *["defocus"] * 3, "final"]
    assert "defocus search begins" in path[5][1]
    assert "defoci moved 50 A, which turns the CTF by 20 deg" in path[-2][1]
    assert path[-1][1].startswith("converged: defoci")
    # Right from the start: one look will do.
    assert [stage for stage, _ in stages_of([3.0])] == [*before, "defocus", "final"]
    # Never still: stopped when nothing has gained for four iterations.
    assert [stage for stage, _ in stages_of([40.0] * 30)].count("defocus") == 5
    # The resolution must be beyond the limit.
    assert "defocus" not in [stage for stage, _ in stages_of([], defocus_from=10.0)]
    assert "defocus" in [stage for stage, _ in stages_of([3.0], defocus_from=9.9)]


def test_without_local_stage():
    path = walk(standing(), stages=("global",))
    assert names(path) == ["global", "global", "final"]


def test_moving_poses_delay_the_end():
    """Poses that move by more than half their spread count as unsettled, for two more iterations at most."""
    path = walk(standing(change=1.5))
    assert names(path) == ["global", "global", *["local"] * 5, "final"]


def test_first_change_is_infinite():
    schedule, reason = following(FIRST, measured(5.0, math.inf, 3.0), BOTH, 32.0, False)
    assert schedule.stage == "global"
    assert math.isfinite(schedule.r_high)
    assert "inf" in reason


def test_better_resolution_goes_on():
    path = walk(measured(5 + 0.6 * i, 0.1, 2.0) for i in range(60))
    # Progress forever: the global stage is limited, the local one goes on.
    assert names(path).count("global") == 15
    assert names(path)[-1] == "local"
    assert len(path) == 60


def test_half_a_shell_is_no_progress():
    assert names(walk(measured(5 + 0.2 * i, 0.1, 2.0) for i in range(20)))[3:5] != ["global", "global"]


def test_sharper_posteriors_are_progress():
    path = walk(measured(10.0, 0.1, 2.0 * 0.85**i) for i in range(10))
    assert names(path) == ["global"] * 10
    path = walk(measured(10.0, 0.1, 2.0 * 0.95**i) for i in range(10))
    assert "local" in names(path)


def test_spread_counts_against_the_least_seen():
    """Up and down is no progress."""
    path = walk(measured(10.0, 0.1, 1.0 if i % 2 else 2.0) for i in range(8))
    assert names(path)[:4] == ["global", "global", "global", "local"]


def test_best_resolution_is_kept_over_stages():
    path = walk([*[measured(12.0, 0.1, 2.0)] * 3, *[measured(6.0, 0.1, 2.0)] * 3])
    assert all(schedule.best_shell == 12.0 for schedule, _ in path)
    assert path[2][0] == Schedule("local", path[2][0].r_high, 12.0)


@pytest.mark.parametrize("max_iter, length", [(1, 1), (2, 1), (3, 2), (5, 4)])
def test_max_iter(max_iter, length):
    """The final iteration is the last one allowed; with one allowed there is still one before it."""
    path = walk((measured(5.0 + i, 0.1, 2.0) for i in range(60)), max_iter=max_iter)
    assert len(path) == length
    assert names(path)[-1] == "final"
    assert "--max-iter" in path[-1][1]


def test_final_stays_final():
    now = Schedule("final", 20.0, 18.0)
    for is_last in (False, True):
        after, _ = following(now, measured(25.0, 0.0, 1.0), BOTH, 32.0, is_last)
        assert after.stage == "final"


@given(
    st.sampled_from(["global", "local", "final"]),
    st.floats(3, 200),
    st.floats(0, 250),
    st.floats(0, 180) | st.just(math.inf),
    st.floats(0, 60),
    st.floats(8, 200),
)
def test_r_high_stays_between_its_limits(stage, r_high, shell, change, spread, r_limit):
    now = Schedule(stage, min(r_high, r_limit), best_shell=shell / 2)
    after, _ = following(now, measured(shell, change, spread), BOTH, r_limit, False)
    assert 3 <= after.r_high <= r_limit
    # No more than a margin beyond the resolution, so that noise is not aligned.
    assert after.r_high <= max(shell, 2) + max(3, 0.12 * shell) + 1e-9
    if stage == "global":
        assert after.r_high <= now.r_high + max(2.5, 0.2 * now.r_high) + 1e-9
    if after.stage == "final" and stage != "final":
        assert after.best_shell == max(shell, now.best_shell)


def test_growth_of_r_high():
    """Global: by at most 2.5 shells or a fifth; local: as far as the resolution reaches."""
    growing = [schedule.r_high for schedule, _ in walk(measured(90.0 + i, 0.1, 2.0) for i in range(10))]
    np.testing.assert_allclose(growing[:4], [10.5, 13.0, 15.6, 18.72])
    local = Schedule("local", 10.0)
    after, _ = following(local, measured(50.0, 0.1, 2.0), BOTH, 64.0, False)
    assert after.r_high == pytest.approx(56.0)
    after, _ = following(local, measured(10.0, 0.1, 2.0), BOTH, 64.0, False)
    assert after.r_high == pytest.approx(13.0)
    after, _ = following(local, measured(1.0, 0.1, 2.0), BOTH, 64.0, False)
    assert after.r_high == pytest.approx(5.0)


@given(st.floats(1, 500), st.floats(1, 500))
def test_insertion_limit(r_high, nyquist):
    limit = insertion_limit(min(r_high, nyquist), nyquist)
    assert limit <= nyquist
    assert limit == nyquist or (limit == int(limit) and limit >= r_high + max(5, 0.25 * r_high))
