"""Half-maps of which the left part ends at one resolution and the right one at another, made by NumPy alone."""

import numpy as np


def frequencies(box, pixel_size):
    """(box, box, box) |k|, 1/Å, as `numpy.fft.fftn` has them."""
    line = np.square(np.fft.fftfreq(box, pixel_size))
    return np.sqrt(line[:, None, None] + line[:, None] + line)


def sharp_ends(box, pixel_size, ends, snr, seed=1):
    """White signal that ends sharply at `ends` (left, right), Å, in white noise of 1 / `snr` of its power."""
    rng = np.random.default_rng(seed)
    transform, k = np.fft.fftn(rng.standard_normal((box,) * 3)), frequencies(box, pixel_size)
    signal = _side_by_side(pixel_size, *(np.fft.ifftn(transform * (k <= 1 / end)).real for end in ends))
    return [np.float32(signal + rng.standard_normal(signal.shape) / np.sqrt(snr)) for _ in range(2)]


def gentle_ends(box, pixel_size, ends, b_factor, seed=1):
    """Signal that falls by a B-factor (Å²) into white noise: FSC 0.5 at `ends` (left, right), Å.

    The FSC is ``1 / (1 + exp(B/2 (k² - 1/end²)))``.
    """
    rng = np.random.default_rng(seed)
    transform = np.fft.fftn(rng.standard_normal((box,) * 3))
    signal = np.fft.ifftn(transform * np.exp(-b_factor / 4 * frequencies(box, pixel_size) ** 2)).real
    level = [np.full(signal.shape, np.exp(-b_factor / 4 / end**2)) for end in ends]
    noise = _side_by_side(pixel_size, *level)
    return [np.float32(signal + noise * rng.standard_normal(signal.shape)) for _ in range(2)]


def end_at(b_factor, end, threshold):
    """Å where the FSC of `gentle_ends` is `threshold`."""
    return (1 / end**2 + 2 / b_factor * np.log((1 - threshold) / threshold)) ** -0.5


def _side_by_side(pixel_size, left, right):
    """Two maps, joined within about 6 Å."""
    x = (np.arange(len(left)) - len(left) // 2) * pixel_size
    share = 0.5 * (1 - np.tanh(x / 3))
    return left * share + right * (1 - share)


def beam(box):
    """(box, box, box) float32: 1 along the x axis, a quarter of the box thick, else 0."""
    inner = slice(3 * box // 8, 5 * box // 8)
    mask = np.zeros((box,) * 3, np.float32)
    mask[inner, inner] = 1
    return mask


def medians(resolution, pixel_size, away):
    """Median of a map of local resolution in the beam, left and right, further than `away` Å from the middle."""
    middle, off = len(resolution) // 2, round(away / pixel_size)
    inside = np.where(beam(len(resolution)) > 0, resolution, np.nan)
    return tuple(float(np.nanmedian(inside[:, :, part])) for part in (slice(middle - off), slice(middle + off, None)))
