"""Float64 twin of `pycryo.kernels.defocus_scores`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def defocus_scores(
    images: NDArray[np.float64],
    slices: NDArray[np.float64],
    weights: NDArray[np.float64],
    sine: NDArray[np.float64],
    cosine: NDArray[np.float64],
    turn: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The sum over the samples of each image, pose and change of the defocus.

    Parameters
    ----------
    images, slices, weights, sine, cosine
        As in `pycryo.kernels.defocus_scores.defocus_sums`.
    turn : (n_image, n_delta, n_pixel) float64
        φ, radians by which a change turns the CTF's argument.

    Returns
    -------
    (n_image, n_pose, n_delta) float64
        Σ CTF·Re(X·S*) - ½ (CTF² - ½ (sine² + cosine²)) b.
    """
    transfer = sine[:, None] * np.cos(turn) + cosine[:, None] * np.sin(turn)
    varying = transfer**2 - (sine**2 + cosine**2)[:, None] / 2
    cross = (images * slices).sum(axis=2)
    power = weights[:, None] * np.square(slices).sum(axis=2)
    return np.asarray(np.einsum("idk,ipk->ipd", transfer, cross) - np.einsum("idk,ipk->ipd", varying, power) / 2)
