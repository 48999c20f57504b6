"""The particle filter: counter-based draws, resampling, proposal densities, and phases on posteriors known exactly."""

from __future__ import annotations

from dataclasses import fields
from math import gamma, pi

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pycryo.filter._sampling import rotation_proposal_density, shift_proposal_density, systematic_resample, uniform
from pycryo.filter.draws import normal, student
from pycryo.filter.phases import PhaseSettings, _propose, flatten_weights, run_phases
from pycryo.filter.support import Posterior, Support, concatenate

# The integral of `rotation_proposal_density` over SO(3) with the Haar measure of total mass 1: d³v = π²(1 + v²)² dμ for
# v = tan(ω/2), and the density leaves out the factor Γ(7/2)/(Γ(2)(4π)^(3/2)) of Student's t.
ROTATION_CONSTANT = (4 * pi) ** 1.5 / gamma(3.5) / pi**2


def scalar_first(rotation: Rotation) -> np.ndarray:
    """(..., 4) quaternions (w, x, y, z) of scipy's (x, y, z, w)."""
    return np.roll(rotation.as_quat(), 1, axis=-1)


def to_rotation(quaternion: np.ndarray) -> Rotation:
    return Rotation.from_quat(np.roll(quaternion.reshape(-1, 4), -1, axis=-1))


# --- uniform ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed, stream, particle", [(0, 0, 0), (1, 2, 3), (2**63 + 5, 2**64 - 1, 2**40 + 7)])
def test_uniform_is_numpys_philox(seed, stream, particle):
    ours = uniform(seed, stream, np.array([particle]), 11)[0]
    # NumPy counts up before its first draw, so it never shows the block of counter 0 unless it starts at the maximum.
    start = np.array(
        [2**64 - 1, particle - 1 if particle else 2**64 - 1] + [0 if particle else 2**64 - 1] * 2, np.uint64
    )
    raw = np.random.Philox(counter=start, key=np.array([seed, stream], np.uint64)).random_raw(12)
    np.testing.assert_array_equal(ours, ((raw >> np.uint64(11)) + 0.5)[:11] * 2.0**-53)
    later = np.random.Philox(counter=[0, particle, 0, 0], key=np.array([seed, stream], np.uint64)).random_raw(4)
    np.testing.assert_array_equal(ours[4:8], ((later >> np.uint64(11)) + 0.5) * 2.0**-53)


def test_uniform_depends_on_its_arguments_only():
    ids = np.array([7, 0, 123456789, 7, 3])
    together = uniform(5, 9, ids, 10)
    for row, particle in zip(together, ids, strict=True):
        np.testing.assert_array_equal(uniform(5, 9, np.array([particle]), 10)[0], row)
        np.testing.assert_array_equal(uniform(5, 9, np.array([particle]), 3)[0], row[:3])
    assert not np.isin(uniform(6, 9, ids, 10), together).any()
    assert not np.isin(uniform(5, 10, ids, 10), together).any()


@pytest.mark.parametrize("n, count", [(0, 4), (3, 0), (0, 0)])
def test_uniform_of_nothing(n, count):
    assert uniform(1, 1, np.arange(n), count).shape == (n, count)


def test_uniform_is_uniform():
    draws = uniform(11, 12, np.arange(2000), 9)
    assert draws.min() > 0
    assert draws.max() < 1
    # One test in 1e4 would fail by chance, the seed is fixed.
    assert scipy.stats.kstest(draws.ravel(), "uniform").pvalue > 1e-4
    # Correlations of 2000 pairs have the standard deviation 2000^-1/2 = 0.022; 5 of them.
    assert np.abs(np.corrcoef(draws.T) - np.eye(9)).max() < 0.112


# --- resampling -------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 1, exclude_max=True), st.integers(0, 40))
def test_resampled_counts_are_within_one_of_the_share(weights, offset, count):
    weight = np.array([weights])
    if weight.sum() < 1e-3:
        weight[:] = 1
    weight /= weight.sum()
    index = systematic_resample(weight, np.array([offset]), count)
    assert index.shape == (1, count)
    assert (np.diff(index[0]) >= 0).all()
    times = np.bincount(index[0], minlength=len(weights))
    # A tooth of the comb on the border of a weight falls on either side by rounding.
    assert np.abs(times - count * weight[0]).max() < 1 + 1e-9


