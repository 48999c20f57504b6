"""Log-likelihood of each image's own orientations and shifts (kernel `compare_local`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo import _core
from pycryo.arguments import instance, matrices, numbers, split
from pycryo.kernels.pixels import Pixels
from pycryo.kernels.projector import FourierVolume
from pycryo.threads import threads_or_default


def compare_local(
    volumes: FourierVolume | Sequence[FourierVolume],
    rotations: ArrayLike,
    shifts: ArrayLike,
    images: ArrayLike,
    weights: ArrayLike,
    pixels: Pixels,
    *,
    classes: ArrayLike | None = None,
    places: ArrayLike | None = None,
    scale: float = 1.0,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Score every image against its own orientations × its own shifts (docs/method.md, Model and likelihood).

    ``score[i,r,t] = Σ_k Re(images_i·exp(+2πi k·shifts_it/box)·conj(S_ir)) - ½ Σ_k weights_i·|S_ir|²``
    with the slice ``S_ir`` of `pycryo.kernels.projector.project_slices`, which is never stored as a whole.

    Parameters
    ----------
    volumes : FourierVolume, or sequence of them
        The reference, or that of each class; of one padding.
    rotations : (n_image, n_rotation, 3, 3) float64
        A, see docs/conventions.md.
    shifts : (n_image, n_shift, 2) float64
        t = -rlnOrigin (x, y) in px of the image: where the particle sits.
    images : (any, 2, n_pixel) float32
        CTF·X/σ²: real parts, then imaginary parts.
    weights : (any, n_pixel) float32
        CTF²/σ².
    pixels : Pixels
        The samples, |kx|, |ky| < 4096, and the box of the images.
    classes : (n_image, n_rotation) int32, optional
        Index of the volume that each slice is read from. Default: the first.
    places : (n_image,) int64, optional
        Of the images that are compared, among those given. Default: all, in their order.
    scale : float
        Fourier px of the map per Fourier px of the image.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (n_image, n_rotation, n_shift) float32
        Log-likelihood up to a constant of the image. Each score depends on its own image, orientation and shift only,
        to the last bit.

    Raises
    ------
    InputError
        If shapes disagree or an index is out of range.

    Examples
    --------
    >>> kernels, rng = pycryo.kernels, np.random.default_rng(1)
    >>> volume, pixels = kernels.fourier_volume(rng.normal(size=(8, 8, 8))), kernels.half_plane(8, 4)
    >>> turns = pycryo.euler_to_matrix([0, 20, 40], [0, 50, 90], 0)
    >>> images = kernels.project_slices(volume, turns[[1]], pixels.kx, pixels.ky)  # one image
    >>> score = kernels.compare_local(volume, turns[None], np.zeros((1, 1, 2)), images, np.ones((1, 23)), pixels)
    >>> score.shape, int(score.argmax())
    ((1, 3, 1), 1)
    """
    volumes = volumes if isinstance(volumes, (list, tuple)) else (volumes,)
    for volume in volumes:
        instance("volumes", volume, FourierVolume, "from fourier_volume")
    instance("pixels", pixels, Pixels, "from half_plane")
    rotations = matrices("rotations", rotations, (None, None))
    shifts = numbers("shifts", shifts, np.float64, (None, None, 2), finite=True)
    images, weights = split("images", images), numbers("weights", weights, np.float32)
    places = numbers("places", np.arange(len(images)) if places is None else places, np.int64)
    out = np.empty((len(places), rotations.shape[1], shifts.shape[1]), np.float32)
    classes = numbers("classes", np.zeros(rotations.shape[:2]) if classes is None else classes, np.int32)
    step = volumes[0].padding * float(scale)
    data = [volume.data for volume in volumes]
    threads = threads_or_default(threads)
    _core.compare_local(
        data,
        classes,
        rotations,
        shifts,
        places,
        images,
        weights,
        pixels.kx,
        pixels.ky,
        float(pixels.box),
        step,
        out,
        threads,
    )
    return out
