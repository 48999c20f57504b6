"""Images at poses, as the kernels take them that insert images (`backprojector`, `keyvalue`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.arguments import instance, matrices, numbers, split
from pycryo.errors import InputError
from pycryo.kernels.pixels import Pixels


@dataclass(frozen=True, slots=True)
class Entries:
    """Images and the poses at which they are to be inserted; see `pycryo.kernels.backprojector.insert`.

    Attributes
    ----------
    images : (n_image, 2, n_pixel) float32
        X̃ = CTF·X/σ², unshifted: real parts, then imaginary parts of the samples listed in `kx`, `ky`.
    weights : (n_image, n_pixel) float32
        W = CTF²/σ².
    image : (n,) int64
        Image of each entry.
    rotations : (n, 3, 3) float64
        A of each entry.
    shifts : (n, 2) float64
        t = -rlnOrigin of each entry, px of the full box, (x, y).
    weight : (n,) float64
        Weight w of each entry.
    kx, ky : (n_pixel,) int32
        Fourier indices.
    scale : float
        Fourier px of the volume per Fourier px of the images.
    curvature : (n,) float64, optional
        How far samples are from the plane of the slice along A's third row: curvature·|k|², Fourier px of the images.
        Default: central slices.

    Examples
    --------
    >>> pixels = pycryo.kernels.half_plane(8, 4)
    >>> samples = pixels.from_images(np.random.default_rng(1).normal(size=(2, 8, 8)))
    >>> entries = pycryo.kernels.Entries.of(samples, pycryo.euler_to_matrix([0, 90], 0, 0), pixels)
    >>> entries.image.tolist(), entries.weight.tolist()
    ([0, 1], [1.0, 1.0])
    """

    images: NDArray[np.float32]
    weights: NDArray[np.float32]
    image: NDArray[np.int64]
    rotations: NDArray[np.float64]
    shifts: NDArray[np.float64]
    weight: NDArray[np.float64]
    kx: NDArray[np.int32]
    ky: NDArray[np.int32]
    scale: float = 1.0
    curvature: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls,
        images: ArrayLike,
        rotations: Any,
        pixels: Pixels,
        *,
        weights: ArrayLike | None = None,
        shifts: ArrayLike | None = None,
        scale: float = 1.0,
    ) -> Entries:
        """Images with one pose each and a weight of 1.

        Parameters
        ----------
        images : (n, 2, n_pixel) float32, or (n, n_pixel) complex
            X̃ at `pixels`.
        rotations : (n, 3, 3) float64, or scipy.spatial.transform.Rotation
            A of each image.
        pixels : Pixels
            The samples.
        weights : (n, n_pixel) float32, optional
            W. Default: 1.
        shifts : (n, 2) float64, optional
            t. Default: 0.
        scale : float

        Raises
        ------
        InputError
            If shapes disagree or a number is not finite.
        """
        instance("pixels", pixels, Pixels, "from half_plane")
        samples = split("images", images)
        if samples.ndim != 3 or samples.shape[2] != len(pixels):
            raise InputError(f"images: expected shape (n, 2, {len(pixels)}), got {samples.shape}")
        n = len(samples)
        return cls(
            samples,
            numbers("weights", np.ones((n, len(pixels))) if weights is None else weights, np.float32, (n, len(pixels))),
            np.arange(n),
            matrices("rotations", rotations, (n,)),
            numbers("shifts", np.zeros((n, 2)) if shifts is None else shifts, np.float64, (n, 2), finite=True),
            np.ones(n),
            pixels.kx,
            pixels.ky,
            scale,
        )

    def part(self, number: int, n: int) -> Entries:
        """One of `n` parts, of consecutive poses."""
        return self.some(slice(number * len(self.image) // n, (number + 1) * len(self.image) // n))

    def some(self, some: slice | NDArray[np.int64]) -> Entries:
        """Some of the poses."""
        return replace(
            self,
            image=self.image[some],
            rotations=self.rotations[some],
            shifts=self.shifts[some],
            weight=self.weight[some],
            curvature=None if self.curvature is None else self.curvature[some],
        )


def entry_arrays(
    entries: Entries,
) -> tuple[
    NDArray[np.float32],
    NDArray[np.float32],
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.int32],
    NDArray[np.int32],
]:
    """The arrays of entries in the order and layout of the compiled kernels.

    Raises
    ------
    InputError
        If a pose is not finite.
    """
    instance("entries", entries, Entries, "such as from Entries.of")
    return (
        split("images", entries.images),
        numbers("weights", entries.weights, np.float32),
        numbers("image", entries.image, np.int64),
        finite("rotations", entries.rotations),
        finite("shifts", entries.shifts),
        finite("entry_weight", entries.weight),
        curvatures(entries.curvature),
        numbers("kx", entries.kx, np.int32),
        numbers("ky", entries.ky, np.int32),
    )


def curvatures(curvature: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """The array, contiguous; empty where all is flat.

    Raises
    ------
    InputError
        If a number in it is not finite.
    """
    return np.empty(0) if curvature is None else finite("curvature", curvature)


def finite(name: str, array: NDArray[np.float64]) -> NDArray[np.float64]:
    """The array, contiguous.

    Raises
    ------
    InputError
        If a number in it is not finite.
    """
    return numbers(name, array, np.float64, finite=True)


def checked_quanta(quantum: tuple[float, float]) -> tuple[float, float]:
    """Both quanta.

    Raises
    ------
    InputError
        If one is neither 0 nor a power of two.
    """
    for each in quantum:
        if each != 0 and math.frexp(each)[0] != 0.5:
            raise InputError(f"quantum: expected 0 or a power of two, got {each}")
    return quantum
