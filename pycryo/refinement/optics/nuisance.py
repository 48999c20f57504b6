"""What the pose, grey scale and decay of an image can take of the derivatives by the optics of its group.

They were found with other optics, which they hide in part: eliminated image by image, they need not be right.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pycryo.refinement.optics.fit import even_basis, odd_basis

Array = NDArray[np.float64]

# Keeps the poses of symmetric particles from being undetermined.
_RIDGE = 1e-6
# Of the phases: those of third powers, which a shift of the group is not part of, and symmetric ones.
_N_ODD, _N_EVEN = 4, 9
_SIZES = (_N_ODD, _N_ODD * _N_ODD, _N_EVEN, _N_EVEN * _N_EVEN)
N_TAKEN = sum(_SIZES)


@dataclass(frozen=True, slots=True)
class Taken:
    """Sums over images of what is to be taken off derivatives by phases, x and y in 1/Å.

    Attributes
    ----------
    odd, odd_second : (4,), (4, 4) float64
        By the last four of `odd_basis`: the slope and the expected second derivatives.
    even, even_second : (9,), (9, 9) float64
        By `even_basis`.
    """

    odd: Array
    odd_second: Array
    even: Array
    even_second: Array

    @classmethod
    def of_sums(cls, sums: Array) -> Taken:
        """Of (`N_TAKEN`,) sums of `Nuisance.of_phases`."""
        odd, odd_second, even, even_second = np.split(sums, np.cumsum(_SIZES)[:-1])
        return cls(odd, odd_second.reshape(_N_ODD, _N_ODD), even, even_second.reshape(_N_EVEN, _N_EVEN))

    @property
    def of_odd(self) -> tuple[Array, Array]:
        """Of third powers."""
        return self.odd, self.odd_second

    def of_even(self, count: int) -> tuple[Array, Array]:
        """Of the first `count` symmetric ones."""
        return self.even[:count], self.even_second[:count, :count]


@dataclass(frozen=True, slots=True)
class Nuisance:
    """Derivatives of images by the magnification, `mine`, and by what is eliminated, `theirs`.

    Attributes
    ----------
    mine, theirs : lists of (n, 2, n_pixel) float64
        Derivatives of the slices.
    left : (n, 2, n_pixel) float64
        CTF·(image - model)/σ².
    weights : (n, n_pixel) float64
        CTF²/σ².
    """

    mine: list[Array]
    theirs: list[Array]
    left: Array
    weights: Array
    _first: Array = field(init=False)
    _size: Array = field(init=False)
    _inverse: Array = field(init=False)

    def __post_init__(self) -> None:
        n, count = len(self.left), len(self.theirs)
        first = np.stack([_dot(self.left, each) for each in self.theirs], axis=1)
        second = np.empty((n, count, count))
        for i in range(count):
            weighted = self.weights[:, None] * self.theirs[i]
            for j in range(i, count):
                second[:, i, j] = second[:, j, i] = _dot(weighted, self.theirs[j])
        size = np.sqrt(np.maximum(np.diagonal(second, axis1=1, axis2=2), 1e-300))
        scaled = second / (size[:, :, None] * size[:, None])
        object.__setattr__(self, "_first", first / size)
        object.__setattr__(self, "_size", size)
        object.__setattr__(self, "_inverse", np.linalg.inv(scaled + _RIDGE * np.eye(count)))

    def without(self) -> tuple[Array, Array]:
        """Derivatives (n, 3), (n, 6) by the magnification, with all else at its best for each image.

        A distorted image looks like one that is tilted a little more: poses that were found without the magnification
        hide a part of it.
        """
        n = len(self.left)
        first = np.stack([_dot(self.left, each) for each in self.mine], axis=1)
        second, mixed = np.empty((n, 3, 3)), np.empty((n, 3, len(self.theirs)))
        for i in range(3):
            weighted = self.weights[:, None] * self.mine[i]
            for j in range(i, 3):
                second[:, i, j] = second[:, j, i] = _dot(weighted, self.mine[j])
            for j, each in enumerate(self.theirs):
                mixed[:, i, j] = _dot(weighted, each)
        slope, hessian = self._taken(mixed)
        upper, right_of = np.triu_indices(3)
        return first - slope, (second - hessian)[:, upper, right_of]

    def of_phases(
        self,
        some: NDArray[np.bool_],
        at: tuple[Array, Array],
        slices: Array,
        sine: Array,
        cosine: Array,
        weights: Array,
    ) -> Array:
        """(m, `N_TAKEN`) what is to be taken off the derivatives by phases of m of the images.

        Parameters
        ----------
        some : (n,) bool
            Which.
        at : two (n_pixel,) float64
            M k of their group, 1/Å.
        slices : (m, 2, n_pixel) float64
        sine, cosine, weights : (m, n_pixel) float64
            Of the phase of their CTF, and σ⁻².
        """
        odd, even = odd_basis(*at)[:, 2:], even_basis(*at)
        # A phase turns the samples, an error of the CTF's changes their size.
        turning, sizing = sine * sine * weights, -sine * cosine * weights
        antisymmetric, symmetric = [], []
        for each in self.theirs:
            slope = each[some]
            turned = turning * (slices[:, 0] * slope[:, 1] - slices[:, 1] * slope[:, 0])
            sized = sizing * (slices * slope).sum(axis=1)
            # One product for each image: of many at once sums would depend on how many there are.
            antisymmetric.append((turned[:, None] @ odd)[:, 0])
            symmetric.append((sized[:, None] @ even)[:, 0])
        parts = []
        for mixed in (antisymmetric, symmetric):
            slope, second = self._taken(np.stack(mixed, axis=2), some)
            parts += [slope, second.reshape(len(slope), -1)]
        return np.concatenate(parts, axis=1)

    def _taken(self, mixed: Array, some: NDArray[np.bool_] | slice = slice(None)) -> tuple[Array, Array]:
        """Slopes (m, p) and second derivatives (m, p, p) that go with (m, p, count) mixed ones."""
        mixed = mixed / self._size[some, None]
        solved = mixed @ self._inverse[some]
        return (solved @ self._first[some, :, None])[:, :, 0], solved @ mixed.swapaxes(1, 2)


def _dot(one: Array, other: Array) -> Array:
    """(n,) of two (n, 2, n_pixel)."""
    return np.asarray((one * other).sum(axis=2).sum(axis=1))
