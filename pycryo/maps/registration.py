"""How a map lies against another one that shows nearly the same: a small turn and move, by least squares.

The other map's transform is turned and moved onto the map's samples below a frequency. Each bin of the radius has its
own gain and counts by the noise that the fit leaves over. A prior keeps what the samples do not tell, such as the turn
of a sphere, at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.fourier import rfftn
from pycryo.geometry.frames import single_axis
from pycryo.geometry.rotations import from_rotation_vector, quaternion_to_matrix
from pycryo.geometry.symmetry import Symmetry
from pycryo.maps.density import Map, soft_sphere
from pycryo.maps.spline_transform import SplineTransform

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

# A motion beyond so many of them is none that a refinement makes by itself.
_FURTHEST = 5.0
# Noise of a bin is not below this share of its power: errors of the interpolation.
_LEAST_NOISE = 1e-4
# Steps at most, each with the gains and noise of the motion before, and how often one that leads uphill is halved.
_N_STEP, _N_HALVING = 12, 6
# The last step: χ² that is left to gain.
_LEAST_STEP = 3e-3
# A motion is a multiple of this share of what is expected, far below what the maps tell of it.
_GRAIN = 2.0**-20
# Bins of the radius per Fourier px: the gain of a shell would not follow the edge of a low-pass.
_PER_PX = 2


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
    values, model, weights, gain = fit.solution()
    return Registration(
        # BLAS rounds by its number of threads: without this the last bit of the maps that follow would depend on it.
        motion=fit.motion(np.rint(values / _GRAIN) * _GRAIN),
        n_free=len(free),
        correlation=fit.correlation(model, weights[0]),
        gain=gain,
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
    are the map's and `own` (n, f) their slopes if it moved, `target` is the other one's transform. `share` is the
    number of independent samples over all. For `least_correlation` see `Expected`.
    """

    at: Array
    bins: NDArray[np.int64]
    samples: Complex
    own: Complex
    target: SplineTransform
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
        r_high = min(r_high, (box - 1) // 2)
        at, samples, slope = _half_ball(source.data * inside, r_high)
        own = np.concatenate([_turned(slope, at), -2j * np.pi / field * at * samples[:, None]], axis=1)
        prior = np.array([np.deg2rad(expected.turn)] * 3 + [expected.move * diameter] * 3)[free]
        bins = np.rint(_PER_PX * np.linalg.norm(at, axis=1)).astype(np.int64)
        spline = SplineTransform(target.data.astype(np.float64), r_high)
        share, least = float(np.mean(inside)), expected.least_correlation
        return cls(at, bins, samples, own[:, free] * prior, spline, free, prior, share, field, least)

    def motion(self, values: Array) -> Motion:
        turn_move = self._turn_move(values)
        return Motion(from_rotation_vector(turn_move[:3]), turn_move[3:])

    def _turn_move(self, values: Array) -> Array:
        turn_move = np.zeros(6)
        turn_move[self.free] = values * self.prior
        return turn_move

    def model(self, values: Array) -> tuple[Complex, Complex]:
        """The target's transform, moved, (n,) and its slopes (n, f) along the values.

        V(v) = S(Mᵀ(v - c)) is S(Mᵀk) exp(-2πi k·c / field) there. If M turns further by a small d, Mᵀk changes by
        Mᵀ(k × d).
        """
        turn, move = np.split(self._turn_move(values), 2)
        matrix = quaternion_to_matrix(from_rotation_vector(turn))
        value, slope = self.target.read(self.at @ matrix)
        phase = -2j * np.pi / self.field * self.at
        moved = np.exp(phase @ move)
        model = value * moved
        turned = _turned(slope @ matrix.T, self.at) @ _further(turn)
        slopes = np.concatenate([turned * moved[:, None], phase * model[:, None]], axis=1)
        return model, np.asarray(slopes[:, self.free] * self.prior, np.complex128)

    def solution(self) -> tuple[Array, Complex, tuple[Array, Array], float]:
        """Values of least χ², the model with them, its weights, and the χ² that they explain.

        Gauss-Newton steps, each with the weights that the motion before leaves. The curvature is that of the slopes
        of both maps, whose noise has nothing in common: its square would make the steps short.
        """
        values = np.zeros(len(self.free))
        model, slopes = self.model(values)
        start = model
        for _ in range(_N_STEP):
            weights = self.weights(model)
            gain, weight = weights
            scaled = _parts(slopes * (gain * np.sqrt(weight))[:, None])
            away = _parts(np.sqrt(weight) * (self.samples - gain * model))
            downhill = scaled.T @ away - values
            step = np.linalg.solve(_curvature(scaled, _parts(self.own * np.sqrt(weight)[:, None])), downhill)
            if step @ downhill < _LEAST_STEP:
                # So short a step is along the slopes.
                values, model = values + step, model + slopes @ step
                break
            before = self._chi2(values, model, weights)
            for share in 0.5 ** np.arange(_N_HALVING + 1):
                nearer = values + share * step
                model, slopes = self.model(nearer)
                if self._chi2(nearer, model, weights) <= before:
                    break
            values = nearer
        return values, model, weights, self._chi2(0 * values, start, weights) - self._chi2(values, model, weights)

    def weights(self, model: Complex) -> tuple[Array, Array]:
        """(n,) gain of the model and weight of the squared difference, from the power and noise of each bin."""
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

    def _chi2(self, values: Array, model: Complex, weights: tuple[Array, Array]) -> float:
        """With that of the prior."""
        gain, weight = weights
        return float(weight @ np.square(np.abs(self.samples - gain * model)) + values @ values)

    def correlation(self, model: Complex, gain: Array) -> float:
        """See `Registration`; `gain` (n,) is 0 where the maps are not alike."""
        first, second = (self._uneven(each) for each in (self.samples * (gain > 0), model * gain))
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


def _half_ball(data: Array, r_high: float) -> tuple[Array, Complex, Complex]:
    """Frequencies (n, 3), x, y, z, one of each Friedel pair up to `r_high`, without zero, and the transform there.

    Its values (n,) and their slopes (n, 3) along x, y, z: those are transforms, too, of V times -2πi u / box.
    """
    line = np.arange(-int(r_high), int(r_high) + 1)
    z, y, x = (each.ravel() for each in np.meshgrid(line, line, line[line >= 0], indexing="ij"))
    chosen = (x**2 + y**2 + z**2 <= r_high**2) & ((x > 0) | (y > 0) | ((y == 0) & (z > 0)))
    z, y, x = z[chosen], y[chosen], x[chosen]
    n = len(data)
    u = np.arange(n) - n // 2
    values, *slopes = (
        rfftn(np.fft.ifftshift(each))[z, y, x] for each in (data, data * u, data * u[:, None], data * u[:, None, None])
    )
    return np.stack([x, y, z], axis=1).astype(np.float64), values, -2j * np.pi / n * np.stack(slopes, axis=1)


def _turned(slope: Complex, at: Array) -> Complex:
    """(n, 3) slopes along the vector d of a small turn, of those along k = `at` (n, 3), which becomes k + k × d."""
    (x, y, z), (kx, ky, kz) = slope.T, at.T
    # s·(k × d) = d·(s × k)
    return np.asarray(np.stack([y * kz - z * ky, z * kx - x * kz, x * ky - y * kx], axis=1))


def _curvature(slopes: Array, own: Array) -> Array:
    """(f, f) of half χ², by weighted slopes (n, f) of the model and the map's own; the prior's is 1."""
    both = slopes.T @ own
    both = 0.5 * (both + both.T)
    # Where the maps have nothing in common it could be anything.
    if np.linalg.eigvalsh(both)[0] < 0:
        both = slopes.T @ slopes
    return np.asarray(both + np.eye(len(both)))


def _further(turn: Array) -> Array:
    """(3, 3) the small turn, about fixed axes, that follows `turn` if its vector changes; of second order in `turn`."""
    x, y, z = turn
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + cross / 2 + cross @ cross / 6)


def _parts(values: Complex) -> Array:
    """(2 n, ...) real and imaginary parts."""
    return np.concatenate([values.real, values.imag])
