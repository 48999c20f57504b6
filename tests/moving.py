"""Refinements in a hurry, and those whose images move between the ranks after each iteration."""

from __future__ import annotations

import numpy as np

from pycryo.refinement import stage_schedule
from pycryo.refinement.resources import balance
from pycryo.refinement.start.first_setup import set_up
from pycryo.refinement.start.first_state import first_state
from pycryo.refinement.step import iterate


def hurry(monkeypatch) -> None:
    """Let each stage be over after an iteration or two: what is tested is that all of them give the same.

    The defoci found are kept, whatever they tell.
    """
    monkeypatch.setattr(stage_schedule, "_MAX_GLOBAL", 2)
    monkeypatch.setattr(stage_schedule, "_LEAST_ITERATIONS", 2)
    monkeypatch.setattr(stage_schedule, "_PATIENCE", 0)
    monkeypatch.setattr(stage_schedule, "_SETTLED_DEFOCUS", 0.0)
    monkeypatch.setattr(stage_schedule, "_MOST_STALLED", 1)


def cuts(size: int, n: int, number: int) -> np.ndarray:
    """Bounds of `size` pieces of n particles: other ones for each number, some of them empty."""
    rng = np.random.default_rng(number)
    inner = rng.integers(0, n + 1, size - 1)
    if number % 2:
        inner[: size // 2] = 0
    return np.concatenate([[0], np.sort(inner), [n]])


def force_moves(monkeypatch) -> None:
    """Let `balance` deal otherwise after each iteration, whatever was measured."""
    numbers = iter(range(1000))
    monkeypatch.setattr(
        balance, "next_bounds", lambda bounds, *_: cuts(len(bounds) - 1, int(bounds[-1]), next(numbers))
    )


def refine_moving(particles, reference, options, comm):
    """The last outcome, all records and the rows held in each iteration."""
    setup, start = set_up(comm, particles, reference, None, options)
    state = first_state(setup, start)
    history, held = [], []
    while True:
        final = state.schedule.stage == "final"
        outcome = iterate(setup, state)
        history.append(outcome.record)
        held.append(setup.partition.rows)
        if final:
            return outcome, history, held
        setup, state = balance.balance(setup, outcome.state, outcome.record.load)
