"""Defects of single images that leave the rest of them good: a few hot or dead pixels, a ramp.

See docs/method.md, Outliers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.io.batches import Batch
from pycryo.parallel.comm import Comm
from pycryo.refinement.data._background import count_beyond, moments, ramps
from pycryo.threads import get_threads

log = logging.getLogger(__name__)

Image = NDArray[np.float32]

# A pixel is hot or dead if it is so many times as far from the median as all but so many of the pixels: at least 8
# standard deviations of Gaussian noise. The largest pixels of images without noise reach 0.5 of it, real ones 0.6.
_HOT_FACTOR = 3.0
_HOT_SHARE, _HOT_COUNT = 1e-3, 4
# Standard deviations below which no pixel is hot by that rule.
_SCREEN = 6.0
# Standard deviation of a ramp that is taken out, as a share of the whole image's; particles off the centre make up to
# 0.13. And as a multiple of what noise makes, which is much in small images.
_RAMP, _RAMP_CHANCE = 0.25, 6.0
# Share of the least ramp below which a quick fit settles that there is none.
_SETTLED = 0.5
# Robust standard deviations beyond which a pixel says nothing of the ramp, and rounds of its fit.
_RAMP_PIXELS, _RAMP_ROUNDS = 4.0, 4
# The standard deviation of a normal distribution over its median absolute deviation.
_TO_DEVIATION = 1.4826
# px; in smaller images chance does much. And half width of the window whose median a hot pixel becomes.
_LEAST_BOX, _WINDOW = 16, 2


@dataclass(slots=True)
class Mends:
    """Rows of the images that were mended: those with hot or dead pixels, and those with a ramp."""

    pixels: list[int] = field(default_factory=list)
    ramp: list[int] = field(default_factory=list)


def mended(
    batches: Iterable[Batch], mends: Mends | None = None, sound: NDArray[np.bool_] | None = None
) -> Iterator[Batch]:
    """Batches as read from files, with images mended; which ones is added to `mends`.

    An image does not depend on the batch that it is in. Those with pixels that are not finite stay as they are. `sound`
    (n_all,) are those that are known to need nothing: they are not looked at again, and others that are found to be so
    are added.
    """
    for batch in batches:
        unknown = np.ones(len(batch.rows), bool) if sound is None else ~sound[batch.rows]
        rows, some = batch.rows, batch.images
        if not unknown.all():
            rows, some = rows[unknown], some[unknown]
        found, has_hot, has_ramp = mend(some)
        if mends is not None:
            mends.pixels += rows[has_hot].tolist()
            mends.ramp += rows[has_ramp].tolist()
        if sound is not None:
            sound[rows] = ~(has_hot | has_ramp)
        if len(rows) < len(batch.rows) and found is not some:
            images = batch.images.copy()
            images[unknown] = found
            found = images
        yield batch if found is some else replace(batch, images=found)


def mended_counts(comm: Comm, mends: Mends, left_out: NDArray[np.int64]) -> dict[str, int]:
    """Images of all ranks that were mended and not left out after all, with a line of the log. Collective."""
    found = np.array([np.count_nonzero(~np.isin(rows, left_out)) for rows in (mends.pixels, mends.ramp)], np.int64)
    comm.sum_array(found)
    pixels, ramp = found.tolist()
    if found.any():
        log.info("images mended: %d with hot or dead pixels, %d with a ramp", pixels, ramp)
    return {"pixels": pixels, "ramp": ramp}


def mend(images: Image) -> tuple[Image, NDArray[np.bool_], NDArray[np.bool_]]:
    """Images (n, N, N) without single hot or dead pixels and strong ramps; which ones had them (n,), (n,).

    The images themselves, if none had.
    """
    n = len(images)
    has_hot, has_ramp = np.zeros((2, n), bool)
    if not n or images.shape[-1] < _LEAST_BOX:
        return images, has_hot, has_ramp
    images = np.ascontiguousarray(images, np.float32)
    doubtful = _screened(images)
    if not len(doubtful):
        return images, has_hot, has_ramp
    result = images
    for i in doubtful.tolist():
        image, has_hot[i] = without_hot_pixels(images[i])
        image, has_ramp[i] = without_ramp(image)
        if has_ramp[i]:
            image, has_hidden = without_hot_pixels(image)
            has_hot[i] |= has_hidden
        if has_hot[i] or has_ramp[i]:
            if result is images:
                result = images.copy()
            result[i] = image
    return result, has_hot, has_ramp


def without_hot_pixels(image: Image) -> tuple[Image, bool]:
    """The image (N, N) with its hot and dead pixels as the median of those around them, and whether there were any."""
    box = image.shape[-1]
    most = _most_hot(box)
    median = np.median(image)
    away = np.abs(image - median)
    usual = np.partition(away, -most - 1, axis=None)[-most - 1]
    hot = away > _HOT_FACTOR * usual
    if not hot.any():
        return image, False
    result = image.copy()
    for y, x in np.argwhere(hot).tolist():
        window = (slice(max(0, y - _WINDOW), y + _WINDOW + 1), slice(max(0, x - _WINDOW), x + _WINDOW + 1))
        good = image[window][~hot[window]]
        result[y, x] = np.median(good) if len(good) else median
    return result, True


def without_ramp(image: Image) -> tuple[Image, bool]:
    """The image (N, N) without its linear ramp if that is strong, and whether it was.

    The ramp is that of the pixels outside the inscribed circle, less those that are far from all others.
    """
    box = image.shape[-1]
    left, right, _ = _around(box)
    line = np.arange(box)
    y, x = np.nonzero((line < left[:, None]) | (line >= right[:, None]))
    columns = np.stack([np.ones(len(x)), x - box // 2, y - box // 2], axis=1)
    values = image[y, x].astype(np.float64)
    slope = np.array([np.median(values), 0.0, 0.0])
    for _ in range(_RAMP_ROUNDS):
        away = np.abs(values - columns @ slope)
        used = away <= _RAMP_PIXELS * _TO_DEVIATION * np.median(away)
        slope = np.linalg.lstsq(columns[used], values[used], rcond=None)[0]
    if not _ramp_deviation(slope[1], slope[2], box) > _least_ramp(box) * image.std(dtype=np.float64):
        return image, False
    centred = line - box // 2
    return (image - (slope[1] * centred + slope[2] * centred[:, None])).astype(np.float32), True


def _screened(images: Image) -> NDArray[np.int64]:
    """Numbers of the images that may have hot pixels or a ramp."""
    box = images.shape[-1]
    left, right, inverse = _around(box)
    found = moments(images, left, right, get_threads())
    with np.errstate(invalid="ignore", over="ignore"):
        mean = found[:, 0] / box**2
        deviation = np.sqrt(np.maximum(found[:, 1] / box**2 - np.square(mean), 0))
        peak = np.maximum(found[:, 3] - mean, mean - found[:, 2])
        slope = (inverse * found[:, None, 4:]).sum(axis=-1)
        ramp = _ramp_deviation(slope[:, 1], slope[:, 2], box)
        doubtful = (peak > _SCREEN * deviation) | (ramp > _least_ramp(box) * deviation)
    chosen = np.flatnonzero(doubtful & np.isfinite(found).all(axis=1) & (found[:, 2] < found[:, 3]))
    if not len(chosen):
        return chosen
    return chosen[~_settled(images, chosen, mean[chosen], deviation[chosen], peak[chosen])]


def _settled(
    images: Image,
    chosen: NDArray[np.int64],
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
    peak: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Which of the images `chosen` certainly have neither hot pixels nor a ramp, by their moments and a quick fit.

    The median is at most a standard deviation from the mean. So no pixel is hot if more than `most` are a third of
    (peak + 4 deviations) or more from the mean: then the usual distance from the median is a third of the largest.
    """
    box = images.shape[-1]
    # What is too small beside the mean has lost its digits.
    is_exact = deviation > 1e-3 * np.abs(mean)
    with np.errstate(over="ignore"):
        least = ((peak + 4 * deviation) / _HOT_FACTOR * (1 + 1e-3)).astype(np.float32)
        no_hot = count_beyond(images, chosen, mean.astype(np.float32), least, get_threads()) > _most_hot(box)
    rest = is_exact & no_hot
    slope = ramps(images, chosen[rest], *_places(box), _RAMP_ROUNDS, _RAMP_PIXELS * _TO_DEVIATION, get_threads())
    ramp = _ramp_deviation(slope[:, 0], slope[:, 1], box)
    rest[rest] = ramp < _SETTLED * _least_ramp(box) * deviation[rest]
    return rest


