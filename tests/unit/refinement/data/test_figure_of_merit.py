"""Scores of images whose kind is known: drawn from the model of particles and noise, with the spread it implies."""

import numpy as np
import pytest

from pycryo.refinement.data.figure_of_merit import describe, rate, rate_classes
from pycryo.refinement.maximization.pose_figures import class_shares, insertion_weights


def particles(rng, n, gain):
    """(log_evidence, model, excess): the log-likelihood of a particle is ½ model ± √model."""
    model = gain * rng.uniform(0.5, 2.0, n)
    return np.stack([rng.normal(0.5 * model, np.sqrt(model)), model, rng.normal(0, 1, n)])


def empty(rng, n, gain):
    """Noise gains less than the slices cost."""
    model = gain * rng.uniform(0.3, 1.2, n)
    return np.stack([rng.normal(-0.2 * model, 0.8 * np.sqrt(model)), model, rng.normal(0, 1, n)])


def wrong(rng, n, gain):
    """Something else in the image: in part like a particle, and with much that the model does not explain."""
    model = gain * rng.uniform(0.3, 1.2, n)
    return np.stack([rng.normal(0.2 * model, np.sqrt(model)), model, rng.normal(12, 3, n)])


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
@pytest.mark.parametrize("gain", [30.0, 200.0])
def test_two_kinds(rng, gain, share):
    n_junk = int(1001 * share)
    bad = np.arange(1001) < n_junk
    columns = [empty(rng, n_junk, gain), particles(rng, 1001 - n_junk, gain)]
    found = rate(*np.concatenate(columns, axis=1))
    assert found.is_mixed
    below = found.score < found.threshold
    assert found.n_junk == below.sum()
    order = np.argsort(found.score)
    least = n_junk - np.cumsum(np.where(bad[order], 1, -1)).max()
    # The best threshold makes `least` errors; that of the fit, which does not know the kinds, a few more.
    assert (below != bad).sum() <= 1.5 * least + 3
    # Probabilities are what they say; the overlap of the kinds holds at most 30 images.
    assert found.particle.sum() == pytest.approx(1001 - n_junk, abs=10)


def test_excess_power_reveals_other_objects(rng):
    bad = np.arange(900) < 250
    columns = np.concatenate([wrong(rng, 250, 100.0), particles(rng, 650, 100.0)], axis=1)
    found = rate(*columns)
    below = found.score < found.threshold
    # Means 1.05 apart, standard deviations 0.33 and 0.2: 2 % on the wrong side of the best threshold.
    assert (below & bad).sum() > 0.95 * 250
    assert (below & ~bad).sum() < 0.03 * 650
    columns[2] = 0
    blind = rate(*columns)
    assert ((blind.score < blind.threshold) & bad).sum() < 0.9 * 250


@pytest.mark.parametrize("gain", [4.0, 12.0, 50.0, 1000.0])
@pytest.mark.parametrize("sd", [0.0, 0.3])
def test_a_clean_set_stays_whole(rng, gain, sd):
    """Also if the contrast of the particles varies."""
    log_evidence, model, excess = particles(rng, 2000, gain)
    found = rate(log_evidence * np.exp(rng.normal(0, sd, 2000)), model, excess)
    assert (found.score < found.threshold).mean() < 0.02
    assert found.n_junk < 0.02 * 2000
    assert found.particle.mean() > 0.98


def test_nothing_but_noise_is_one_kind(rng):
    found = rate(*empty(rng, 1000, 40.0))
    assert not found.is_mixed
    assert found.n_junk == 0
    np.testing.assert_array_equal(found.particle, 1)


