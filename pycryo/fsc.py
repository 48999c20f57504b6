"""Fourier shell correlation of two half-maps, corrected for the mask by phase randomisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.errors import InputError
from pycryo.threads import get_threads

# Masked FSC below which the phases are randomised.
RANDOMISE_BELOW = 0.8
# Shells between the first randomised one and the first corrected one: the mask smears the border between the two.
RANDOMISE_MARGIN = 2


@dataclass(frozen=True, slots=True)
class Fsc:
    """The four FSC curves of a pair of half-maps, one value per shell 0 .. box // 2.

    Attributes
    ----------
    box : int
        Box of the maps, px.
    pixel_size : float
        Å.
    unmasked, masked, randomised, corrected : (n_shell,) float64
        FSC of the half-maps as they are, inside the mask, inside the mask after the phases were randomised from
        `randomised_from` on, and the masked one freed of what the mask alone correlates. Without a mask all are the
        unmasked one.
    randomised_from : int
        First shell with random phases; n_shell if there is none.
    """

    box: int
    pixel_size: float
    unmasked: NDArray[np.float64]
    masked: NDArray[np.float64]
    randomised: NDArray[np.float64]
    corrected: NDArray[np.float64]
    randomised_from: int

    @property
    def frequency(self) -> NDArray[np.float64]:
        """(n_shell,) spatial frequency of the shells, 1/Å."""
        return np.arange(len(self.unmasked)) / (self.box * self.pixel_size)

    @property
    def resolution(self) -> NDArray[np.float64]:
        """(n_shell,) Å; inf for shell 0."""
        with np.errstate(divide="ignore"):
            return 1 / self.frequency

    @property
    def resolution_0143(self) -> float:
        """Resolution of the corrected curve at 0.143, Å."""
        return self.resolution_at(0.143, "corrected")

    def resolution_at(self, threshold: float, curve: str = "corrected") -> float:
        """Resolution (Å) at which the named curve first falls below `threshold`; see `resolution_at`."""
        return resolution_at(getattr(self, curve), self.box, self.pixel_size, threshold)


def fsc(a: ArrayLike, b: ArrayLike, *, threads: int | None = None) -> NDArray[np.float64]:
    """Fourier shell correlation of two maps.

    ``FSC(s) = Re Σ A·B* / √(Σ|A|² Σ|B|²)`` over the voxels with round(\\|k\\|) = s (Harauz & van Heel, Optik 73, 1986).

    Parameters
    ----------
    a, b : (N, N, N) array_like
        Maps of the same box.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    (N // 2 + 1,) float64
        0 for shells in which a map has no power.

    Raises
    ------
    InputError
        If the maps are no cubes of one size or not finite.
    """
    halves = _check_pair(a, b)
    return _curve([_transform(half, threads) for half in halves], threads)


def corrected_fsc(
    half1: ArrayLike,
    half2: ArrayLike,
    pixel_size: float,
    mask: NDArray[np.float32] | None = None,
    *,
    seed: int = 0,
    threads: int | None = None,
) -> Fsc:
    """FSC of two half-maps with the correction for the mask of Chen et al., Ultramicroscopy 135 (2013) 24-35.

    The phases beyond the first shell where the masked FSC is below 0.8 are randomised in both half-maps; the FSC that
    remains inside the mask is the mask's doing. From two shells further on
    ``corrected = (masked - randomised) / (1 - randomised)``, before it is the masked one.

    Parameters
    ----------
    half1, half2 : (N, N, N) array_like
        Half-maps, unfiltered and unmasked.
    pixel_size : float
        Å.
    mask : (N, N, N) float32, optional
        0 to 1, soft.
    seed : int
        Of the random phases; the same seed gives the same curves.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    Fsc

    Raises
    ------
    InputError
        If the half-maps and the mask are no cubes of one size or not finite.
    """
    halves = _check_pair(half1, half2)
    box = len(halves[0])
    transforms = [_transform(half, threads) for half in halves]
    unmasked = _curve(transforms, threads)
    if mask is None:
        return Fsc(box, pixel_size, unmasked, unmasked, unmasked, unmasked, len(unmasked))
    if mask.shape != halves[0].shape:
        raise InputError(f"the mask has {mask.shape} voxels but the half-maps {halves[0].shape}")
    masked = _curve([_transform(half * mask, threads) for half in halves], threads)
    low = np.flatnonzero(masked[1:] < RANDOMISE_BELOW)
    if len(low) == 0:
        return Fsc(box, pixel_size, unmasked, masked, masked, masked, len(masked))
    start = int(low[0]) + 1
    for index, transform in enumerate(transforms):
        _randomise_phases(transform, box, start, np.random.Generator(np.random.Philox(key=[seed, index])), threads)
    randomised = _curve([_transform(_inverse(t, box, threads) * mask, threads) for t in transforms], threads)
    corrected = masked.copy()
    beyond = slice(start + RANDOMISE_MARGIN, None)
    rest = 1 - randomised[beyond]
    corrected[beyond] = np.where(rest > 1e-6, (masked[beyond] - randomised[beyond]) / np.maximum(rest, 1e-6), 0.0)
    return Fsc(box, pixel_size, unmasked, masked, randomised, corrected, start)


def resolution_at(curve: NDArray[np.float64], box: int, pixel_size: float, threshold: float = 0.143) -> float:
    """Resolution at which an FSC curve first falls below a threshold, linear between the shells.

    Parameters
    ----------
    curve : (n_shell,) float64
        From shell 0 on; shell 0 itself is not looked at. What rises again further out is ignored.
    box : int
        px.
    pixel_size : float
        Å.
    threshold : float

    Returns
    -------
    float
        Å. Of shell 1 (``box · pixel_size``) if that is already below; of the last shell if none is.
    """
    below = np.flatnonzero(~(curve[1:] >= threshold)) + 1  # NaN counts as below
    if len(below) == 0:
        shell = max(1.0, len(curve) - 1.0)
    elif below[0] == 1:
        shell = 1.0
    else:
        last, first = curve[below[0] - 1], np.nan_to_num(curve[below[0]])
        shell = float(below[0] - 1 + (last - threshold) / (last - first))
    return box * pixel_size / shell


def _check_pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    first, second = np.asarray(a, np.float32), np.asarray(b, np.float32)
    if first.ndim != 3 or len(set(first.shape)) != 1 or first.shape != second.shape:
        raise InputError(f"the FSC needs two cubes of one size, not {first.shape} and {second.shape} voxels")
    for name, half in (("first", first), ("second", second)):
        if not np.isfinite(half).all():
            raise InputError(f"the {name} map of the FSC has voxels that are not finite (NaN or infinite)")
    return first, second


def _transform(data: NDArray[np.float32], threads: int | None) -> NDArray[np.complex64]:
    import scipy.fft

    return np.asarray(scipy.fft.rfftn(data, workers=threads or get_threads()), np.complex64)


def _inverse(transform: NDArray[np.complex64], box: int, threads: int | None) -> NDArray[np.float32]:
    import scipy.fft

    return np.asarray(scipy.fft.irfftn(transform, s=(box,) * 3, workers=threads or get_threads()), np.float32)


def _curve(transforms: Sequence[NDArray[np.complex64]], threads: int | None) -> NDArray[np.float64]:
    """FSC of two half transforms."""
    cross, power_a, power_b = _volume_shells(transforms[0], transforms[1], threads).T
    power = np.sqrt(power_a) * np.sqrt(power_b)
    return np.asarray(np.divide(cross, power, out=np.zeros_like(cross), where=power > 0), np.float64)


def _volume_shells(a: NDArray[np.complex64], b: NDArray[np.complex64], threads: int | None) -> NDArray[np.float64]:
    """(n_shell, 3): Σ Re(a b*), Σ|a|², Σ|b|² of half transforms, each voxel counted as often as the full one has it."""
    box = len(a)
    k2 = np.fft.fftfreq(box, 1 / box) ** 2
    shell = np.rint(np.sqrt(k2[:, None, None] + k2[None, :, None] + k2[None, None, : box // 2 + 1])).astype(int).ravel()
    often = np.full(box // 2 + 1, 2.0)
    often[0] = 1
    if box % 2 == 0:
        often[-1] = 1
    terms = ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)
    sums = [np.bincount(shell, (term.astype(np.float64) * often).ravel())[: box // 2 + 1] for term in terms]
    return np.stack(sums, axis=1)


def _randomise_phases(
    transform: NDArray[np.complex64], box: int, start: int, rng: np.random.Generator, threads: int | None
) -> None:
    """Give the voxels with round(|k|) ≥ `start` the phases of white noise, in place; Hermitian as the noise is."""
    noise = _transform(rng.standard_normal((box,) * 3, dtype=np.float32), threads)
    k2 = np.fft.fftfreq(box, 1 / box) ** 2
    half2 = k2[: box // 2 + 1]
    for plane, noise_plane, kz2 in zip(transform, noise, k2, strict=True):  # planes: no further volume in memory
        beyond = kz2 + k2[:, None] + half2 >= (start - 0.5) ** 2
        amplitude = np.abs(noise_plane[beyond])
        plane[beyond] = np.abs(plane[beyond]) * noise_plane[beyond] / np.where(amplitude > 0, amplitude, 1)
