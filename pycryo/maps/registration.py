"""How a map lies against another one that shows nearly the same: a small turn and move, by least squares.

The other map's transform is turned and moved onto the map's samples below a frequency. Each bin of the radius has its
own gain and counts by the noise that the fit leaves over. A prior keeps what the samples do not tell, such as the turn
of a sphere, at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry.frames import single_axis
from pycryo.geometry.rotations import from_rotation_vector, quaternion_to_matrix
from pycryo.geometry.symmetry import Symmetry
from pycryo.maps.density import Map, soft_sphere

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

# A motion beyond so many of them is none that a refinement makes by itself.
_FURTHEST = 5.0
# Padding of the transform that is read between its samples, by cubic splines.
_PADDING = 3
# Noise of a bin is not below this share of its power: errors of the interpolation.
_LEAST_NOISE = 1e-4
# Rounds of gains and noise, and of the motion that is best with them.
_N_ROUND = 4
# Bins of the radius per Fourier px: the gain of a shell would not follow the edge of a low-pass.
_PER_PX = 2
# Step of slopes in units of the prior.
_DIFFERENCE = 1e-4


@dataclass(frozen=True, slots=True)
class Motion:
    """The rigid motion u -> M u + c.

    Attributes
    ----------
    quaternion : (4,) float64
        M, of vectors (x, y, z) from the centre voxel.
    move : (3,) float64
        c, (x, y, z), Å.
    """

    quaternion: Array
    move: Array

    @property
    def angle(self) -> float:
        """Degrees."""
        return float(np.rad2deg(2 * np.arctan2(np.linalg.norm(self.quaternion[1:]), abs(self.quaternion[0]))))

    @property
    def distance(self) -> float:
        """Å."""
        return float(np.linalg.norm(self.move))


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a motion beforehand, and which samples tell it.

    Attributes
    ----------
    turn, move : float
        Standard deviations per axis: degrees, and a share of the diameter.
    least_correlation : float
        The fit ends before the first bin that has less: bins at the edge of a low-pass pull towards no motion.
    """

    turn: float = 2.0
    move: float = 0.015
    least_correlation: float = 0.6


# Of one iteration.
_DRIFT = Expected()


@dataclass(frozen=True, slots=True)
class Registration:
    """What `register` found.

    Attributes
    ----------
    motion : Motion
        The map V is like the target at u if it is read at M u + c.
    n_free : int
        Parameters that the symmetry leaves free.
    correlation : float
        Of both after the motion, where they are alike, without their rotational averages, bins counted by their
        amplitude.
    gain : float
        χ² that the motion explains: about `n_free` if it is chance.
    is_small : bool
        The motion is within the limits of the search.
    """

    motion: Motion
    n_free: int
    correlation: float
    gain: float
    is_small: bool


def register(
    source: Map,
    target: Map,
    group: Symmetry,
    *,
    r_high: float,
    diameter: float,
    expected: Expected = _DRIFT,
) -> Registration | None:
    """Find the small motion that brings a map onto another one; None if the symmetry leaves none free.

    Free are all six parameters for C1, turn and move about a single axis, nothing for the other groups.

    Parameters
    ----------
    source : Map
        V.
    target : Map
        Of the same box and pixel size; it may be low-passed.
    group : Symmetry
    r_high : float
        Fourier px; samples beyond are left out.
    diameter : float
        Å; what of the map lies outside this sphere is left out.
    expected : Expected
    """
    free = free_parameters(group)
    if not len(free):
        return None
    fit = _Fit.of(source, target, free, r_high, diameter, expected)
    values = start = np.zeros(len(free))
    for _ in range(_N_ROUND):
        weight = fit.weights(values)
        values = fit.best(values, weight)
    before, after = (float(np.square(fit.residuals(each, weight)).sum()) for each in (start, values))
    return Registration(
        motion=fit.motion(values),
        n_free=len(free),
        correlation=fit.correlation(values, weight[0]),
        gain=before - after,
        is_small=bool(np.abs(values).max() < _FURTHEST),
    )