def test_resampling_is_unbiased_over_the_offset():
    weight = np.array([0.07, 0.0, 0.41, 0.13, 0.39])
    offsets = (np.arange(1000) + 0.5) / 1000
    index = systematic_resample(np.tile(weight, (1000, 1)), offsets, 7)
    # The count of each point is a step function of its two borders; a grid of 1000 offsets places each to 1/1000.
    np.testing.assert_allclose(np.bincount(index.ravel(), minlength=5) / 1000, 7 * weight, atol=2e-3)


def test_resampling_of_a_sum_below_one_leaves_none_out():
    index = systematic_resample(np.array([[0.1, 0.1, 0.2], [0.0, 0.0, 3.0]]), np.array([0.5, 0.999]), 4)
    np.testing.assert_array_equal(index, [[0, 1, 2, 2], [2, 2, 2, 2]])


# --- proposal densities -----------------------------------------------------------------------------------------------


def density(points, centres, scale):
    """Of one class."""
    classes = (np.zeros(each.shape[:2], np.int32) for each in (points, centres))
    return rotation_proposal_density(points, centres, np.array([scale]), *classes, 1.0, 0.0)


@pytest.mark.parametrize("scale", [0.2, 0.5, 2.0])
def test_rotation_density_integrates_to_its_constant_over_uniform_rotations(scale):
    rng = np.random.default_rng(1)
    points = scalar_first(Rotation.random(200_000, rng=rng))[None]
    centres = scalar_first(Rotation.random(3, rng=rng))[None]
    value = np.exp(density(points, centres, scale))[0]
    error = value.std() / np.sqrt(value.size)
    assert error < 0.02 * ROTATION_CONSTANT
    assert abs(value.mean() - ROTATION_CONSTANT) < 5 * error  # 5 standard errors


@pytest.mark.parametrize("scale", [1e-4, 3e-3, 0.05, 0.5])
def test_rotation_density_integrates_to_its_constant_at_every_scale(scale):
    """Importance sampling: rotations whose tan(ω/2) is Cauchy distributed about two centres, an axis a sign apart."""
    rng = np.random.default_rng(2)
    centres = Rotation.random(2, rng=rng)
    cauchy = scipy.stats.multivariate_t(np.zeros(3), scale**2 * np.eye(3), df=1)
    which = rng.integers(0, 2, 40_000)
    v = cauchy.rvs(len(which), random_state=rng)
    points = Rotation.from_quat(np.concatenate([v, np.ones((len(v), 1))], axis=1)) * centres[which]
    drawn = np.zeros(len(v))
    for centre in centres:
        x, y, z, w = (points * centre.inv()).as_quat().T
        tangent = np.stack([x, y, z], axis=1) / np.where(np.abs(w) < 1e-9, 1e-9, w)[:, None]
        drawn += 0.5 * cauchy.pdf(tangent) * pi**2 * (1 + np.square(tangent).sum(1)) ** 2
    signs = rng.choice([-1.0, 1.0], (len(v), 1))
    value = density((scalar_first(points) * signs)[None], -scalar_first(centres)[None], scale)
    ratio = np.exp(value[0]) / drawn
    error = ratio.std() / np.sqrt(len(v))
    assert error < 0.01 * ROTATION_CONSTANT
    assert abs(ratio.mean() - ROTATION_CONSTANT) < 5 * error  # 5 standard errors


def test_shift_density_is_students(rng):
    n, a, b = 3, 5, 4
    points, centres, scale = rng.normal(0, 3, (n, a, 2)), rng.normal(0, 3, (n, b, 2)), np.array([1e-3, 0.7, 20.0])
    expected = np.empty((n, a))
    for i in range(n):
        kernels = [scipy.stats.multivariate_t(c, scale[i] ** 2 * np.eye(2), df=4).pdf(points[i]) for c in centres[i]]
        expected[i] = np.log(np.mean(kernels, axis=0))
    # Γ(3)/(Γ(2)·4π) is left out; the rest is double arithmetic of a few terms.
    constant = np.log(2 / (4 * pi))
    np.testing.assert_allclose(shift_proposal_density(points, centres, scale) + constant, expected, rtol=1e-12)


