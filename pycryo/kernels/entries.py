"""Images at poses, as the kernels take them that insert images (`backprojector`, `keyvalue`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.arguments import numbers, split
from pycryo.errors import InputError


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
