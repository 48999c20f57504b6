"""Half-maps of random atoms of a known B-factor: their amplitudes are flat (Wilson), but for it."""

import numpy as np

from pycryo.maps.density import Map, soft_sphere

BOX, PIXEL = 64, 1.2


def frequency(box=BOX, pixel=PIXEL):
    """(N, N, N // 2 + 1) 1/Å."""
    line = np.fft.fftfreq(box, pixel)
    return np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + np.fft.rfftfreq(box, pixel) ** 2)


def half_maps(b_factor=-120.0, noise=0.02, seed=0, transfer=None):
    """Two half-maps of 2000 atoms in a ball, and a soft mask; `transfer` multiplies the signal's transform."""
    rng = np.random.default_rng(seed)
    at = rng.normal(size=(2000, 3))
    at *= (0.36 * BOX * rng.random((2000, 1)) ** (1 / 3)) / np.linalg.norm(at, axis=1, keepdims=True)
    points = np.zeros((BOX, BOX, BOX))
    np.add.at(points, tuple(np.rint(at + BOX // 2).astype(int).T), 1.0)
    factor = np.exp(b_factor / 4 * frequency() ** 2)
    if transfer is not None:
        factor = factor * transfer(frequency())
    truth = np.fft.irfftn(np.fft.rfftn(points) * factor, points.shape, (0, 1, 2))
    halves = [truth + noise * rng.normal(size=truth.shape) for _ in "12"]
    first, second = (Map(each.astype(np.float32), PIXEL) for each in halves)
    return first, second, Map(soft_sphere(BOX, 0.38 * BOX, 5), PIXEL)
