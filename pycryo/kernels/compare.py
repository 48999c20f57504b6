"""Likelihoods of many images against slices that they share (kernel `compare`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo import _core
from pycryo.arguments import numbers, split, whole_number
from pycryo.errors import InputError
from pycryo.threads import threads_or_default

CELL_SLICES = _core.compare_cell_slices
"""Slices of a cell, the unit in which `compare` chooses slices for an image."""

# Rows (image, shift) that one thread compares at a time: products of 512 slices fill a quarter MiB of its cache.
_ROWS_PER_GROUP = 120


@dataclass(frozen=True, slots=True)
class ImagePanel:
    """Images of one block, packed for `compare`; it keeps its own copy of them.

    Attributes
    ----------
    rows : (n_image·n_shift·2·n_pixel,) float32
        Shifted images in the kernel's order, which depends on the instruction set.
    weights : (n_image, n_pixel) float32
        Their weights.
    n_image, n_shift, n_pixel : int
        Extents.
    n_group : int
        Groups of images, the units of work of the threads.
    """

    rows: NDArray[np.float32]
    weights: NDArray[np.float32]
    n_image: int
    n_shift: int
    n_pixel: int
    n_group: int


@dataclass(frozen=True, slots=True)
class SlicePanel:
    """Slices packed for `compare`; it keeps its own copy of them.

    Attributes
    ----------
    columns : (≥ n_column·2·n_pixel,) float32
        Slices in the kernel's order, which depends on the instruction set; n_column is n_slice, rounded up to a
        multiple of `CELL_SLICES`. Aligned to 64 bytes.
    norms : (≥ n_column·n_pixel,) float32
        |S|², likewise.
    n_slice, n_pixel : int
        Extents.
    """

    columns: NDArray[np.float32]
    norms: NDArray[np.float32]
    n_slice: int
    n_pixel: int


# Of `BestPoses`: none is missing.
NO_MARGIN = (math.inf, 0.0)


@dataclass(frozen=True, slots=True)
class BestPoses:
    """What `compare` keeps of all scores of an image.

    Attributes
    ----------
    score : (n_image, n_best) float32
        The best scores, descending; -∞ where there are fewer.
    index : (n_image, n_best) int64
        slice·n_shift + shift of each; equal scores stand by ascending index; -1 where there are fewer.
    log_max : (n_image,) float64
        The greatest score; -∞ before the first.
    log_sum : (n_image,) float64
        Σ exp(score - log_max) over all scores seen; relative error ≤ 1e-6 + (number of scores)·e⁻⁴⁰ for given scores.
    margin : two float
        (m, r): scores below the best one by more than m + r·max(best, 0) may be missing.

    Examples
    --------
    >>> best = pycryo.kernels.new_best(1, 1)
    >>> panel = pycryo.kernels.pack_images(np.zeros((1, 1, 2, 25)), np.ones((1, 25)))
    >>> pycryo.kernels.compare(panel, np.zeros((4, 2, 25)), best)  # four scores of 0
    >>> np.isclose(best.log_evidence(), np.log(4)).tolist()
    [True]
    """

    score: NDArray[np.float32]
    index: NDArray[np.int64]
    log_max: NDArray[np.float64]
    log_sum: NDArray[np.float64]
    margin: tuple[float, float] = NO_MARGIN

    def log_evidence(self) -> NDArray[np.float64]:
        """log Σ exp(score) over all scores seen, (n_image,); -∞ before the first."""
        seen = self.log_sum > 0
        return np.where(seen, self.log_max + np.log(self.log_sum, where=seen, out=np.zeros_like(self.log_sum)), -np.inf)


def pack_images(
    images: ArrayLike,
    weights: ArrayLike,
    *,
    images_per_group: int | None = None,
    threads: int | None = None,
) -> ImagePanel:
    """Pack images once to compare them with many blocks of slices.

    Parameters
    ----------
    images : (n_image, n_shift, 2, n_pixel) float32
        X̃ = CTF·X·exp(+2πi k·t/box)/σ², real parts, then imaginary parts, for every shift t.
    weights : (n_image, n_pixel) float32
        W = CTF²/σ².
    images_per_group : int, optional
        Images that are multiplied together, at most. 1 is best with `active` cells, of which a group takes all that one
        of its images needs. By default as many as make `compare` with all slices fast.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    ImagePanel

    Raises
    ------
    InputError
        If shapes disagree or `images_per_group` is below 1.
    """
    threads = threads_or_default(threads)
    if images_per_group is not None and images_per_group < 1:
        raise InputError(f"images_per_group: expected at least 1, got {images_per_group}")
    images, weights = split("images", images), numbers("weights", weights, np.float32)
    if images.ndim != 4:
        raise InputError(f"images: expected shape (any, any, 2, any), got {images.shape}")
    n_image, n_shift, _, n_pixel = images.shape
    rows, weights = np.empty(images.size, np.float32), weights.copy()
    n_group = _group_count(n_image, n_shift, threads) if images_per_group is None else -(-n_image // images_per_group)
    _core.compare_pack_images(images, weights, rows, n_group, threads)
    return ImagePanel(rows, weights, n_image, n_shift, n_pixel, n_group)


def _group_count(n_image: int, n_shift: int, threads: int) -> int:
    """Groups of about `_ROWS_PER_GROUP` rows, as many for each thread."""
    wanted = max(1, -(-n_image * n_shift // _ROWS_PER_GROUP))
    return min(n_image, -(-wanted // threads) * threads)


def pack_slices(slices: ArrayLike, *, out: SlicePanel | None = None, threads: int | None = None) -> SlicePanel:
    """Pack slices once to compare them with many panels of images.

    Parameters
    ----------
    slices : (n_slice, 2, n_pixel) float32
        Slices of the reference, real parts, then imaginary parts.
    out : SlicePanel, optional
        A panel that is not needed any more: the new one takes its memory, which must be large enough.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    SlicePanel

    Raises
    ------
    InputError
        If shapes disagree, or the memory of `out` is too small.
    """
    slices = split("slices", slices)
    if slices.ndim != 3:
        raise InputError(f"slices: expected shape (any, 2, any), got {slices.shape}")
    n_slice, _, n_pixel = slices.shape
    n_column = -(-n_slice // CELL_SLICES) * CELL_SLICES
    columns = _aligned(n_column * 2 * n_pixel) if out is None else out.columns
    norms = _aligned(n_column * n_pixel) if out is None else out.norms
    _core.compare_pack_slices(slices, columns, norms, threads_or_default(threads))
    return SlicePanel(columns, norms, n_slice, n_pixel)


def _aligned(n: int) -> NDArray[np.float32]:
    """`n` floats, aligned to 64 bytes."""
    memory = np.empty(n + 16, np.float32)
    first = -memory.ctypes.data % 64 // memory.itemsize
    return memory[first : first + n]


def new_best(n_image: int, n_best: int, margin: tuple[float, float] = NO_MARGIN) -> BestPoses:
    """Empty lists for `compare`.

    Parameters
    ----------
    n_image, n_best : int
        Images, and places of each.
    margin : (float, float)
        See `BestPoses`; with one, long lists cost less.

    Returns
    -------
    BestPoses
    """
    n_image, n_best = whole_number("n_image", n_image, 0), whole_number("n_best", n_best, 0)
    return BestPoses(
        np.full((n_image, n_best), -np.inf, np.float32),
        np.full((n_image, n_best), -1, np.int64),
        np.full(n_image, -np.inf),
        np.zeros(n_image),
        margin,
    )


def compare(
    panel: ImagePanel,
    slices: SlicePanel | ArrayLike,
    best: BestPoses,
    *,
    slice_offset: int = 0,
    log_prior_shift: ArrayLike | None = None,
    log_prior_slice: ArrayLike | None = None,
    active: ArrayLike | None = None,
    threads: int | None = None,
) -> None:
    """Score every image at every shift against every slice and keep the best and the log-sum-exp in `best`.

    The score is Re⟨X̃, S⟩ - ½⟨W, |S|²⟩ plus the log priors (docs/method.md, Model and likelihood). Beside the
    packed slices, memory does not depend on their number. A score's rounding error is about
    6e-8·sqrt(256 + n_pixel/128) times its greatest partial sum. Neither the number of threads nor the other images
    change a bit of an image's result; the split of slices into calls changes no pose, and `log_sum` only within its
    error.

    Parameters
    ----------
    panel : ImagePanel
        From `pack_images`.
    slices : SlicePanel or (n_slice, 2, n_pixel) float32
        From `pack_slices`, or what it packs. Blocks of 256 slices and more are efficient.
    best : BestPoses
        From `new_best`; updated in place.
    slice_offset : int
        Index of the first slice.
    log_prior_shift : (n_image, n_shift) float32, optional
        Added to the scores of a shift; -∞ excludes it.
    log_prior_slice : (n_slice,) float32, optional
        Added to the scores of a slice; -∞ excludes it.
    active : (n_image, n_cell) bool or uint8, optional
        Cells of slices that an image is compared with, by default all: cell c has the slices from c·`CELL_SLICES` on,
        n_cell = ⌈n_slice / `CELL_SLICES`⌉. The others are neither computed nor counted; see `images_per_group` of
        `pack_images`.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Raises
    ------
    InputError
        If shapes disagree.

    Examples
    --------
    >>> kernels, rng = pycryo.kernels, np.random.default_rng(1)
    >>> slices = rng.normal(size=(50, 2, 25))
    >>> images = slices[[7, 30]] + 0.1 * rng.normal(size=(2, 2, 25))  # of two of the slices, not shifted
    >>> panel, best = kernels.pack_images(images[:, None], np.ones((2, 25))), kernels.new_best(2, 1)
    >>> kernels.compare(panel, kernels.pack_slices(slices), best)
    >>> best.index.ravel().tolist()
    [7, 30]
    """
    threads = threads_or_default(threads)
    if not isinstance(slices, SlicePanel):
        slices = pack_slices(slices, threads=threads)
    cells = None if active is None else numbers("active", active, np.uint8)
    _core.compare(
        panel.rows,
        panel.weights,
        panel.n_image,
        panel.n_shift,
        panel.n_pixel,
        panel.n_group,
        slices.columns,
        slices.norms,
        slices.n_slice,
        slices.n_pixel,
        slice_offset,
        _prior("log_prior_shift", log_prior_shift),
        _prior("log_prior_slice", log_prior_slice),
        cells,
        best.score,
        best.index,
        best.log_max,
        best.log_sum,
        *best.margin,
        threads,
    )


def _prior(name: str, value: ArrayLike | None) -> NDArray[np.float32] | None:
    return None if value is None else numbers(name, value, np.float32)


def compare_scores(
    panel: ImagePanel,
    slices: SlicePanel | ArrayLike,
    *,
    log_prior_shift: ArrayLike | None = None,
    log_prior_slice: ArrayLike | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """All the scores that `compare` sees, for small problems; parameters as there.

    Returns
    -------
    (n_image, n_shift, n_slice) float32

    Examples
    --------
    >>> kernels, rng = pycryo.kernels, np.random.default_rng(1)
    >>> slices, images = rng.normal(size=(50, 2, 25)), rng.normal(size=(2, 3, 2, 25))
    >>> kernels.compare_scores(kernels.pack_images(images, np.ones((2, 25))), slices).shape
    (2, 3, 50)
    """
    threads = threads_or_default(threads)
    if not isinstance(slices, SlicePanel):
        slices = pack_slices(slices, threads=threads)
    out = np.empty((panel.n_image, panel.n_shift, slices.n_slice), np.float32)
    _core.compare_scores(
        panel.rows,
        panel.weights,
        panel.n_image,
        panel.n_shift,
        panel.n_pixel,
        panel.n_group,
        slices.columns,
        slices.norms,
        slices.n_slice,
        slices.n_pixel,
        _prior("log_prior_shift", log_prior_shift),
        _prior("log_prior_slice", log_prior_slice),
        out,
        threads,
    )
    return out