def free_parameters(group: Symmetry) -> NDArray[np.int64]:
    """Which of turns about x, y, z (0 to 2) and moves along x, y, z (3 to 5) the symmetry leaves free, ascending."""
    if len(group) == 1:
        return np.arange(6)
    axis = single_axis(group)
    return np.array([] if axis is None else [axis, axis + 3], np.int64)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Samples of a map and what is fitted to them: values (f,) are the free parameters in units of `prior` (f,).

    `at` (n, 3) are the samples (x, y, z), Fourier px, one of each Friedel pair, and `bins` (n,) theirs; `samples` (n,)
    are the map's. `real` and `imaginary` are splines of the target's padded transform. `share` is the number of
    independent samples over all. For `least_correlation` see `Expected`.
    """

    at: Array
    bins: NDArray[np.int64]
    samples: Complex
    real: Array
    imaginary: Array
    free: NDArray[np.int64]
    prior: Array
    share: float
    field: float
    least_correlation: float

    @classmethod
    def of(
        cls,
        source: Map,
        target: Map,
        free: NDArray[np.int64],
        r_high: float,
        diameter: float,
        expected: Expected,
    ) -> _Fit:
        box, field = source.box, source.box * source.pixel_size
        inside = soft_sphere(box, min(0.5 * diameter / source.pixel_size, box / 2 - 2), 2.0).astype(np.float64)
        spectrum = _centred_transform(source.data * inside)
        z, y, x = (np.indices(spectrum.shape) - box // 2).reshape(3, -1)
        radius = np.sqrt(x**2 + y**2 + z**2)
        half = (z > 0) | ((z == 0) & ((y > 0) | ((y == 0) & (x > 0))))
        chosen = half & (radius <= min(r_high, (box - 1) // 2))
        at = np.stack([x, y, z], axis=1)[chosen].astype(np.float64)
        prior = np.array([np.deg2rad(expected.turn)] * 3 + [expected.move * diameter] * 3)[free]
        samples = spectrum.ravel()[chosen]
        bins = np.rint(_PER_PX * radius[chosen]).astype(np.int64)
        splines = _splines(target.data.astype(np.float64), r_high)
        share, least = float(np.mean(inside)), expected.least_correlation
        return cls(at, bins, samples, *splines, free, prior, share, field, least)

    def motion(self, values: Array) -> Motion:
        turn_move = np.zeros(6)
        turn_move[self.free] = values * self.prior
        return Motion(from_rotation_vector(turn_move[:3]), turn_move[3:])

    def model(self, values: Array) -> Complex:
        """(n,) the target's transform, moved: V(v) = S(Mᵀ(v - c)) is S(Mᵀk) exp(-2πi k·c / field) there."""
        from scipy import ndimage

        motion = self.motion(values)
        points = (self.at @ quaternion_to_matrix(motion.quaternion))[:, ::-1].T * _PADDING + len(self.real) // 2
        real, imaginary = (
            ndimage.map_coordinates(each, points, order=3, mode="constant", prefilter=False)
            for each in (self.real, self.imaginary)
        )
        return np.asarray((real + 1j * imaginary) * np.exp(-2j * np.pi / self.field * (self.at @ motion.move)))

    def weights(self, values: Array) -> tuple[Array, Array]:
        """(n,) gain of the model and weight of the squared difference, from the power and noise of each bin."""
        model = self.model(values)
        cross, power, own = (
            self._sums(each)
            for each in ((self.samples * model.conj()).real, np.square(np.abs(model)), np.square(np.abs(self.samples)))
        )
        alike = (cross > self.least_correlation * np.sqrt(power * own)) | (self._sums() == 0)
        alike[1:] = np.logical_and.accumulate(alike[1:])
        gain = np.where(alike, cross / np.maximum(power, 1e-300), 0)
        noise = np.maximum(own - 2 * gain * cross + gain**2 * power, _LEAST_NOISE * own) / np.maximum(self._sums(), 1)
        # A component has half of the variance of a complex sample.
        weight = 2 * self.share / np.maximum(noise, 1e-300)
        return gain[self.bins], weight[self.bins]

    def residuals(self, values: Array, weights: tuple[Array, Array]) -> Array:
        """Of real and imaginary parts, and of the prior; χ² is the sum of their squares."""
        gain, weight = weights
        difference = np.sqrt(weight) * (self.samples - gain * self.model(values))
        return np.concatenate([difference.real, difference.imag, values])

    def best(self, values: Array, weights: tuple[Array, Array]) -> Array:
        """The values of least χ², from `values` on."""
        from scipy.optimize import least_squares

        found = least_squares(self.residuals, values, args=(weights,), method="lm", diff_step=_DIFFERENCE)
        return np.asarray(found.x)

    def correlation(self, values: Array, gain: Array) -> float:
        """See `Registration`; `gain` (n,) is 0 where the maps are not alike."""
        first, second = (self._uneven(each) for each in (self.samples * (gain > 0), self.model(values) * gain))
        cross, power, own = (
            self._sums(each)
            for each in ((first * second.conj()).real, np.square(np.abs(second)), np.square(np.abs(first)))
        )
        level = 1 / np.sqrt(np.maximum(self._sums(np.square(np.abs(self.samples))), 1e-300))
        total = np.sqrt((level * power).sum() * (level * own).sum())
        return float((level * cross).sum() / max(total, 1e-300))

    def _uneven(self, samples: Complex) -> Complex:
        """Without the rotational average: the mean of each bin, which is real."""
        mean = self._sums(samples.real) / np.maximum(self._sums(), 1)
        return np.asarray(samples - mean[self.bins])

    def _sums(self, values: Array | None = None) -> Array:
        """(n_bin,) sums over bins, or numbers of samples."""
        return np.bincount(self.bins, values).astype(np.float64)


def _centred_transform(data: Array) -> Complex:
    """(n, n, n) transform, axes (z, y, x), origin of both at n // 2."""
    return np.asarray(np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(data))))


def _splines(data: Array, r_high: float) -> tuple[Array, Array]:
    """Coefficients of real and imaginary part of the padded transform to a little beyond `r_high`, axes (z, y, x)."""
    from scipy import ndimage

    box, padded = len(data), _PADDING * len(data)
    whole = np.zeros((padded,) * 3)
    first = padded // 2 - box // 2
    whole[(slice(first, first + box),) * 3] = data
    spectrum = _centred_transform(whole)
    reach = min(int(np.ceil(_PADDING * r_high)) + 8, (padded - 1) // 2)
    inner = slice(padded // 2 - reach, padded // 2 + reach + 1)
    kept = spectrum[inner, inner, inner]
    return ndimage.spline_filter(kept.real, order=3), ndimage.spline_filter(kept.imag, order=3)
