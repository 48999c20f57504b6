"""Stages and frequency limits follow from what was measured."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycryo.refinement.schedule import Limits, Measured, Schedule
from pycryo.refinement.stage_schedule import insertion_limit, next_schedule, shows_defocus

BOTH = ("global", "local")
ALL = (*BOTH, "defocus")
FIRST = Schedule("global", 8.0)


def following(now, seen, stages, r_limit, is_last, **more):
    """The next schedule and its reason."""
    return next_schedule(now, seen, Limits(stages, r_limit, **more), is_last=is_last)


def after(now, seen, stages=BOTH, **more):
    """The next schedule, in the midst of a run."""
    return following(now, seen, stages, 100.0, False, **more)[0]


def measured(shell, change, spread, **more):
    """Of one class."""
    return Measured((shell,), change, spread, **more)


def settled(shell=10.0, **more):
    """Every image is where it was, its posterior narrow, and its defocus as stated."""
    return measured(shell, 0.1, 2.0, **{"changed_mode": 0.0, "sigma_turn": 0.0, **more})


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
    """Endless iterations that all show the same: images that go from one pose to another."""
    while True:
        yield measured(shell, change, spread)


def test_global_then_local_then_final():
    path = walk(standing())
    # The first iteration is progress from nothing, two without any follow; the local stage has nothing to gain in two.
    assert names(path) == ["global", "global", "local", "local", "final"]
    reasons = [reason for _, reason in path]
    assert "global search goes on" in reasons[0]
    assert "local search begins" in reasons[2]
    assert "converged" in reasons[-1]
    assert "best before" not in reasons[0]
    # Each line tells the numbers that it rests on.
    assert all("shell 10.0" in r and "0.10 deg" in r and "spread 2.00 deg" in r for r in reasons)


@pytest.mark.parametrize(
    "changed, broad, stage", [(0.08, 0.3, "local"), (0.081, 0.3, "global"), (0.08, 0.301, "global")]
)
def test_global_search_ends_when_images_stay_and_few_are_broad(changed, broad, stage):
    assert after(FIRST, settled(changed_mode=changed, broad_share=broad)).stage == stage


def test_images_that_stay_do_not_end_a_search_of_classes_nor_one_without_a_local_stage():
    assert after(FIRST, replace(settled(), shells=(10.0, 10.0))).stage == "global"
    assert after(FIRST, settled(), ("global",)).stage == "global"


def test_global_search_is_patient_with_broad_posteriors():
    """Most images must be broad: a local search would not hold them, and they gain slowly."""
    for share, last, stage in ((0.4, 2, "local"), (0.6, 5, "final")):
        path = walk(iter([Measured((10.0,), 3.0, 30.0, broad_share=share)] * 20))
        assert names(path)[: last + 1] == ["global"] * last + [stage]
    # Nothing is known of poses as broad as that.
    now, iterations = FIRST, 0
    while now.stage == "global":
        now = after(now, Measured((10.0,), 3.0, 60.0, broad_share=1.0), unknown_spread=38)
        iterations += 1
    assert iterations == 3


def test_what_follows_the_start_alone_is_doubted():
    """Images that noise explains as well, and poses of which nothing is known."""
    unknown = Measured((10.0,), 5.0, 60.0, broad_share=1.0, log_evidence=0.5)

    def doubting(now, seen):
        return following(now, seen, BOTH, 99.0, False, unknown_spread=38.0, r_start=6.0)

    now, reason = doubting(FIRST, unknown)
    assert (now.stage, now.in_doubt, now.r_high) == ("global", True, 8.0)
    assert "in doubt" in reason
    now, _ = doubting(now, unknown)
    last, reason = doubting(now, unknown)
    assert (last.stage, last.in_doubt, last.r_high) == ("final", True, 6.0)
    assert "do not support a map" in reason
    assert doubting(last, unknown)[0].in_doubt
    # Either ends the doubt: known poses, or images that show more than noise.
    known, better = replace(unknown, spread=30.0), replace(unknown, log_evidence=2.0)
    for seen in (known, better):
        for begin in (FIRST, now):
            onward, reason = doubting(begin, seen)
            assert not onward.in_doubt
            assert onward.r_high > 8.0
    # Classes that come apart are doubted like one.
    joined, reason = doubting(replace(FIRST, is_joined=True), unknown)
    assert joined.in_doubt
    assert joined.is_joined
    last, _ = doubting(doubting(joined, unknown)[0], unknown)
    assert (last.stage, last.is_joined) == ("final", False)
    assert doubting(joined, better)[1].startswith("classes come apart")
    # Later iterations raise no doubt.
    assert not doubting(doubting(FIRST, better)[0], unknown)[0].in_doubt


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


def sharpnesses(path, *stages):
    return {schedule.sharpness for schedule, _ in path if schedule.stage in stages}


@pytest.mark.parametrize("shell, sharp", [(11.0, 1.0), (11.4, 1.3)])
def test_a_sure_global_search_is_sharpened(shell, sharp):
    """Half-maps that agree at 1.4 times the shells compared, after the first iteration."""
    first, reason = following(FIRST, measured(shell, 5.0, 2.0), BOTH, 99.0, False)
    assert first.sharpness == sharp
    assert ("posteriors are sharpened" in reason) == (sharp > 1)
    # Later iterations change nothing.
    for other in (9.0, 40.0):
        assert after(first, measured(other, 5.0, 2.0)).sharpness == sharp


def test_sharpness_stays_through_the_local_stage():
    begun = replace(FIRST, sharpness=1.3, iterations=1)
    found = [settled(shell) for shell in (10.0, 15.0, 20.0, 20.0, 20.0, 20.0)]
    path = walk([*found, settled(20.0, sigma_turn=40.0, defocus_turn=40.0), *found[-1:] * 9], ALL, begun)
    assert names(path)[:5] == ["local", "local", "local", "defocus", "final"]
    assert sharpnesses(path, "local") == {1.3}
    assert sharpnesses(path, "defocus", "final") == {1.0}
    # Nor does the end of the run take it along, nor a run that begins with the local stage get it.
    cut, _ = following(replace(begun, stage="local"), settled(20.0), BOTH, 99.0, True)
    assert (cut.stage, cut.sharpness) == ("final", 1.0)
    assert after(Schedule("local", 8.0), settled(20.0), ("local",)).sharpness == 1.0


@pytest.mark.parametrize(
    "changed, broad, rescans",
    [
        (0.004, 0.0, "all"),
        (0.004, 0.5, "all"),
        (0.0039, 0.0, ""),
        # A scan for few is not worth its slices.
        (0.0039, 0.0099, ""),
        (0.0039, 0.01, "broad"),
        (0.0, 0.5, "broad"),
        # If hardly an image is known nothing tells signal from noise.
        (0.0, 0.51, ""),
        (1.0, 0.51, ""),
    ],
)
def test_images_are_scanned_again_after_the_global_stage(changed, broad, rescans):
    seen = settled(20.0, changed_mode=changed, broad_share=broad)
    for stage in ("local", "defocus"):
        schedule, reason = following(Schedule(stage, 10.0), seen, ALL, 99.0, False)
        assert (schedule.stage, schedule.rescans) == (stage, rescans)
        assert {"all": "all images are scanned again", "broad": "those with broad posteriors", "": ""}[
            rescans
        ] in reason
        assert ("again" in reason) == bool(rescans)
    # A run without the global stage has no scans, and the global stage itself has nothing but them.
    assert after(Schedule("local", 10.0), seen, ("local",)).rescans == ""
    assert after(FIRST, replace(seen, changed_mode=0.9)).rescans == ""


@pytest.mark.parametrize("changed, limit, rescans", [(0.0, 38.0, "broad"), (0.1, 38.0, "all"), (0.1, 20.0, "")])
def test_most_images_are_scanned_again_once_at_the_end(changed, limit, rescans):
    """If something is known of their poses; a run that is cut short ends like any other."""
    seen = Measured((10.0,), 5.0, 30.0, broad_share=0.9, changed_mode=changed)
    last, _ = following(FIRST, seen, BOTH, 99.0, True, unknown_spread=limit)
    assert (last.stage, last.rescans) == ("final", rescans)


@pytest.mark.parametrize(
    ("changed", "spread", "rescans"), [(0.12, 3.1, "in turn"), (0.121, 3.1, "all"), (0.12, 3.0, "all")]
)
def test_images_are_scanned_in_turn_where_posteriors_overlap(changed, spread, rescans):
    seen = measured(20.0, 1.0, spread, changed_mode=changed, broad_share=0.4)
    schedule, reason = following(Schedule("local", 10.0), seen, BOTH, 99.0, False)
    assert schedule.rescans == rescans
    assert ("a third of the images is scanned again" in reason) == (rescans == "in turn")
    # All images of the global stage are scanned anyhow.
    assert after(FIRST, seen).rescans == ("in turn" if rescans == "in turn" else "")
    # Not while most posteriors are broad: a search about the last ones would lose what they hold.
    broad = replace(seen, broad_share=0.51)
    assert after(FIRST, broad).rescans == ""
    assert after(Schedule("global", 10.0, rescans="in turn"), broad).rescans == ""
    # Not those of several classes, nor in the final iteration.
    assert after(FIRST, replace(seen, shells=(20.0, 20.0))).rescans == ""
    last = following(Schedule("local", 10.0, rescans="in turn"), seen, BOTH, 99.0, True)[0]
    assert (last.stage, last.rescans) == ("final", "all")


def test_images_are_scanned_in_turn_from_then_on():
    now = Schedule("global", 10.0, rescans="in turn")
    seen = measured(20.0, 1.0, 2.0, changed_mode=0.2, broad_share=0.4)
    assert after(now, seen).rescans == "in turn"
    local = after(now, replace(seen, changed_mode=0.05, broad_share=0.2))
    assert (local.stage, local.rescans) == ("local", "in turn")
    # Until nothing is found any more.
    assert after(local, replace(seen, changed_mode=0.003, broad_share=0.0)).rescans == ""


def test_local_search_has_as_many_iterations_as_the_images_have_turns():
    seen = measured(20.0, 1.0, 4.0, changed_mode=0.05, broad_share=0.2)
    path = walk([seen] * 4, start=Schedule("local", 99.0, best_shell=20.0, rescans="in turn"))
    assert names(path) == ["local", "local", "final"]


@pytest.mark.parametrize("shell, stages, goes_on", [(8.1, ALL, True), (8.1, BOTH, True), (7.9, BOTH, False)])
def test_local_search_goes_on_while_r_high_grows_by_more_than_a_shell(shell, stages, goes_on):
    """To shell + 3, from 10; even if the resolution gains nothing."""
    now = after(Schedule("local", 10.0, best_shell=30.0, iterations=1), settled(shell), stages)
    assert (now.stage == "local") == goes_on


def test_local_search_has_two_iterations_at_least():
    first = after(Schedule("local", 13.0, best_shell=10.0), settled())
    assert (first.stage, after(first, settled()).stage) == ("local", "final")


@pytest.mark.parametrize("shell, stage", [(10.08, "local"), (10.06, "final")])
def test_local_search_goes_on_while_the_shell_grows_by_more_than_noise(shell, stage):
    now = Schedule("local", 13.0, best_shell=10.0, iterations=1)
    assert after(now, settled(shell)).stage == stage
    # Not if a search of the defocus follows.
    assert after(now, settled(shell), ALL).stage == "defocus"


def test_defocus_search_needs_a_resolution():
    now = Schedule("local", 13.0, best_shell=10.0, iterations=1)
    assert after(now, settled(10.0), ALL, defocus_from=9.9).stage == "defocus"
    assert after(now, settled(10.0), ALL, defocus_from=10.0).stage == "final"
    # The local search is at its end, not the global one.
    assert after(replace(now, stage="global", iterations=9, stalled=9), settled(10.0), ALL).stage == "local"


@pytest.mark.parametrize(
    "sigma_turn, turn, shell, stage",
    [
        (5.9, 40.0, 10.0, "final"),  # nothing is found: what changes is noise
        (6.1, 40.0, 10.0, "defocus"),
        (6.1, 5.9, 10.0, "final"),  # all is found
        (5.9, 5.9, 10.21, "defocus"),  # the resolution grows
    ],
)
def test_defocus_search_ends_when_nothing_is_found_and_the_resolution_stands(sigma_turn, turn, shell, stage):
    seen = settled(shell, sigma_turn=sigma_turn, defocus_moved=50.0, defocus_turn=turn)
    now, reason = following(Schedule("defocus", 13.0, best_shell=10.0), seen, ALL, 99.0, False)
    assert now.stage == stage
    assert f"defoci moved 50 A, which turns the CTF by {turn:.0f} deg" in reason


def test_defocus_search_that_never_stands_still_ends_after_four_iterations():
    now, seen, count = Schedule("defocus", 13.0, best_shell=10.0), settled(sigma_turn=40.0, defocus_turn=40.0), 0
    while now.stage == "defocus":
        now, count = after(now, seen, ALL), count + 1
    assert count == 4


@pytest.mark.parametrize("turn, shows", [(0.0, False), (5.9, False), (6.0, True)])
def test_defoci_tell_more_than_the_file_if_they_turn_the_ctf(turn, shows):
    assert shows_defocus(turn) == shows


def test_without_local_stage():
    path = walk(standing(), stages=("global",))
    assert names(path) == ["global", "global", "final"]


def test_first_change_is_infinite():
    schedule, reason = following(FIRST, measured(5.0, math.inf, 3.0), BOTH, 32.0, False)
    assert schedule.stage == "global"
    assert math.isfinite(schedule.r_high)
    assert "inf" not in reason
    assert "moved" not in reason


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
    assert names(path) == ["global", "global", "local", "local", "final"]
    assert all(schedule.best_shell == 12.0 for schedule, _ in path)


def test_local_search_begins_with_the_spread_of_the_global_one():
    """The plan takes from it how many points a posterior needs."""
    now = after(replace(FIRST, least_spread=4.0), replace(settled(), spread=3.0))
    assert (now.stage, now.least_spread) == ("local", 3.0)


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
    st.floats(0, 250),
)
def test_r_high_stays_between_its_limits(stage, r_high, shell, change, spread, r_limit, sure):
    now = Schedule(stage, min(r_high, r_limit), best_shell=shell / 2)
    seen = measured(shell, change, spread, sure_shell=sure)
    found, _ = following(now, seen, BOTH, r_limit, False)
    assert 3 <= found.r_high <= r_limit
    # No more than a margin beyond the resolution, so that noise is not aligned.
    assert found.r_high <= max(shell, 2) + max(3, 0.12 * shell) + 1e-9
    if found.stage == "global":
        assert found.r_high <= now.r_high + max(2.5, 0.6 * now.r_high) + 1e-9
        assert found.r_high <= max(now.r_high, sure + 2)
    if found.stage == "final" and stage != "final":
        assert found.best_shell == max(shell, now.best_shell)


@pytest.mark.parametrize(
    "r_high, shell, sure, expected",
    [
        (8.0, 90.0, 90.0, 12.8),  # by 60 %
        (3.0, 90.0, 90.0, 5.5),  # by 2.5 shells
        (8.0, 90.0, 9.0, 11.0),  # two shells beyond FSC 0.5
        (8.0, 90.0, 3.0, 8.0),  # which does not take back what was compared
        (8.0, 7.0, 90.0, 10.0),  # three shells beyond FSC 0.143
        (8.0, 4.0, 90.0, 7.0),  # which does
    ],
)
def test_growth_of_r_high_in_the_global_stage(r_high, shell, sure, expected):
    now = after(Schedule("global", r_high), measured(shell, 5.0, 2.0, sure_shell=sure))
    assert (now.stage, now.r_high) == ("global", pytest.approx(expected))


@pytest.mark.parametrize("shell, expected", [(50.0, 56.0), (10.0, 13.0), (1.0, 5.0)])
def test_r_high_of_the_local_stage_follows_the_resolution(shell, expected):
    """At once, from its beginning on; where the half-maps agree by 0.5 does not matter."""
    seen = settled(shell, sure_shell=2.0)
    for begin in (Schedule("local", 10.0), Schedule("global", 10.0)):
        assert after(begin, seen).r_high == pytest.approx(expected)


@given(st.floats(1, 500), st.floats(1, 500))
def test_insertion_limit(r_high, nyquist):
    limit = insertion_limit(min(r_high, nyquist), nyquist)
    assert limit <= nyquist
    assert limit == nyquist or (limit == int(limit) and limit >= r_high + max(5, 0.25 * r_high))
