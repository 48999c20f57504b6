"""Which images show a particle: a score of each, and what is known of the two kinds (docs/method.md, Bad particles)."""

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
# Least standard deviation of the log model of a kind.
_LEAST_SPREAD = 0.05


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
        See `pycryo.refinement.maximization.noise.excess_power`.

    Returns
    -------
    Quality
    """
    if not len(log_evidence):
        return Quality(np.empty(0), np.empty(0), 0.0, False)
    model = np.maximum(model, 1.0)
    score = _score(log_evidence, model, excess)
    kinds = _two_kinds(_sample(score), _sample(model))
    if kinds is None:
        middle, spread = _middle_and_spread(score)
        return Quality(score, np.ones(len(score)), middle - _TAIL * spread, False)
    particle = _probability(kinds, score, model)
    return Quality(score, particle, _least_errors(score, particle), True)


def rate_classes(log_evidence: Array, model: Array, excess: Array, class_index: NDArray[np.int32]) -> Quality:
    """`rate` within each class: an image is compared with others of its own map.

    The threshold is the lowest of all classes, those with junk first.

    Parameters
    ----------
    log_evidence, model, excess : (n,) float64
    class_index : (n,) int32
    """
    score, particle = np.zeros((2, len(model)))
    found = []
    for k in np.unique(class_index):
        mine = class_index == k
        each = rate(log_evidence[mine], model[mine], excess[mine])
        score[mine], particle[mine] = each.score, each.particle
        found.append(each)
    is_mixed = any(each.is_mixed for each in found)
    thresholds = [each.threshold for each in found if each.is_mixed or not is_mixed]
    return Quality(score, particle, min(thresholds, default=0.0), is_mixed)


def describe(n_junk: int, n: int, threshold: float) -> str:
    """What the scores say, for the log."""
    if not n_junk:
        return f"images: none of {n} looks like junk"
    share = f"{n_junk} of {n} ({100 * n_junk / max(1, n):.1f} %)"
    worse = ", at which noise explains an image better than the map" if threshold < 0 else ""
    return f"images: {share} look like junk, suggested threshold of the score {threshold:.3f}{worse}"


def _score(log_evidence: Array, model: Array, excess: Array) -> Array:
    middle, spread = _middle_and_spread(excess)
    above = np.maximum((excess - middle) / max(spread, 1e-9) - _TOLERATED_EXCESS, 0)
    gain = (log_evidence - _PRICE_OF_EXCESS * above) / (0.5 * model)
    return np.clip(gain, _LEAST_SCORE, _MOST_SCORE)


def _middle_and_spread(values: Array) -> tuple[float, float]:
    """Median, and the standard deviation of a normal distribution with their median deviation."""
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))


def _sample(values: Array) -> Array:
    return values[:: -(-len(values) // _MAX_FITTED)]


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Normal distributions of score and log model of bad (0) and good (1) images, (2,) each.

    `width` is the variance of the scores in units of what a particle is expected to have; `middle` and `spread` are of
    the log model, which is lower where there is nothing to explain.
    """

    share: Array
    mean: Array
    width: Array
    middle: Array
    spread: Array

    def log_density(self, score: Array, model: Array) -> Array:
        """(2, n): of each kind, with its share; up to a term that both have."""
        off = np.square(score - self.mean[:, None]) / _expected_variance(model) / self.width[:, None]
        off += np.square((np.log(model) - self.middle[:, None]) / self.spread[:, None])
        return np.asarray(np.log(self.share / np.sqrt(self.width) / self.spread)[:, None] - 0.5 * off)


def _expected_variance(model: Array) -> Array:
    """Of the scores of particles: their log-likelihoods vary by √model about ½ model."""
    return 4 / model


def _two_kinds(score: Array, model: Array) -> _Kinds | None:
    """Fit both kinds by expectation and maximization; None if there is only one."""
    upper = float(np.median(score[score >= np.median(score)]))
    both = np.array([min(-0.3, upper - 1), upper])
    weight, log_model = 1 / _expected_variance(model), np.log(model)
    middle, spread = log_model.mean(), max(float(log_model.std()), _LEAST_SPREAD)
    kinds = _Kinds(np.array([0.2, 0.8]), both, np.ones(2), np.full(2, middle), np.full(2, spread))
    for _ in range(_MAX_STEPS):
        each = kinds.log_density(score, model)
        belongs = np.exp(each - np.logaddexp(each[0], each[1]))
        before, kinds = kinds, _updated(belongs, score, weight, log_model)
        if np.abs(kinds.mean - before.mean).max() < 1e-4:
            break
    deviation = np.sqrt((kinds.width / np.median(weight)).mean())
    is_apart = kinds.mean[1] - kinds.mean[0] >= _APART * deviation
    return kinds if is_apart and kinds.mean[0] < _MOST_JUNK_SCORE and kinds.share[0] * len(score) >= 1 else None


def _updated(belongs: Array, score: Array, weight: Array, log_model: Array) -> _Kinds:
    """The kinds from probabilities (2, n) that images belong to them."""
    count = np.maximum(belongs.sum(axis=1), 1e-9)
    share = np.clip(count / len(score), 1e-3, 1)
    precise = belongs * weight
    mean = (precise * score).sum(axis=1) / np.maximum(precise.sum(axis=1), 1e-300)
    mean[0] = min(mean[0], _MOST_JUNK_SCORE)
    width = (precise * np.square(score - mean[:, None])).sum(axis=1) / count
    middle = (belongs * log_model).sum(axis=1) / count
    spread = np.sqrt((belongs * np.square(log_model - middle[:, None])).sum(axis=1) / count)
    return _Kinds(share / share.sum(), mean, np.maximum(width, 0.3), middle, np.maximum(spread, _LEAST_SPREAD))


def _probability(kinds: _Kinds, score: Array, model: Array) -> Array:
    """(n,) that an image is of the good kind."""
    each = kinds.log_density(score, model)
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