def test_classes_are_rated_by_themselves(rng):
    """Images of a class whose map explains half of them would be junk beside those of a better map."""
    columns = np.concatenate([particles(rng, 600, 100.0), empty(rng, 100, 100.0), particles(rng, 300, 60.0)], axis=1)
    columns[0, 700:] -= 0.3 * columns[1, 700:]
    classes = np.repeat([0, 1], [700, 300]).astype(np.int32)
    found = rate_classes(*columns, classes)
    assert found.is_mixed
    assert found.particle[:600].mean() > 0.97
    assert found.particle[600:700].mean() < 0.05
    np.testing.assert_array_equal(found.particle[700:], 1)
    first = rate(*columns[:, :700])
    assert found.threshold == first.threshold
    np.testing.assert_array_equal(found.score[:700], first.score)
    np.testing.assert_array_equal(rate_classes(*columns, np.zeros(1000, np.int32)).particle, rate(*columns).particle)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_images(rng, n):
    found = rate(*particles(rng, n, 100.0))
    assert found.score.shape == found.particle.shape == (n,)
    assert np.isfinite(found.threshold)
    assert found.n_junk == 0


@pytest.mark.parametrize("model", [0.0, 1e-9, 1e9])
def test_equal_and_extreme_images(model):
    found = rate(np.full(7, 0.5 * model), np.full(7, model), np.zeros(7))
    assert np.isfinite(found.score).all()
    assert found.n_junk == 0
    np.testing.assert_array_equal(found.particle, 1)


def test_many_images_are_fitted_by_a_part_of_them(rng):
    """The same two kinds are found, and all images are told apart."""
    columns = np.concatenate([empty(rng, 60_000, 100.0), particles(rng, 140_000, 100.0)], axis=1)
    columns = columns[:, rng.permutation(200_000)]
    found, few = rate(*columns), rate(*columns[:, ::20])
    assert len(found.score) == 200_000
    # 10 000 images fix the means to a percent of their distance of 0.7.
    assert found.threshold == pytest.approx(few.threshold, abs=0.05)
    assert found.n_junk == pytest.approx(60_000, rel=0.01)


def test_score_of_what_is_expected():
    """A particle that gains ½ model scores 1, whatever its contrast; no gain scores 0."""
    model = np.array([10.0, 100.0, 400.0, 50.0])
    found = rate(np.array([5.0, 50.0, 200.0, 0.0]), model, np.zeros(4))
    np.testing.assert_allclose(found.score, [1, 1, 1, 0], rtol=1e-12)


def test_description():
    assert (
        describe(30, 120, 0.25) == "images: 30 of 120 (25.0 %) look like junk, suggested threshold of the score 0.250"
    )
    assert describe(0, 120, -0.1) == "images: none of 120 looks like junk"
    assert describe(2, 120, -0.1).endswith("of the score -0.100, at which noise explains an image better than the map")


def test_class_shares():
    np.testing.assert_allclose(class_shares(np.array([[10.0, 20], [20, 50]])), [0.3, 0.7])
    # Also of empty classes, and where nothing looks like a particle.
    assert 0 < class_shares(np.array([[5.0, 0], [5, 0]]))[1] < 1e-3
    np.testing.assert_array_equal(class_shares(np.zeros((2, 1))), [1])


def test_insertion_weights():
    half = np.array([0, 0, 0, 1, 1, 1, 0], np.int8)
    spread = np.array([1.0, 1.0, 30.0, 5.0, 5.0, 5.0, 1.0])
    particle = np.array([1.0, 0.0, 1.0, 0.4, 0.2, 0.0, 0.5])
    found = insertion_weights(spread, particle, half)
    # Half 1: the usual spread is 1, 30 counts a tenth. Half 2 has no likely particle: its best image counts fully.
    np.testing.assert_allclose(found, [1, 1e-3, 0.1, 1, 0.5, 1e-3 / 0.4, 0.5], rtol=1e-12)


@pytest.mark.parametrize("n", [0, 1])
def test_insertion_weights_of_few(n):
    np.testing.assert_array_equal(insertion_weights(np.ones(n), np.zeros(n), np.zeros(n, np.int8)), np.ones(n))
