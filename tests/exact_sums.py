"""F and T of known maps, as insertion and folding leave them, for tests of what solves for a map."""

from __future__ import annotations

import numpy as np

from pycryo.kernels.backprojector import Accumulators
from pycryo.kernels.sphere import Sphere, sphere, sphere_radius

PADDING = 2
# Box and r_high.
BOXES = [(32, 16.0), (31, 15.5), (32, 12.5), (36, 13.0), (30, 11.2)]


def centred(n: int) -> np.ndarray:
    return np.arange(n) - n // 2


def outer(line: np.ndarray) -> np.ndarray:
    return line[:, None, None] * line[:, None] * line


def blobs(box: int, points: int) -> np.ndarray:
    """Three Gaussians of 2.5 px in a field of view of `box` px, sampled on `points` per axis, as (z, y, x)."""
    at = centred(points) * box / points
    out = np.zeros((points,) * 3)
    for x, y, z, height in ((0, 0, 0, 1.0), (2.5, -1, 1, 0.7), (-1, 2, -3, 0.5)):
        gx, gy, gz = (np.exp(-((at - c) ** 2) / (2 * 2.5**2)) for c in (x, y, z))
        out += height * gz[:, None, None] * gy[:, None] * gx
    return out


def interpolated_transform(volume: np.ndarray) -> np.ndarray:
    """Transform on the padded grid (numpy's layout) as the insertion of dense exact samples leaves it over T.

    Spreading by the trilinear kernel multiplies the map by its transform, sinc² of x over the padded box.
    """
    box = len(volume)
    size = PADDING * box
    padded = np.zeros((size,) * 3)
    at = slice(size // 2 - box // 2, size // 2 - box // 2 + box)
    padded[at, at, at] = volume * outer(np.sinc(centred(box) / size) ** 2)
    return np.fft.fftn(np.fft.ifftshift(padded))


def packed(full: np.ndarray, of: Sphere, layers: range) -> np.ndarray:
    """The voxels of some layers of numpy's layout; frequencies that the padded grid does not have are 0."""
    size, r = len(full), of.radius
    parts = []
    for layer in layers:
        lengths = np.diff(of.start[layer * of.layers : (layer + 1) * of.layers + 1])
        for z, length in zip(range(-r, r + 1), lengths, strict=True):
            x = np.arange(length)
            exists = (2 * x < size) & (2 * abs(z) < size) & (2 * abs(layer - r) < size)
            parts.append(full[z % size, (layer - r) % size, x % size] * exists)
    return np.concatenate([*parts, np.zeros(0)])


def accumulators(
    transform: np.ndarray, weight: np.ndarray, r_high: float, size: int = 1, rank: int = 0
) -> Accumulators:
    """F = T·transform and T as insertion and folding leave them, of a rank's layers."""
    whole = sphere(sphere_radius(PADDING, r_high))
    first, last = whole.bounds(size)[rank : rank + 2].tolist()
    value, weights = (packed(each, whole, range(first, last)) for each in (transform * weight, weight))
    parts = (np.ascontiguousarray(part, float) for part in (value.real, value.imag, weights))
    return Accumulators(*parts, whole, first, last, len(transform) // PADDING, PADDING, r_high)


def hermitian_weight(size: int, rng: np.random.Generator) -> np.ndarray:
    """Positive, different everywhere, equal at q and -q."""
    weight = rng.uniform(0.2, 5.0, (size,) * 3)
    line = -np.arange(size) % size
    return weight + weight[np.ix_(line, line, line)]
