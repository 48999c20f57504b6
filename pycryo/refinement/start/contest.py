"""Tries to find a map from random starts, and which of them goes on (docs/method.md, A map from no reference)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

import numpy as np

from pycryo.parallel.collective_errors import on_all
from pycryo.progress import raise_held, track
from pycryo.refinement.maximization.noise import first_noise
from pycryo.refinement.schedule import Schedule
from pycryo.refinement.setup import Setup
from pycryo.refinement.start.abinitio_options import AbinitioOptions
from pycryo.refinement.start.stochastic import FIRST_SHIFT, Round, draw_batch, first_reference, log_evidence, run_round
from pycryo.refinement.state import State
from pycryo.timer import Timer

log = logging.getLogger(__name__)

# Rounds of each leg; the likelier half of the tries goes on after the first and the second.
_LEGS = (10, 8, 8)
# Rounds at the first resolution, in which the tries find a shape.
_SHAPING = 6
# Rounds of the best try on all images.
_FINAL = 3
# Images that the tries are compared by.
_JUDGES = 400
# Numbers of a try's rounds, which are the keys of their draws, begin with so many times its own; the comparisons of the
# tries and the batches of all images have those of the first try from here on.
_KEYS, _JUDGING, _FINAL_BATCH = 1000, 900, 800
# Least r_high, shells.
_LEAST_HIGH = 4.0


@dataclass(frozen=True, slots=True)
class Leg:
    """How the tries stood at the end of a leg.

    Attributes
    ----------
    resolution : float
        To which images were compared, Å.
    rounds : int
        Of each try so far.
    evidence : dict of int to float
        Mean log evidence per image of each try that took part, with the same noise.
    kept : list of int
        Tries that go on, the likeliest first.
    """

    resolution: float
    rounds: int
    evidence: dict[int, float]
    kept: list[int]


@dataclass(frozen=True, slots=True)
class Try:
    """A try: its number and what it knows."""

    number: int
    state: State


@dataclass(slots=True)
class Contest:
    """The tries and their rounds. All methods are collective.

    Attributes
    ----------
    setup : Setup
        Of all images used.
    options : AbinitioOptions
    legs : list of Leg
        Those done.
    timer : Timer
    """

    setup: Setup
    options: AbinitioOptions
    legs: list[Leg] = field(default_factory=list)
    timer: Timer = field(default_factory=Timer)

    def run(self) -> Round:
        """All legs, then rounds of the best try on all images: the last of them."""
        tries = [self.start(number) for number in range(self.options.tries)]
        for leg in range(len(_LEGS)):
            tries = self.run_leg(tries, leg)
        return self._finish(tries[0])

    @property
    def limits(self) -> tuple[float, float]:
        """Limits of the comparison in the first and in the last round, shells."""
        setup = self.setup
        first, last = (setup.field_of_view / each for each in self.options.resolutions(setup.diameter))
        most = setup.box / 2 - 1
        return min(max(first, _LEAST_HIGH), most), min(max(last, _LEAST_HIGH), most)

    def start(self, number: int) -> Try:
        """A try with a map of images at random orientations."""
        setup, optics = self.setup, self.setup.partition.particles.optics
        state = State(
            number=_KEYS * number,
            schedule=Schedule("global", self.limits[0]),
            references=(),
            class_share=np.ones(1),
            noise=first_noise(setup.statistics, setup.partition.particles),
            scale=np.asarray(setup.pixel_size / optics.pixel_size, np.float64),
            sigma_shift=FIRST_SHIFT * setup.field_of_view,
            sigma_defocus=None,
            posteriors=(None, None),
            insertion_weight=np.ones(setup.partition.particles.n),
        )
        reference = first_reference(draw_batch(setup, self.options.first_batch, state.number), state)
        return Try(number, replace(state, references=((reference, reference),)))

    def run_leg(self, tries: list[Try], leg: int) -> list[Try]:
        """Some rounds of each try, then the likelier half of them, the likeliest first; one after the last leg."""
        rounds = range(sum(_LEGS[:leg]), sum(_LEGS[: leg + 1]))
        for k in track(rounds, len(rounds), f"leg {leg + 1} of {len(_LEGS)}, {len(tries)} tries"):
            tries = [replace(each, state=self._round(each, k).state) for each in tries]
        r_high, keep = r_high_of(rounds[-1], *self.limits), -(-len(tries) // 2)
        evidence = self._judge(tries, leg, r_high)
        order = np.argsort([-value for value in evidence], kind="stable")
        kept = [tries[i] for i in order[: 1 if leg == len(_LEGS) - 1 else keep]]
        found = {each.number: value for each, value in zip(tries, evidence, strict=True)}
        self.legs.append(Leg(self.setup.field_of_view / r_high, rounds[-1] + 1, found, [each.number for each in kept]))
        log.info("%s", describe(self.legs[-1]))
        return kept

    def _round(self, each: Try, k: int) -> Round:
        on_all(self.setup.partition.comm, raise_held)
        setup = draw_batch(self.setup, self._batch_size(k), _KEYS * each.number + k)
        r_high = r_high_of(k, *self.limits)
        return run_round(setup, each.state, _KEYS * each.number + k, r_high, self.timer)

    def _batch_size(self, k: int) -> int:
        """Images of round `k` of a try."""
        return batch_size_of(k, self.options.first_batch, self.options.last_batch)

    def _judge(self, tries: list[Try], leg: int, r_high: float) -> list[float]:
        """Mean log evidence of the same images for each try, with the mean of their noise spectra."""
        noise = np.mean([each.state.noise for each in tries], axis=0)
        sigma_shift = float(np.mean([each.state.sigma_shift for each in tries]))
        setup = draw_batch(self.setup, _JUDGES, _JUDGING + leg)
        states = [replace(each.state, noise=noise, sigma_shift=sigma_shift) for each in tries]
        # With the same draws for all.
        return [log_evidence(setup, state, _JUDGING + leg, r_high, self.timer) for state in states]

    def _finish(self, best: Try) -> Round:
        """Rounds of one try on all images."""
        state = best.state
        for k in track(range(_FINAL), _FINAL, "all images"):
            setup = draw_batch(self.setup, self.setup.partition.particles.n, _FINAL_BATCH + k)
            found = run_round(setup, state, _KEYS * best.number + sum(_LEGS) + k, self.limits[1], self.timer)
            state = found.state
        return found


def r_high_of(k: int, first: float, last: float) -> float:
    """Limit of the comparison in round `k` of a try: constant at first, then rising evenly to the last one."""
    return first + (last - first) * min(1.0, max(0, k - _SHAPING + 1) / (sum(_LEGS) - _SHAPING))


def batch_size_of(k: int, first: int, last: int) -> int:
    """Images of round `k` of a try: from `first` to `last`, by the same factor in each."""
    growth: float = (last / first) ** (k / (sum(_LEGS) - 1))
    return round(first * growth)


def describe(leg: Leg) -> str:
    """A leg in a line."""
    shown = ", ".join(f"try {number + 1} {value:.2f}" for number, value in sorted(leg.evidence.items()))
    kept = ", ".join(str(number + 1) for number in leg.kept)
    return f"after {leg.rounds} rounds, to {leg.resolution:.1f} Å: log evidence per image {shown}; kept: {kept}"