def test_proposals_are_drawn_from_their_density():
    """1/density makes the draws uniform: the measure of balls about a centre and of discs comes out."""
    n, settings = 4000, PhaseSettings(n_rotation=8, n_shift=8)
    centre_r, centre_t = scalar_first(Rotation.random(2, rng=np.random.default_rng(3))), np.array([[0, 0], [3.0, -1]])
    tile = lambda array: np.tile(array, (n, *[1] * array.ndim))  # noqa: E731
    weight, scale_r, scale_t = tile(np.array([0.5, 0.5])), 0.3, 1.5
    rotations, _, shifts, log_density = _propose(
        tile(centre_r), np.zeros((n, 2), np.int32), weight, tile(centre_t), weight, np.full(n, scale_r),
        np.full(n, scale_t), np.arange(n), 4, 8, settings, 1,
    )  # fmt: skip
    assert rotations.shape == (n, 8, 4)
    assert shifts.shape == (n, 8, 2)
    assert log_density.shape == (n, 8, 8)
    np.testing.assert_allclose(np.linalg.norm(rotations, axis=-1), 1, atol=1e-14)  # a few roundings of 1e-16
    inverse = np.exp(-log_density) * ROTATION_CONSTANT * 2 * pi  # 2π = 4π/Γ(3): the constant of the shifts
    angle = (to_rotation(rotations) * to_rotation(centre_r[:1]).inv()).magnitude().reshape(n, 8)
    distance = np.linalg.norm(shifts - centre_t[0], axis=-1)
    for reach_r, reach_t in ((0.2, 1.0), (0.5, 3.0), (1.0, 6.0)):
        inside = (angle < reach_r)[:, :, None] & (distance < reach_t)[:, None]
        per_image = (inverse * inside).mean(axis=(1, 2))
        expected = (reach_r - np.sin(reach_r)) / pi * pi * reach_t**2
        error = per_image.std() / np.sqrt(n)
        assert error < 0.1 * expected
        assert abs(per_image.mean() - expected) < 5 * error  # 5 standard errors


# --- normal and Student draws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 7])
def test_normal_is_normal(count):
    draws = normal(3, 4, np.arange(6000), count)
    assert draws.shape == (6000, count)
    # One test in 1e4 would fail by chance, the seed is fixed.
    assert scipy.stats.kstest(draws.ravel(), "norm").pvalue > 1e-4
    # Standard deviations over 6000 draws: mean 0.013, variance √2·0.013, fourth moment √96·0.013, correlation 0.013.
    for power, expected, error in ((1, 0, 1), (2, 1, 2**0.5), (4, 3, 96**0.5)):
        np.testing.assert_allclose((draws**power).mean(axis=0), expected, atol=5 * error * 0.013)
    if count > 1:
        assert np.abs(np.corrcoef(draws.T) - np.eye(count)).max() < 5 * 0.013


@pytest.mark.parametrize("dimension", [2, 3])
def test_student_is_students(dimension):
    draws = student(3, 5, np.arange(2000), 5, dimension)
    assert draws.shape == (2000, 5, dimension)
    # Every component is Student t; |x|²/d is F distributed; the direction is uniform. One in 1e4 by chance.
    for component in np.moveaxis(draws, -1, 0):
        assert scipy.stats.kstest(component.ravel(), "t", args=(4,)).pvalue > 1e-4
    square = np.square(draws).sum(-1)
    assert scipy.stats.kstest(square.ravel() / dimension, "f", args=(dimension, 4)).pvalue > 1e-4
    direction = draws / np.sqrt(square)[..., None]
    if dimension == 3:
        assert scipy.stats.kstest(direction[..., 2].ravel(), "uniform", args=(-1, 2)).pvalue > 1e-4
    azimuth = np.arctan2(direction[..., 1], direction[..., 0])
    assert scipy.stats.kstest(azimuth.ravel(), "uniform", args=(-pi, 2 * pi)).pvalue > 1e-4
    # The five draws of an image have nothing in common; of 2000 pairs 2000^-1/2 = 0.022.
    assert np.abs(np.corrcoef(np.log(square).T) - np.eye(5)).max() < 5 * 0.022


