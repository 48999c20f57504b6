"""Dark maps are told from light ones, and noise is neither."""

import numpy as np
import pytest
from thread_comm import run_ranks

from pycryo.maps.contrast import DARK, skewness
from pycryo.maps.density import Map, low_pass, soft_sphere
from pycryo.maps.slab_map import from_map
from pycryo.parallel.comm import SerialComm


def noisy(rng, sign=1.0, noise=1.0):
    ball = soft_sphere(24, 5, 2)
    return Map((sign * ball + noise * rng.normal(size=ball.shape)).astype(np.float32), 5.0)


def test_skewness_of_the_filtered_map(rng):
    """Against moments in scipy's terms, of the map low-passed to 20 Å."""
    from scipy import stats

    source = noisy(rng)
    line = np.square(np.arange(24) - 12)
    inside = line[:, None, None] + line[:, None] + line < 12**2
    expected = stats.skew(low_pass(source, 20.0).data[inside].astype(float))
    assert skewness(from_map(SerialComm(), source)) == pytest.approx(expected, rel=1e-6)
    assert len(set(run_ranks(3, lambda comm: skewness(from_map(comm, source))))) == 1


def test_light_dark_and_noise(rng):
    assert skewness(from_map(SerialComm(), noisy(rng))) > -DARK
    assert skewness(from_map(SerialComm(), noisy(rng, -1.0))) < DARK
    # The filtered map has some 10³ independent values: the standard deviation of a skewness is √(6/10³) = 0.08.
    assert abs(skewness(from_map(SerialComm(), noisy(rng, 0.0)))) < 0.4
    assert skewness(from_map(SerialComm(), Map(np.ones((8, 8, 8), np.float32), 5.0))) == 0
