"""A map that is turned keeps its amplitudes, up to nearly the last shell."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pycryo.kernels.shells import volume_shells
from pycryo.maps import turn
from pycryo.maps.density import Map
from pycryo.maps.fsc import fsc
from pycryo.maps.turn import turned


@pytest.fixture(scope="module")
def noise():
    """Noise of all frequencies below Nyquist, in a soft ball away from the edges of the box."""
    k = np.fft.fftfreq(48, 1 / 48)
    samples = np.fft.fftn(np.random.default_rng(0).normal(size=(48, 48, 48)))
    samples[np.square(k)[:, None, None] + np.square(k)[:, None] + np.square(k) >= 22**2] = 0
    values = np.fft.ifftn(samples).real
    radius = np.sqrt(np.square(np.indices((48, 48, 48)) - 24).sum(0))
    return Map(values * np.exp(-np.square(radius / 10)), 1.0)


def there_and_back(source):
    matrix = Rotation.from_rotvec([0.3, -0.5, 0.7]).as_matrix()
    return turned(turned(source, matrix[None], np.zeros(3)), matrix.T[None], np.zeros(3))


def test_there_and_back(noise):
    found = there_and_back(noise)
    power = volume_shells(np.fft.rfftn(noise.data), np.fft.rfftn(found.data))
    shells = slice(1, 21)  # to 0.83 of Nyquist
    np.testing.assert_allclose(np.sqrt(power[shells, 2] / power[shells, 1]), 1, atol=0.015)
    assert fsc(noise, found)[shells].min() > 0.999


def test_large_maps_lose_more(noise, monkeypatch):
    """So that the first test could fail: by cubic splines alone."""
    monkeypatch.setattr(turn, "_MOST_FINE", 10)
    power = volume_shells(np.fft.rfftn(noise.data), np.fft.rfftn(there_and_back(noise).data))
    assert np.sqrt(power[20, 2] / power[20, 1]) < 0.92