@pytest.mark.parametrize("draw", [lambda ids: normal(1, 2, ids, 9), lambda ids: student(1, 2, ids, 9, 3)])
def test_draws_depend_on_the_particle_only(draw):
    ids = np.arange(100, 117)
    together = draw(ids)
    for i in range(len(ids)):
        np.testing.assert_array_equal(draw(ids[i : i + 1])[0], together[i])


# --- flattened weights ------------------------------------------------------------------------------------------------


def effective_size(weight: np.ndarray) -> np.ndarray:
    return weight.sum(1) ** 2 / np.square(weight).sum(1)


@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0, 300.0])
def test_flattened_weights_reach_the_effective_size(spread, rng):
    log_weight = spread * rng.standard_normal((50, 64))
    weight = flatten_weights(log_weight, 12.0)
    np.testing.assert_allclose(weight.sum(1), 1, rtol=1e-14)
    size, plain = effective_size(weight), effective_size(np.exp(log_weight - log_weight.max(1, keepdims=True)))
    assert (size >= 12.0).all()
    kept = plain >= 12.0
    np.testing.assert_allclose(size[kept], plain[kept], rtol=1e-12)
    # The power is found to 1 %; the effective size of 64 Gaussian log weights of standard deviation s·power falls as
    # exp(-(s·power)²), here with s·power near 1.3: by 3.4 %, in single rows with their own tails by twice that.
    assert (size[~kept] < 12.0 * 1.07).all()
    power = np.ptp(np.log(weight), axis=1) / np.ptp(log_weight, axis=1)
    assert (power <= 1 + 1e-9).all()
    # All weights are one power of the plain ones.
    expected = log_weight - log_weight.max(1, keepdims=True)
    np.testing.assert_allclose(np.log(weight / weight.max(1, keepdims=True)), power[:, None] * expected, atol=1e-9)


def test_flattened_weights_of_few_points_reach_half_of_them():
    weight = flatten_weights(np.array([[0.0, -50.0, -100.0, -150.0]]), 12.0)
    # Half of 4 points; 1 % of the power changes the size by less than 1 %.
    assert 2.0 <= effective_size(weight)[0] < 2.02


@pytest.mark.parametrize("spread", [1e4, 1e6])
def test_flattened_weights_of_a_very_sharp_posterior(spread, rng):
    """As of images without noise: the size is reached by flattening, not by forgetting the scores."""
    size = effective_size(flatten_weights(spread * rng.standard_normal((20, 768)), 12.0))
    assert (size >= 12.0).all()
    assert (size < 12.0 * 1.07).all()  # as above


def test_points_of_no_probability_get_no_weight():
    log_weight = np.array([[0.0, -1.0, -np.inf, -0.5] * 8, [0.0, -1e5, -np.inf, -2e5] * 8])
    weight = flatten_weights(log_weight, 4.0)
    np.testing.assert_allclose(weight.sum(1), 1, rtol=1e-14)
    np.testing.assert_array_equal(weight[:, 2::4], 0)


# --- the phases on known posteriors -----------------------------------------------------------------------------------

CENTRE = Rotation.from_euler("ZYZ", [40, 70, -110], degrees=True)
OTHER = Rotation.from_rotvec([0.6, -0.7, 0.4]) * CENTRE  # 58 degrees away
SIGMA_R = np.array([0.03, 0.05, 0.08])  # about three skew axes
AXES = Rotation.from_euler("XYZ", [0.3, -0.5, 0.9]).as_matrix()
SIGMA_T = np.array([0.5, 0.9])
CENTRE_T, OTHER_T = np.array([1.5, -2.0]), np.array([-4.0, 1.0])


def log_gauss(rotations, shifts, centre, centre_t):
    """Gaussian of the rotation vector about `centre` times Gaussian of the shift, (k, R, T), normalised alike."""
    turn = (to_rotation(rotations) * centre.inv()).as_rotvec().reshape(*rotations.shape[:2], 3)
    u = [sum(turn[..., j] * AXES[j, i] for j in range(3)) / SIGMA_R[i] for i in range(3)]
    v = [(shifts[..., i] - centre_t[i]) / SIGMA_T[i] for i in range(2)]
    return -0.5 * ((u[0] ** 2 + u[1] ** 2 + u[2] ** 2)[:, :, None] + (v[0] ** 2 + v[1] ** 2)[:, None])


