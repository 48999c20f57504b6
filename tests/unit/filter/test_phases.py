"""The phases of the particle filter on posteriors that are known exactly."""

from __future__ import annotations

from dataclasses import fields
from math import gamma, pi

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pycryo.filter.draws import Draws
from pycryo.filter.pairs import Marginals, Pairs
from pycryo.filter.phases import PhaseSettings, _centre_modes, run_phases
from pycryo.filter.proposals import Proposals, Widths
from pycryo.filter.support import Posterior, Support, concatenate

# The integral of `rotation_proposal_density`, see test_proposals.py.
ROTATION_CONSTANT = (4 * pi) ** 1.5 / gamma(3.5) / pi**2


def scalar_first(rotation: Rotation) -> np.ndarray:
    """(..., 4) quaternions (w, x, y, z) of scipy's (x, y, z, w)."""
    return np.roll(rotation.as_quat(), 1, axis=-1)


def to_rotation(quaternion: np.ndarray) -> Rotation:
    return Rotation.from_quat(np.roll(quaternion.reshape(-1, 4), -1, axis=-1))


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
    widths = Widths(np.full(n, 0.1), np.full(n, 0.75), 1e-4, 1e-3)
    return run_phases(in_pairs(score), start, widths, Draws(seed, 3, ids), settings, n_class=n_class)


def in_pairs(density):
    """The score of a log density (k, R, T)."""

    def score(rows, rotations, classes, shifts) -> Pairs:
        of_pair = density(rows, rotations, classes, shifts).astype(np.float32)
        return Pairs(of_pair, np.zeros(rotations.shape[:2]), np.zeros(shifts.shape[:2]))

    return score


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
    assert ((posterior.n_slices % 192 == 0) & (posterior.n_slices >= 2 * 192)).all()
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


# As many points as broad posteriors get, see `pycryo.refinement.plan`.
MANY = PhaseSettings(n_rotation=64, min_phases=3, settled=0.9)


@pytest.mark.parametrize("first", [0, 1])
def test_classes_keep_their_weights(first):
    """Images that begin in one class find the other, and every figure knows of it."""
    n = 400
    start = start_about(n, (CENTRE, CENTRE_T))
    start.class_index[:] = first
    posterior = sample(two_classes, start, np.arange(n), MANY, n_class=2)
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
    alone = sample(one_mode, start_about(n, (CENTRE, CENTRE_T)), np.arange(n), MANY)
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


def centred(angles, weight, classes=None, shifts=None, weight_t=None, sign=1.0, width=(0.01, 0.1)):
    """Angle about z and shift of the mode after `_centre_modes`, if it was the first point, of class 0, before."""
    half, n = 0.5 * np.asarray(angles), len(angles)
    turns = np.stack([np.cos(half), 0 * half, 0 * half, np.sin(half)], axis=1) * np.broadcast_to(sign, n)[:, None]
    shifts = np.zeros((2, 2)) if shifts is None else np.asarray(shifts)
    weight_t = np.asarray([0.5, 0.5] if weight_t is None else weight_t)[None]
    classes = np.zeros((1, n), np.int32) if classes is None else np.asarray(classes, np.int32)[None]
    posterior = sample(one_mode, start_about(2, (CENTRE, CENTRE_T)), np.arange(2), PhaseSettings())
    before = as_arrays(posterior)
    posterior.mode_quaternion[1], posterior.mode_shift[1], posterior.mode_class[1] = turns[0], shifts[0], 0
    drawn = Proposals(turns[None], classes, shifts[None], np.zeros((1, n)), np.zeros((1, len(shifts))))
    widths = Widths(np.array([width[0]]), np.array([width[1]]), 1e-4, 1e-3)
    _centre_modes(posterior, np.array([1]), drawn, Marginals(np.asarray(weight)[None], weight_t, weight_t), widths)
    for old, new in zip(before, as_arrays(posterior), strict=True):
        np.testing.assert_array_equal(new[0], old[0])
    w, x, y, z = posterior.mode_quaternion[1]
    assert x == y == 0
    assert w * w + z * z == pytest.approx(1)
    return 2 * np.arctan(z / w), posterior.mode_shift[1]


def test_the_mode_is_the_mean_of_the_points_near_the_best_one():
    angle, _ = centred([0.50, 0.52, 0.49], [0.5, 0.3, 0.2])
    # Angles are so small that the mean of the quaternions is that of the angles.
    assert angle == pytest.approx(0.5 + 0.3 * 0.02 - 0.2 * 0.01, abs=1e-6)
    _, shift = centred([0.5], [1.0], shifts=[[1.0, 2.0], [1.2, 2.0], [1.0, 1.7]], weight_t=[0.5, 0.25, 0.25])
    np.testing.assert_allclose(shift, [1.05, 1.925])


def test_the_sign_of_a_quaternion_does_not_move_the_mode():
    plain = centred([0.50, 0.52, 0.49], [0.5, 0.3, 0.2])[0]
    for sign in ([1, -1, 1], [-1, 1, 1], [-1, -1, -1]):
        assert centred([0.50, 0.52, 0.49], [0.5, 0.3, 0.2], sign=np.array(sign))[0] == pytest.approx(plain, rel=1e-14)


def test_far_points_and_other_classes_do_not_move_the_mode():
    """Four widths are the reach: of rotations 0.04, of shifts 0.4."""
    plain = centred([0.50, 0.52], [0.2, 0.1])[0]
    for other, kind in ((0.545, 0), (1.5, 0), (0.5 + np.pi, 0), (0.51, 1)):
        assert centred([0.50, 0.52, other], [0.2, 0.1, 0.7], classes=[0, 0, kind])[0] == pytest.approx(plain, rel=1e-14)
    assert centred([0.50, 0.52, 0.535], [0.2, 0.1, 0.7])[0] > plain + 0.01
    shift = centred([0.5], [1.0], shifts=[[1.0, 0], [1.2, 0], [1.39, 0], [1.0, 0.41]], weight_t=[0.25] * 4)[1]
    np.testing.assert_allclose(shift, [(1.0 + 1.2 + 1.39) / 3, 0])


def test_a_mode_of_an_earlier_phase_without_points_near_it_stays():
    angle, shift = centred([0.5, 0.9], [0.0, 1.0], shifts=[[1.0, 2.0], [3.0, 3.0]], weight_t=[0.0, 1.0])
    assert angle == pytest.approx(0.5, rel=1e-14)
    np.testing.assert_array_equal(shift, [1.0, 2.0])


def test_centred_modes_are_nearer_to_the_truth():
    """Than the best of the points: their mean has a smaller error than the posterior is wide."""
    n = 200
    posterior = sample(one_mode, start_about(n, (CENTRE, CENTRE_T)), np.arange(n), PhaseSettings())
    error = (to_rotation(posterior.mode_quaternion) * CENTRE.inv()).as_rotvec() @ AXES / SIGMA_R
    # The best point of this test is 0.60 σ away in the median.
    assert np.median(np.linalg.norm(error, axis=1)) < 0.45


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
