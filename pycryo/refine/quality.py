"""Which images show a particle: a score of each, and what is known of the two kinds (docs/method.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Excess power counts from so many standard deviations of the set on, and each one above takes so much off the log
# evidence: with these, an off-centre particle does not pass for a good one, and of good ones hardly any loses a tenth.
_TOLERATED_EXCESS = 2.0
_PRICE_OF_EXCESS = 3.0
# Scores are cut to this range: beyond, they say no more.
_LEAST_SCORE, _MOST_SCORE = -1.0, 2.5
# What images without a particle may score on average; measured -0.7 to -0.1, more where noise is fitted.
_MOST_JUNK_SCORE = 0.25
# Means of the two kinds lie so many standard deviations apart, or there are not two kinds.
_APART = 2.5
# A set of one kind ends so many standard deviations below its median.
_TAIL = 3.0
# Images that the kinds are told from, at the most.
_MAX_FITTED = 100_000
_MAX_STEPS = 60


@dataclass(frozen=True, slots=True)
class Quality:
    """What the scores of all images say.

    Attributes
    ----------
    score : (n,) float64
        1: as well explained by the model as a particle of its own contrast and noise is expected to be; 0: no better
        than by noise alone.
    particle : (n,) float64
        Probability that the image shows a particle.
    threshold : float
        Images that score less are better left out.
    is_mixed : bool
        There are two kinds of images; else `threshold` marks the lower end of the one kind.
    """

    score: Array
    particle: Array
    threshold: float
    is_mixed: bool

    @property
    def n_junk(self) -> int:
        """Images that look like something other than a particle."""
        return int(np.count_nonzero(self.score < self.threshold)) if self.is_mixed else 0


def rate(log_evidence: Array, model: Array, excess: Array) -> Quality:
    """Score images and tell particles from other images.

    Parameters
    ----------
    log_evidence : (n,) float64
        See `pycryo.filter.support.Posterior`.
    model : (n,) float64
        Σ W|S|², twice the log-likelihood that a particle is expected to gain over noise alone.
    excess : (n,) float64
        See `pycryo.refine.noise.excess_power`.

    Returns
    -------
    Quality
    """
    if not len(log_evidence):
        return Quality(np.empty(0), np.empty(0), 0.0, False)
    score = _score(log_evidence, model, excess)
    # The log-likelihood of a particle varies by √model about its expected ½ model.
    variance = 4 / np.maximum(model, 1.0)
    kinds = _two_kinds(_sample(score), _sample(variance))
    if kinds is None:
        middle, spread = _middle_and_spread(score)
        return Quality(score, np.ones(len(score)), middle - _TAIL * spread, False)
    particle = _probability(kinds, score, variance)
    return Quality(score, particle, _least_errors(score, particle), True)


def describe(n_junk: int, n: int, threshold: float) -> str:
    """What the scores say, for the log."""
    share = 100 * n_junk / max(1, n)
    return f"images: {n_junk} of {n} ({share:.1f} %) look like junk, suggested threshold of the score {threshold:.3f}"


def _score(log_evidence: Array, model: Array, excess: Array) -> Array:
    middle, spread = _middle_and_spread(excess)
    above = np.maximum((excess - middle) / max(spread, 1e-9) - _TOLERATED_EXCESS, 0)
    gain = (log_evidence - _PRICE_OF_EXCESS * above) / np.maximum(0.5 * model, 0.5)
    return np.clip(gain, _LEAST_SCORE, _MOST_SCORE)


def _middle_and_spread(values: Array) -> tuple[float, float]:
    """Median, and the standard deviation of a normal distribution with their median deviation."""
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))


def _sample(values: Array) -> Array:
    return values[:: -(-len(values) // _MAX_FITTED)]


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Normal distributions of the scores of bad (0) and good (1) images; `width` in units of the expected variance."""

    share: Array
    mean: Array
    width: Array

    def log_density(self, score: Array, variance: Array) -> Array:
        """(2, n): of each kind, with its share."""
        spread = self.width[:, None] * variance
        return np.asarray(
            np.log(self.share)[:, None] - 0.5 * np.log(spread) - 0.5 * np.square(score - self.mean[:, None]) / spread
        )


def _two_kinds(score: Array, variance: Array) -> _Kinds | None:
    """Fit both kinds by expectation and maximization; None if there is only one."""
    upper = float(np.median(score[score >= np.median(score)]))
    kinds = _Kinds(np.array([0.2, 0.8]), np.array([min(-0.3, upper - 1), upper]), np.ones(2))
    weight = 1 / variance
    for _ in range(_MAX_STEPS):
        each = kinds.log_density(score, variance)
        belongs = np.exp(each - np.logaddexp(each[0], each[1]))
        count = belongs.sum(axis=1)
        share = np.clip(count / len(score), 1e-3, 1)
        precise = np.maximum((belongs * weight).sum(axis=1), 1e-300)
        mean = (belongs * weight * score).sum(axis=1) / precise
        mean[0] = min(mean[0], _MOST_JUNK_SCORE)
        off = np.square(score - mean[:, None]) * weight
        width = np.clip((belongs * off).sum(axis=1) / np.maximum(count, 1e-9), 0.3, 6.0)
        moved = np.abs(mean - kinds.mean).max()
        kinds = _Kinds(share / share.sum(), mean, width)
        if moved < 1e-4:
            break
    spread = np.sqrt(kinds.width * np.median(variance))
    apart = (kinds.mean[1] - kinds.mean[0]) / np.sqrt(np.square(spread).mean())
    return kinds if apart >= _APART and kinds.share[0] * len(score) >= 1 else None


def _probability(kinds: _Kinds, score: Array, variance: Array) -> Array:
    each = kinds.log_density(score, variance)
    # Whatever scores more than the average particle is one: the wider kind would win far out.
    each[0][score >= kinds.mean[1]] = -np.inf
    return np.asarray(np.exp(each[1] - np.logaddexp(each[0], each[1])))


def _least_errors(score: Array, particle: Array) -> float:
    """The threshold that is expected to sort the fewest images wrongly."""
    order = np.argsort(score, kind="stable")
    gain = np.cumsum(1 - 2 * particle[order])
    best = int(np.argmax(gain))
    if gain[best] <= 0:
        return float(score[order[0]])
    if best + 1 == len(order):
        return float(score[order[-1]])
    return float(0.5 * (score[order[best]] + score[order[best + 1]]))
