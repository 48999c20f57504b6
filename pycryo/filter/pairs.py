"""Every rotation with every shift of an image: log densities of the pairs, the best one, marginals, draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import pycryo.filter._weights as _weights
from pycryo.filter.support import Array, Rows
from pycryo.threads import get_threads


@dataclass(frozen=True, slots=True)
class Marginals:
    """Weights of the rotations and shifts of n images, those of their pairs added up.

    Attributes
    ----------
    rotation : (n, R) float64
        Sum 1.
    shift : (n, T) float64
        Sum 1.
    shift_alike : (n, T) float64
        With the rotations of one class only.
    """

    rotation: Array
    shift: Array
    shift_alike: Array


@dataclass(frozen=True, slots=True)
class PairDraws:
    """Pairs that are drawn of those of n images, and figures of their weights.

    Attributes
    ----------
    index : (n, count) int64
        r·T + t, ascending.
    log_mean : (n,) float64
        Of the mean of all weights before they are normalised.
    p_max : (n,) float64
        Largest weight.
    effective : (n,) float64
        Sample size.
    """

    index: NDArray[np.int64]
    log_mean: Array
    p_max: Array
    effective: Array


@dataclass(frozen=True, slots=True)
class Pairs:
    """Log densities of n images' pairs: ``of_pair[i, r, t] + of_rotation[i, r] + of_shift[i, t]``.

    Attributes
    ----------
    of_pair : (n, R, T) float32
    of_rotation : (n, R) float64
    of_shift : (n, T) float64
    """

    of_pair: NDArray[np.float32]
    of_rotation: Array
    of_shift: Array

    def of(self, rows: Rows) -> Pairs:
        """Those of some images."""
        return Pairs(self.of_pair[rows], self.of_rotation[rows], self.of_shift[rows])

    def over(self, of_rotation: Array, of_shift: Array) -> Pairs:
        """The same divided by densities whose logs are these."""
        return Pairs(self.of_pair, self.of_rotation - of_rotation, self.of_shift - of_shift)

    def best(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
        """(n,) rotation and shift of the best pair of each image, and its log density."""
        index, value = _weights.best_pairs(self.of_pair, self.of_rotation, self.of_shift)
        return *np.divmod(index, self.of_pair.shape[2]), value

    def marginals(self, classes: NDArray[np.int32], its_class: NDArray[np.int32], min_effective: float) -> Marginals:
        """Weights of rotations and shifts, flattened to an effective number of pairs (0: not flattened).

        Parameters
        ----------
        classes : (n, R) int32
            Of the rotations.
        its_class : (n,) int32
            That of `Marginals.shift_alike`.
        min_effective : float
            See `pycryo.filter.resampling.flatten_weights`.
        """
        return Marginals(
            *_weights.pair_marginals(
                self.of_pair, self.of_rotation, self.of_shift, classes, its_class, min_effective, get_threads()
            )
        )

    def draw(self, offset: Array, count: int) -> PairDraws:
        """Draw pairs by their weights, as `pycryo.filter.resampling.resample` does."""
        index, figures = _weights.draw_pairs(
            self.of_pair, self.of_rotation, self.of_shift, offset, count, get_threads()
        )
        return PairDraws(index, *figures.T)
