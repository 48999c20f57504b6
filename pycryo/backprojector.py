"""Insertion of images into Fourier-space accumulators (kernel `backprojector`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo import _core
from pycryo.threads import get_threads


@dataclass(frozen=True, slots=True)
class Accumulators:
    """Weighted sums F and T of a reconstruction on the padded half volume (method.md §6).

    Attributes
    ----------
    re, im : (D, D, H) float64
        F at index [z + r, y + r, x] with D = 2r + 1, H = r + 1 and r = ``(D - 1) // 2`` padded Fourier px.
    weight : (D, D, H) float64
        T.
    box : int
        Box of the images, px.
    padding : int
        Padded Fourier px per image Fourier px.
    r_high : float
        Samples with |k| < r_high fit, image Fourier px.
    """

    re: NDArray[np.float64]
    im: NDArray[np.float64]
    weight: NDArray[np.float64]
    box: int
    padding: int
    r_high: float


def new_accumulators(box: int, *, padding: int = 2, r_high: float) -> Accumulators:
    """Empty accumulators for images of `box` px and samples with |k| < `r_high`.

    Raises
    ------
    ValueError
        If `box`, `padding` or `r_high` is not positive.
    """
    if box < 1 or padding < 1 or not r_high > 0:
        raise ValueError(f"box, padding, r_high: expected positive numbers, got {box}, {padding}, {r_high}")
    radius = math.ceil(padding * r_high) + 1
    shape = (2 * radius + 1, 2 * radius + 1, radius + 1)
    return Accumulators(np.zeros(shape), np.zeros(shape), np.zeros(shape), box, padding, r_high)


def quantum_for(bound: float) -> float:
    """Smallest power of two with which sums of contributions are exact while Σ|contribution| ≤ `bound`.

    Raises
    ------
    ValueError
        If `bound` is not positive and finite.
    """
    if not (bound > 0 and math.isfinite(bound)):
        raise ValueError(f"bound: expected a positive number, got {bound}")
    return math.ldexp(1.0, math.frexp(bound)[1] - 51)


def insert(
    accumulators: Accumulators,
    images: NDArray[np.float32],
    weights: NDArray[np.float32],
    entry_image: NDArray[np.int64],
    rotations: NDArray[np.float64],
    shifts: NDArray[np.float64],
    entry_weight: NDArray[np.float64],
    kx: NDArray[np.int32],
    ky: NDArray[np.int32],
    *,
    scale: float = 1.0,
    quantum_value: float,
    quantum_weight: float,
    threads: int | None = None,
) -> None:
    """Add images at their poses: F(q) += w·X̃·exp(+2πi k·t/box), T(q) += w·W at q = padding·scale·Aᵀ(kx, ky, 0).

    Every sample is spread over the 8 neighbours of q by trilinear weights. Samples with |q| ≥ r - ½ are left out.
    Every single contribution is first rounded to a multiple of a quantum. Sums of such multiples are exact as long as
    Σ|contribution| in a voxel stays below 2^51 quanta (`quantum_for`), so that the result does not depend, to the last
    bit, on the order of the entries nor on their partition over calls and ranks. The number of threads never matters.

    Parameters
    ----------
    accumulators : Accumulators
        Changed in place.
    images : (n_image, 2, n_pixel) float32
        X̃ = CTF·X/σ², unshifted: real parts, then imaginary parts of the samples listed in `kx`, `ky`.
    weights : (n_image, n_pixel) float32
        W = CTF²/σ².
    entry_image : (n_entry,) int64
        Image of each entry.
    rotations : (n_entry, 3, 3) float64
        A of each entry.
    shifts : (n_entry, 2) float64
        t = -rlnOrigin of each entry, px of the full box, (x, y).
    entry_weight : (n_entry,) float64
        Weight w of each entry.
    kx, ky : (n_pixel,) int32
        Fourier indices.
    scale : float
        Fourier px of the volume per Fourier px of the images.
    quantum_value, quantum_weight : float
        Quanta of F and of T, powers of two; 0: no rounding.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Raises
    ------
    ValueError
        If shapes disagree, an entry's image does not exist, a pose is not finite or a quantum is no power of two.
    """
    for name, quantum in (("quantum_value", quantum_value), ("quantum_weight", quantum_weight)):
        if quantum != 0 and math.frexp(quantum)[0] != 0.5:
            raise ValueError(f"{name}: expected 0 or a power of two, got {quantum}")
    rotations = np.ascontiguousarray(rotations, np.float64)
    shifts = np.ascontiguousarray(shifts, np.float64)
    entry_weight = np.ascontiguousarray(entry_weight, np.float64)
    for name, array in (("rotations", rotations), ("shifts", shifts), ("entry_weight", entry_weight)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: expected finite numbers only")
    _core.backproject(
        images,
        weights,
        np.ascontiguousarray(entry_image, np.int64),
        rotations,
        shifts,
        entry_weight,
        kx,
        ky,
        int(max(np.abs(kx).max(initial=0), np.abs(ky).max(initial=0))),
        float(accumulators.box),
        accumulators.padding * scale,
        quantum_value,
        quantum_weight,
        accumulators.re.shape[2] - 1,
        accumulators.re,
        accumulators.im,
        accumulators.weight,
        threads or get_threads(),
    )


def fold_hermitian(accumulators: Accumulators) -> None:
    """Add to each voxel of the plane x = 0 the conjugate of its mate at (-y, -z), in place.

    Samples are inserted on one side only, so before this each mate of a pair in that plane holds part of the sum.
    """
    for volume, sign in ((accumulators.re, 1), (accumulators.im, -1), (accumulators.weight, 1)):
        plane = volume[:, :, 0]
        plane += sign * plane[::-1, ::-1].copy()