def one_mode(rows, rotations, classes, shifts):
    return log_gauss(rotations, shifts, CENTRE, CENTRE_T)


def two_modes(rows, rotations, classes, shifts):
    """Masses 0.7 and 0.3, both in rotation and shift."""
    return np.logaddexp(
        np.log(0.7) + log_gauss(rotations, shifts, CENTRE, CENTRE_T),
        np.log(0.3) + log_gauss(rotations, shifts, OTHER, OTHER_T),
    )


def start_about(n: int, *modes: tuple[Rotation, np.ndarray]) -> Support:
    """Sixteen points about each mode, as a scan with a step of 0.2 rad and 1.5 px leaves them, all of equal weight."""
    rng = np.random.default_rng(6)
    quaternion, shift = [], []
    for rotation, at in modes:
        turn = Rotation.from_rotvec(rng.uniform(-0.1, 0.1, (n * 16, 3)))
        quaternion.append(scalar_first(turn * rotation).reshape(n, 16, 4))
        shift.append(at + rng.uniform(-0.75, 0.75, (n, 16, 2)))
    m = 16 * len(modes)
    return Support(
        np.concatenate(quaternion, 1), np.concatenate(shift, 1), np.full((n, m), 1 / m), np.zeros((n, m), np.int32)
    )


def two_classes(rows, rotations, classes, shifts):
    """Masses 0.7 and 0.3, the same pose in classes 0 and 1."""
    return one_mode(rows, rotations, classes, shifts) + np.log([0.7, 0.3])[classes][..., None]


def sample(
    score, start: Support, ids: np.ndarray, settings: PhaseSettings, seed: int = 1, n_class: int = 1
) -> Posterior:
    n = len(ids)
    return run_phases(
        score, start, np.full(n, 0.1), np.full(n, 0.75), ids=ids, seed=seed, stream=3, settings=settings,
        floor_rotation=1e-4, floor_shift=1e-3, n_class=n_class,
    )  # fmt: skip


def offsets(posterior: Posterior, centre: Rotation = CENTRE) -> np.ndarray:
    """(n, m, 5) rotation vector along the three axes, and shift, of the support about the first mode."""
    support = posterior.support
    turn = (to_rotation(support.quaternion) * centre.inv()).as_rotvec() @ AXES
    return np.concatenate([turn.reshape(*support.weight.shape, 3), support.shift - CENTRE_T], axis=-1)


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over images and its standard error."""
    return values.mean(0), values.std(0) / np.sqrt(len(values))


def test_support_has_the_posteriors_mean_and_spread():
    n, sizes = 400, PhaseSettings(n_rotation=192, n_shift=32)
    posterior = sample(one_mode, start_about(n, (CENTRE, CENTRE_T)), np.arange(n), sizes)
    weight, x = posterior.support.weight, offsets(posterior)
    np.testing.assert_allclose(weight.sum(1), 1, rtol=1e-12)
    sigma = np.concatenate([SIGMA_R, SIGMA_T])
    mean, error = mean_and_error((weight[..., None] * x).sum(1))
    assert (error < 0.02 * sigma).all()
    assert (np.abs(mean) < 5 * error).all()  # 5 standard errors
    second, error = mean_and_error(np.einsum("nm,nmi,nmj->nij", weight, x, x) / np.multiply.outer(sigma, sigma))
    assert error.max() < 0.03
    # 5 standard errors, and the bias of weights that are normalised by their own sum: 1/effective size, of 32 shifts
    # about 1/15, of 192 rotations about 1/60.
    bias = np.diag([1 / 60] * 3 + [1 / 15] * 2)
    assert (np.abs(second - np.eye(5)) < 5 * error + bias).all()


def test_figures_of_the_posterior():
    n, sizes = 300, PhaseSettings(n_rotation=192, n_shift=32)
    posterior = sample(one_mode, start_about(n, (CENTRE, CENTRE_T)), np.arange(n), sizes)
    mode = (to_rotation(posterior.mode_quaternion) * CENTRE.inv()).as_rotvec() @ AXES / SIGMA_R
    mode_t = (posterior.mode_shift - CENTRE_T) / SIGMA_T
    # A draw from a kernel twice as wide in volume as the posterior falls within r σ of the peak with the chance 0.13 r³
    # (rotation) or r²/4 (shift); that none of 192 or 32 draws does is as rare as 1 in 300 at r = 0.61 and 0.84.
    assert np.linalg.norm(mode, axis=1).max() < 0.75
    assert np.linalg.norm(mode_t, axis=1).max() < 0.9
    # Per axis about the mode; the mode's own error adds at most 5 %, the finite sample 1/15 in the shifts.
    assert np.median(posterior.spread_rotation) == pytest.approx(np.sqrt(np.square(SIGMA_R).mean()), rel=0.1)
    assert np.median(posterior.spread_shift) == pytest.approx(np.sqrt(np.square(SIGMA_T).mean()), rel=0.1)
    assert ((posterior.n_slices % 192 == 0) & (posterior.n_slices >= 3 * 192)).all()
    assert (posterior.n_slices <= 6 * 192).all()
    assert ((posterior.p_max > 0) & (posterior.p_max <= 1)).all()
    assert (posterior.n_significant * posterior.p_max >= 1 - 1e-9).all()


def test_log_evidence_is_the_integral():
    """The mean weight is the integral of the score over Haar measure and px, up to the densities' constants."""
    n, sizes = 400, PhaseSettings(n_rotation=128, n_shift=32)
    posterior = sample(one_mode, start_about(n, (CENTRE, CENTRE_T)), np.arange(n), sizes)
    # d³(rotation vector) = 8π² dμ for small angles (sinc² of the half angle: 1 - σ²/4, below 0.2 %).
    gauss_r = (2 * pi) ** 1.5 * SIGMA_R.prod() / (8 * pi**2)
    gauss_t = 2 * pi * SIGMA_T.prod()
    expected = np.log(gauss_r * gauss_t / (ROTATION_CONSTANT * 2 * pi))
    mean, error = mean_and_error(np.exp(posterior.log_evidence - expected))
    assert error < 0.02
    assert abs(mean - 1) < 5 * error + 0.002