def _most_hot(box: int) -> int:
    """Pixels of an image that may be hot."""
    return max(_HOT_COUNT, int(_HOT_SHARE * box * box))


def _ramp_deviation(x: ArrayLike, y: ArrayLike, box: int) -> NDArray[np.float64]:
    """Standard deviation over the image of ramps with these slopes per px."""
    return np.asarray(np.hypot(x, y) * np.sqrt((box**2 - 1) / 12))


def _least_ramp(box: int) -> float:
    """Standard deviation of a ramp that is taken out, as a share of the image's."""
    chance = np.sqrt(np.diag(_around(box)[2])[1:])
    return max(_RAMP, _RAMP_CHANCE * float(_ramp_deviation(chance[0], chance[1], box)))


@lru_cache(maxsize=16)
def _around(box: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """The pixels outside the inscribed circle, as of `moments`, and what makes a fit (3, 3) of their sums."""
    line = np.arange(box) - box // 2
    outside = np.hypot(line[:, None], line) > box / 2
    left = outside[:, : box // 2].sum(axis=1).astype(np.int32)
    right = (box - outside[:, box // 2 :].sum(axis=1)).astype(np.int32)
    y, x = np.nonzero(outside)
    columns = np.stack([np.ones(len(x)), line[x], line[y]], axis=1)
    inverse = np.linalg.pinv(columns.T @ columns)
    for each in (left, right, inverse):
        each.flags.writeable = False
    return left, right, inverse


@lru_cache(maxsize=16)
def _places(box: int) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """The pixels outside the inscribed circle: their numbers, x and y from the centre pixel."""
    left, right, _ = _around(box)
    line = np.arange(box)
    y, x = np.nonzero((line < left[:, None]) | (line >= right[:, None]))
    found = (y * box + x).astype(np.int32), (x - box // 2).astype(np.float64), (y - box // 2).astype(np.float64)
    for each in found:
        each.flags.writeable = False
    return found
