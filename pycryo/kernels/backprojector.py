"""Insertion of images into Fourier-space accumulators (kernel `backprojector`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo import _core
from pycryo.arguments import instance, number, numbers, split, whole_number
from pycryo.errors import InputError
from pycryo.kernels.entries import Entries, checked_quanta, entry_arrays
from pycryo.kernels.sphere import Sphere, sphere, sphere_radius
from pycryo.threads import threads_or_default


@dataclass(frozen=True, slots=True)
class Accumulators:
    """Weighted sums F and T of a reconstruction on a slab of the padded half volume.

    See docs/method.md, Insertion and reconstruction.

    Attributes
    ----------
    re, im : (n_voxel,) float64
        F of the voxels that ``sphere.voxels(first, last)`` numbers.
    weight : (n_voxel,) float64
        T.
    sphere : Sphere
        Of radius r padded Fourier px.
    first, last : int
        Layers first ... last - 1 of the sphere.
    box : int
        Box of the images, px.
    padding : int
        Padded Fourier px per image Fourier px.
    r_high : float
        Samples with |k| < r_high fit, image Fourier px.

    Examples
    --------
    >>> sums = pycryo.kernels.new_accumulators(8, r_high=4)
    >>> F, T = sums.to_dense()
    >>> F.shape, F.dtype, T.dtype
    ((19, 19, 10), dtype('complex128'), dtype('float64'))
    """

    re: NDArray[np.float64]
    im: NDArray[np.float64]
    weight: NDArray[np.float64]
    sphere: Sphere
    first: int
    last: int
    box: int
    padding: int
    r_high: float

    def to_dense(self) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        """F and T, (D, D, H) each, at [z + r, y + r, x] as in `FourierVolume.data`; 0 where no voxel is."""
        side, half = self.sphere.layers, self.sphere.radius + 1
        start = self.sphere.start
        count = np.diff(start)
        row = np.repeat(np.arange(side * side), count)
        x = np.arange(self.sphere.n_voxel) - np.repeat(start[:-1], count)
        begin, end = self.sphere.voxels(self.first, self.last)
        at = np.s_[row[begin:end] % side, row[begin:end] // side, x[begin:end]]
        sums, weight = np.zeros((side, side, half), np.complex128), np.zeros((side, side, half))
        sums[at] = self.re + 1j * self.im
        weight[at] = self.weight
        return sums, weight


def new_accumulators(
    box: int, *, padding: int = 2, r_high: float, layers: tuple[int, int] | None = None
) -> Accumulators:
    """Empty accumulators for images of `box` px and samples with |k| < `r_high`.

    Parameters
    ----------
    box, padding, r_high : int, int, float
        See `Accumulators`.
    layers : (int, int), optional
        Its first layer and the end of its layers. Default: all.

    Returns
    -------
    Accumulators

    Raises
    ------
    InputError
        If `box`, `padding` or `r_high` is not positive, or if there are no such layers.

    Examples
    --------
    >>> sums = pycryo.kernels.new_accumulators(8, r_high=4)
    >>> sums.sphere.radius, sums.re.shape == sums.weight.shape
    (9, True)
    """
    box, padding, r_high = whole_number("box", box, 0), whole_number("padding", padding, 0), number("r_high", r_high)
    if box < 1 or padding < 1 or not r_high > 0:
        raise InputError(f"box, padding, r_high: expected positive numbers, got {box}, {padding}, {r_high}")
    whole = sphere(sphere_radius(padding, r_high))
    first, last = layers or (0, whole.layers)
    if not 0 <= first <= last <= whole.layers:
        raise InputError(f"layers: expected 0 to {whole.layers} ascending, got {first}, {last}")
    begin, end = whole.voxels(first, last)
    re, im, weight = (np.zeros(end - begin) for _ in range(3))
    return Accumulators(re, im, weight, whole, first, last, box, padding, r_high)


def quantum_for(bound: float) -> float:
    """Smallest power of two with which sums of contributions are exact while Σ|contribution| ≤ `bound`.

    Raises
    ------
    InputError
        If `bound` is not positive and finite.
    """
    if not (bound > 0 and math.isfinite(bound)):
        raise InputError(f"bound: expected a positive number, got {bound}")
    return math.ldexp(1.0, math.frexp(bound)[1] - 51)


def entry_quanta(entries: Entries) -> tuple[float, float]:
    """Quanta (float, float) of F and of T with which sums of these entries are exact, wherever they fall.

    Examples
    --------
    >>> kernels = pycryo.kernels
    >>> pixels = kernels.half_plane(8, 4)
    >>> samples = pixels.from_images(np.random.default_rng(1).normal(size=(2, 8, 8)))
    >>> quanta = kernels.entry_quanta(kernels.Entries.of(samples, pycryo.euler_to_matrix([0, 90], 0, 0), pixels))
    >>> [quantum < 1e-10 for quantum in quanta]
    [True, True]
    """
    instance("entries", entries, Entries, "such as from Entries.of")
    weight = float(np.abs(numbers("weight", entries.weight, np.float64)).sum())
    images = split("images", entries.images)
    largest = float(np.sqrt(np.square(images, dtype=np.float64).sum(axis=-2)).max(initial=0.0))
    bounds = (weight * largest, weight * float(np.abs(entries.weights).max(initial=0.0)))
    first, second = (quantum_for(bound * images.shape[-1]) if bound > 0 else 0.0 for bound in bounds)
    return first, second


def insert(
    accumulators: Accumulators,
    entries: Entries,
    *,
    quantum: tuple[float, float] | None = None,
    threads: int | None = None,
) -> None:
    """Add images at their poses: F(q) += w·X̃·exp(+2πi k·t/box), T(q) += w·W at q = padding·scale·Aᵀ(kx, ky, z).

    z is 0, or curvature·|k|².

    Every sample is spread over the 8 neighbours of q by trilinear weights; those on other layers than the accumulators'
    are not added. Samples with |q| ≥ r - ½ are left out.
    Every single contribution is first rounded to a multiple of a quantum. Sums of such multiples are exact as long as
    Σ|contribution| in a voxel stays below 2^51 quanta (`quantum_for`), so that the result does not depend, to the last
    bit, on the order of the entries nor on their partition over calls and ranks. The number of threads never matters.

    Parameters
    ----------
    accumulators : Accumulators
        Changed in place.
    entries : Entries
        The images and their poses; X̃, W, A, t, w and scale are explained there.
    quantum : (float, float), optional
        Quanta of F and of T, powers of two; 0: no rounding. Default: `entry_quanta` of these entries, with which this
        call is exact; several calls that are to be exact together need quanta in common.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Raises
    ------
    InputError
        If shapes disagree, an entry's image does not exist, a pose is not finite or a quantum is no power of two.

    Examples
    --------
    >>> kernels = pycryo.kernels
    >>> pixels = kernels.half_plane(8, 4)
    >>> samples = pixels.from_images(np.random.default_rng(1).normal(size=(2, 8, 8)))
    >>> sums = kernels.new_accumulators(8, r_high=4)
    >>> kernels.insert(sums, kernels.Entries.of(samples, pycryo.euler_to_matrix([0, 90], 0, 0), pixels))
    >>> round(float(sums.weight.sum()), 3) == 2 * len(pixels)
    True
    """
    if quantum is None:
        quantum = entry_quanta(entries)
    _core.backproject(
        *entry_arrays(entries),
        float(accumulators.box),
        accumulators.padding * entries.scale,
        *checked_quanta(quantum),
        accumulators.sphere.radius,
        accumulators.sphere.start,
        accumulators.first,
        accumulators.last,
        accumulators.re,
        accumulators.im,
        accumulators.weight,
        threads_or_default(threads),
    )


def fold_hermitian(accumulators: Accumulators) -> None:
    """Add to each voxel of the plane x = 0 the conjugate of its mate at (-y, -z), in place; all layers must be there.

    Samples are inserted on one side only, so before this each mate of a pair in that plane holds part of the sum.

    Examples
    --------
    >>> sums = pycryo.kernels.new_accumulators(8, r_high=4)
    >>> sums.weight[:] = 1.0
    >>> pycryo.kernels.fold_hermitian(sums)
    >>> [float(plane.max()) for plane in sums.to_dense()[1].transpose(2, 0, 1)[:3]]
    [2.0, 1.0, 1.0]
    """
    instance("accumulators", accumulators, Accumulators, "from new_accumulators")
    add_hermitian_mates(accumulators, hermitian_plane(accumulators))


def hermitian_plane(accumulators: Accumulators) -> NDArray[np.float64]:
    """F (real, imaginary part) and T of the plane x = 0.

    Returns
    -------
    (3, D, D) float64
        At [:, y + r, z + r]; zero outside the layers of `accumulators`. The sum of those of all slabs is the plane.
    """
    whole = accumulators.sphere
    plane = np.zeros((3, whole.layers, whole.layers))
    rows, voxels = _plane_voxels(accumulators)
    for target, source in zip(plane, (accumulators.re, accumulators.im, accumulators.weight), strict=True):
        target.ravel()[rows] = source[voxels]
    return plane


def add_hermitian_mates(accumulators: Accumulators, plane: NDArray[np.float64]) -> None:
    """Add to each voxel of the plane x = 0 the conjugate of its mate at (-y, -z), in place.

    Parameters
    ----------
    accumulators : Accumulators
        Changed.
    plane : (3, D, D) float64
        That of all layers, see `hermitian_plane`.
    """
    rows, voxels = _plane_voxels(accumulators)
    mates = plane.reshape(3, -1)[:, ::-1][:, rows]
    accumulators.re[voxels] += mates[0]
    accumulators.im[voxels] -= mates[1]
    accumulators.weight[voxels] += mates[2]


def _plane_voxels(accumulators: Accumulators) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the sphere with a voxel at x = 0 in the accumulators, and where it is in their arrays."""
    whole = accumulators.sphere
    begin, end = accumulators.first * whole.layers, accumulators.last * whole.layers
    rows = begin + np.flatnonzero(np.diff(whole.start[begin : end + 1]))
    return rows, whole.start[rows] - whole.start[begin]