@pytest.mark.parametrize(
    "sizes, share, keep", [(PhaseSettings(), 1 / 4, 0.8), (PhaseSettings(n_rotation=192, n_shift=32), 1 / 15, 0.99)]
)
def test_two_modes_keep_their_weights(sizes, share, keep):
    n = 400
    posterior = sample(two_modes, start_about(n, (CENTRE, CENTRE_T), (OTHER, OTHER_T)), np.arange(n), sizes)
    distance = (to_rotation(posterior.support.quaternion) * OTHER.inv()).magnitude().reshape(n, -1)
    near_other = np.where(distance < 0.5, posterior.support.weight, 0).sum(1)
    mean, error = mean_and_error(near_other)
    # 5 standard errors, and the bias 1/effective size of weights that are normalised by their own sum: of 12 shifts in
    # two modes about 4 count, of 32 about 15. That variance also makes some images lose the weaker mode.
    assert error < 0.015
    assert abs(mean - 0.3) < 5 * error + 0.3 * share
    assert (near_other > 0).mean() > keep
    assert (near_other < 1).mean() > 0.99
    # The mode is the higher peak, but where the draws missed it by more than log(0.7/0.3).
    right = (to_rotation(posterior.mode_quaternion) * CENTRE.inv()).magnitude() < 0.5
    assert right.mean() > 0.8
    # Rotation and shift stay together: the shifts' modes are 11 standard deviations apart.
    here, there = (np.linalg.norm((posterior.support.shift - at) / SIGMA_T, axis=-1) for at in (CENTRE_T, OTHER_T))
    used = posterior.support.weight > 0
    np.testing.assert_array_equal((there < here)[used], (distance < 0.5)[used])


