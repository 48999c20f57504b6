"""Log-likelihood of changes of each image's defocus, at given poses (kernel `defocus_scores`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo import _core
from pycryo.arguments import numbers, split
from pycryo.threads import threads_or_default


def defocus_sums(
    images: ArrayLike,
    slices: ArrayLike,
    weights: ArrayLike,
    sine: ArrayLike,
    cosine: ArrayLike,
    bin: ArrayLike,
    n_bin: int,
    *,
    threads: int | None = None,
) -> NDArray[np.float64]:
    """All that images say of their defocus at some poses: four sums over the samples of each bin.

    Parameters
    ----------
    images : (n_image, n_pose, 2, n_pixel) float32
        X/σ² *without* the CTF, centred by the shift of the pose: real parts, then imaginary parts.
    slices : (n_image, n_pose, 2, n_pixel) float32
        Slices S of the reference (`pycryo.kernels.projector.project_slices`).
    weights : (n_image, n_pixel) float32
        1/σ².
    sine, cosine : (n_image, n_pixel) float32
        The CTF at the defocus that changes are counted from, and the same with its phase a quarter turn on.
    bin : (n_pixel,) int32
        Bin of each sample, below `n_bin`: samples of about the same |k|², for which a change of the defocus turns the
        CTF's argument by the same angle.
    n_bin : int
        Number of bins.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (n_image, n_pose, n_bin, 4) float64
        Σ sine·Re(X·S*), Σ cosine·Re(X·S*), Σ b (sine² - cosine²), Σ 2 b·sine·cosine with b = weights·|S|².

    Raises
    ------
    InputError
        If shapes disagree or a bin is out of range.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> images, slices = rng.normal(size=(2, 1, 2, 25)), rng.normal(size=(2, 1, 2, 25))
    >>> sine, cosine, bins = np.full((2, 25), 0.6), np.full((2, 25), 0.8), np.arange(25) // 5
    >>> pycryo.kernels.defocus_sums(images, slices, np.ones((2, 25)), sine, cosine, bins, 5).shape
    (2, 1, 5, 4)
    """
    images, slices, bin = split("images", images), split("slices", slices), numbers("bin", bin, np.int32)
    weights, sine, cosine = (
        numbers(name, each, np.float32) for name, each in (("weights", weights), ("sine", sine), ("cosine", cosine))
    )
    out = np.empty((*images.shape[:2], n_bin, 4))
    _core.defocus_sums(images, slices, weights, sine, cosine, bin, out, threads_or_default(threads))
    return out


def defocus_scores(
    sums: ArrayLike,
    phase: ArrayLike,
    first: ArrayLike,
    step: ArrayLike,
    n_delta: int,
    *,
    threads: int | None = None,
) -> NDArray[np.float64]:
    """Log-likelihood (docs/method.md, Defocus of each particle) of evenly spaced changes of the defocus at each pose.

    ``Σ_k CTF·Re(X·S*) - ½ CTF²·b`` with ``CTF = sine·cos φ + cosine·sin φ``, ``φ = phase·(first + d·step)``.

    Parameters
    ----------
    sums : (n_image, n_pose, n_bin, 4) float64
        From `defocus_sums`.
    phase : (n_image, n_bin) float64
        Radians by which the CTF's argument grows per Å of defocus: π λ |k|²/(box · pixel size)².
    first, step : (n_image,) float64
        The first change of each image and the distance to the next, Å.
    n_delta : int
        Number of changes.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (n_image, n_pose, n_delta) float64
        Up to a constant of image and pose, which does not depend on the change. Each depends on its own image and pose
        only, to the last bit.

    Raises
    ------
    InputError
        If shapes disagree.

    Examples
    --------
    >>> sums = np.zeros((1, 1, 2, 4))
    >>> sums[..., 1] = 1.0  # the more of the cosine, the better
    >>> scores = pycryo.kernels.defocus_scores(sums, [[1e-3, 1e-3]], [-1000.0], [400.0], 5)
    >>> int(scores[0, 0].argmax())  # the last of -1000, -600, ... 600 Å
    4
    """
    sums, phase, first, step = (
        numbers(name, each, np.float64)
        for name, each in (("sums", sums), ("phase", phase), ("first", first), ("step", step))
    )
    out = np.empty((*sums.shape[:2], n_delta))
    _core.defocus_scores(sums, phase, first, step, out, threads_or_default(threads))
    return out