@pytest.mark.parametrize("first", [0, 1])
def test_classes_keep_their_weights(first):
    """Images that begin in one class find the other, and every figure knows of it."""
    n = 400
    start = start_about(n, (CENTRE, CENTRE_T))
    start.class_index[:] = first
    posterior = sample(two_classes, start, np.arange(n), PhaseSettings(), n_class=2)
    np.testing.assert_allclose(posterior.class_probability.sum(axis=1), 1, rtol=1e-12)
    mean, error = mean_and_error(posterior.class_probability)
    # Importance weights of 64 rotations have a bias of the order of 1/64.
    np.testing.assert_allclose(mean, [0.7, 0.3], atol=5 * error.max() + 1 / 64)
    support = posterior.support
    by_class = (support.weight * (support.class_index == 1)).sum(axis=1)
    # Systematic resampling: within a point of 32 on average.
    assert abs((by_class - posterior.class_probability[:, 1]).mean()) < 1 / 32
    assert posterior.mode_class.mean() < 0.5
    # The spread is that of one class, as if there were no other.
    alone = sample(one_mode, start_about(n, (CENTRE, CENTRE_T)), np.arange(n), PhaseSettings())
    assert np.median(posterior.spread_rotation) == pytest.approx(np.median(alone.spread_rotation), rel=0.1)


def test_repeated_points_count_once():
    """Of 32 proposals few matter: a point drawn several times has that many shares, all at its first place."""
    few = PhaseSettings(n_rotation=8, n_shift=4, min_phases=1, max_phases=1)
    support = sample(one_mode, start_about(50, (CENTRE, CENTRE_T)), np.arange(50), few).support
    repeated = 0
    for quaternion, shift, weight in zip(support.quaternion, support.shift, support.weight, strict=True):
        _, first, times = np.unique(
            np.concatenate([quaternion, shift], axis=1), axis=0, return_index=True, return_counts=True
        )
        expected = np.zeros(few.n_support)
        expected[first] = times / few.n_support
        np.testing.assert_array_equal(weight, expected)
        repeated += times.max() > 1
    assert repeated == 50


def as_arrays(posterior: Posterior) -> list[np.ndarray]:
    return [getattr(posterior.support, f.name) for f in fields(Support)] + [
        getattr(posterior, f.name) for f in fields(Posterior)[1:]
    ]


@pytest.mark.parametrize("score", [one_mode, two_modes])
def test_result_of_an_image_does_not_depend_on_the_others(score):
    ids = np.array([90, 3, 17, 4, 55, 6, 21])
    start = start_about(len(ids), (CENTRE, CENTRE_T), (OTHER, OTHER_T))
    settings = PhaseSettings(n_rotation=40, n_shift=9)

    def some(rows):
        part = Support(*(getattr(start, f.name)[rows] for f in fields(Support)))
        return as_arrays(sample(score, part, ids[rows], settings))

    together = some(np.arange(len(ids)))
    for rows in ([0], [6], [2, 1], [6, 5, 4, 3, 2, 1, 0]):
        for one, all_of_them in zip(some(np.array(rows)), together, strict=True):
            np.testing.assert_array_equal(one, all_of_them[rows])


def test_draws_differ_between_seeds_and_images():
    start = start_about(2, (CENTRE, CENTRE_T))
    same = Support(*(np.repeat(getattr(start, f.name)[:1], 2, axis=0) for f in fields(Support)))
    first = sample(one_mode, same, np.array([1, 2]), PhaseSettings())
    again = sample(one_mode, same, np.array([1, 2]), PhaseSettings(), seed=2)
    assert not np.array_equal(first.support.shift[0], first.support.shift[1])
    assert not np.array_equal(first.support.shift, again.support.shift)


def test_a_start_off_the_mode_is_left_behind():
    """The scan's best points sit 3 kernel scales beside the peak: heavy tails find it."""
    n = 100
    away = (Rotation.from_rotvec([0.2, -0.15, 0.15]) * CENTRE, CENTRE_T + np.array([1.8, -1.2]))
    posterior = sample(one_mode, start_about(n, away), np.arange(n), PhaseSettings())
    error = (to_rotation(posterior.mode_quaternion) * CENTRE.inv()).magnitude()
    # Within 2.5 standard deviations of the widest axis for nearly all.
    assert (error < 2.5 * SIGMA_R.max()).mean() > 0.95


def test_concatenate():
    start = start_about(5, (CENTRE, CENTRE_T))
    whole = sample(one_mode, start, np.arange(5), PhaseSettings())
    parts = [
        sample(
            one_mode, Support(*(getattr(start, f.name)[s] for f in fields(Support))), np.arange(5)[s], PhaseSettings()
        )
        for s in (slice(0, 2), slice(2, 5))
    ]
    for one, other in zip(as_arrays(concatenate(parts)), as_arrays(whole), strict=True):
        np.testing.assert_array_equal(one, other)
