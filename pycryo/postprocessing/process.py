"""A sharpened map of two half-maps: corrected FSC, MTF, FSC weights, B-factor, as relion_postprocess has it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.arguments import described, numbers
from pycryo.errors import InputError
from pycryo.maps.density import Map, as_map, low_pass
from pycryo.maps.fsc import Fsc, corrected_fsc, mask_warning
from pycryo.maps.masks import auto_mask, fitted_mask
from pycryo.maps.returned import Band, independence, returned_resolution, with_returned
from pycryo.option_fields import check_types, given_or_default
from pycryo.postprocessing.guinier import check_b_factor
from pycryo.postprocessing.sharpen import Filter, Guinier, sharpen

log = logging.getLogger(__name__)

# Relative; pixel sizes of half-maps within it are the same.
_SAME_PIXEL = 1e-3
# px; below it there are no shells to speak of.
_LEAST_BOX = 8


@dataclass(frozen=True, slots=True)
class PostprocessOptions:
    """What is done to the map.

    Attributes
    ----------
    filter : Filter
        MTF, B-factor, weights.
    low_pass : float, optional
        Å; a filter at the end. Without it the FSC weights end the map.
    order : int
        Of the maps' point group, for what is said of noise.
    seed : int
        Of the random phases.
    bands : tuple of (int, int), optional
        Shells beyond the first fall of the FSC where there is signal. Default: those that are beyond chance
        (`pycryo.maps.returned.returned_bands`).

    Raises
    ------
    InputError
        If a value is of another type.

    Examples
    --------
    >>> from pycryo.postprocessing.sharpen import Filter
    >>> options = pycryo.PostprocessOptions(Filter(b_factor=-80.0), low_pass=12.0)
    >>> options.filter.b_factor, options.low_pass
    (-80.0, 12.0)
    """

    filter: Filter = field(default_factory=Filter)
    low_pass: float | None = None
    order: int = 1
    seed: int = 0
    bands: tuple[Band, ...] | None = None

    def __post_init__(self) -> None:
        check_types(self)
        if self.order < 1:
            raise InputError(f"order: expected the number of operators of a point group, 1 or more, got {self.order}")
        for band in self.bands or ():
            if not (
                isinstance(band, tuple) and len(band) == 2 and all(isinstance(each, (int, np.integer)) for each in band)
            ):
                raise InputError(f"bands: expected pairs of shells, first and last, got {described(band)}")


@dataclass(frozen=True, slots=True)
class PostprocessResult:
    """What became of two half-maps.

    Attributes
    ----------
    map : Map
        Sharpened and weighted, not masked.
    mask : Map
    fsc : Fsc
        Corrected, 0 where random phases correlate more than the maps themselves.
    b_factor : float or None
        Used, Å², negative: sharpened. None: too few shells for a fit, not sharpened.
    guinier : Guinier
    seed : int
        Of the random phases.
    """

    map: Map
    mask: Map
    fsc: Fsc
    b_factor: float | None
    guinier: Guinier
    seed: int = 0

    def __repr__(self) -> str:
        sharpened = "not sharpened" if self.b_factor is None else f"B-factor {self.b_factor:.3g} Å²"
        return f"PostprocessResult({self.resolution:.4g} Å, {sharpened}, {self.map})"

    @property
    def masked(self) -> Map:
        """The map, times the mask."""
        return Map(self.map.data * self.mask.data, self.map.pixel_size)

    @property
    def resolution(self) -> float:
        """Where the corrected FSC first falls below 0.143, Å."""
        return self.fsc.resolution_0143

    @property
    def returned_resolution(self) -> float | None:
        """Where it does so at last, if the signal comes back beyond its first fall, Å."""
        return returned_resolution(self.fsc)


def postprocess(
    half1: Any,
    half2: Any,
    mask: Any = None,
    options: PostprocessOptions | None = None,
    *,
    pixel_size: float | None = None,
) -> PostprocessResult:
    """Sharpen the map of two half-maps.

    The phases are randomised from the first shell on where the unmasked FSC is below 0.8. The mean of the half-maps is
    divided by the MTF, weighted by ``√(2 FSC / (1 + FSC))`` and multiplied by ``exp(-B / 4d²)``.

    Parameters
    ----------
    half1, half2 : Map, or (N, N, N) array_like
        Unfiltered and unmasked, of one box and pixel size.
    mask : Map, or array_like of the same shape, optional
        Soft, 0 to 1; a Map may have any box and pixel size. Default: made of the half-maps' mean, `auto_mask`.
    options : PostprocessOptions, optional
    pixel_size : float, optional
        Å; needed for arrays.

    Returns
    -------
    PostprocessResult

    Raises
    ------
    InputError
        If the half-maps differ in box or pixel size, if the mask is none, or a number is out of range.

    Examples
    --------
    >>> truth = pycryo.read_map(pycryo.betagal() / "reference_40A.mrc")
    >>> halves = pycryo.reconstruct(pycryo.simulate(truth, n=100, snr=0.5), half_maps=True).half_maps
    >>> found = pycryo.postprocess(*halves, pycryo.mask(truth, resolution=40))
    >>> found.resolution == found.fsc.resolution_0143, found.masked.box
    (True, 48)
    """
    half1, half2 = as_map("half1", half1, pixel_size), as_map("half2", half2, pixel_size)
    if mask is not None and not isinstance(mask, Map):
        mask = Map(numbers("mask", mask, np.float32, half1.data.shape), half1.pixel_size)
    options = given_or_default(PostprocessOptions, options)
    check_pair(half1, half2)
    _check(options, half1)
    pixel_size = half1.pixel_size
    mean = np.asarray((half1.data + half2.data) / 2, np.float32)
    inside = _mask(mean, pixel_size, mask)
    fsc = measured_fsc(half1, half2, inside, options.seed)
    if (told := mask_warning(fsc)) is not None:
        log.warning("%s", told)
    known = options.bands
    fsc = replace(fsc, returned=known) if known is not None else with_returned(fsc, independence(inside, options.order))
    data, b_factor, guinier = sharpen(mean, fsc, options.filter)
    if b_factor is not None and b_factor > 0 and options.filter.b_factor is None:
        log.warning(
            "the B-factor fitted is %.0f Å²: the amplitudes do not fall off, look at the Guinier plot", b_factor
        )
    result = Map(data, pixel_size)
    if options.low_pass is not None:
        result = low_pass(result, options.low_pass)
    return PostprocessResult(result, Map(inside, pixel_size), fsc, b_factor, guinier, options.seed)


def measured_fsc(half1: Map, half2: Map, mask: NDArray[np.float32], seed: int = 0) -> Fsc:
    """FSC of half-maps inside a mask on their grid, corrected from where the unmasked one falls below 0.8.

    The corrected curve is 0 where random phases correlate more than the maps themselves.
    """
    fsc = corrected_fsc(half1.data, half2.data, half1.pixel_size, mask, seed=seed, randomise_by="unmasked")
    return replace(fsc, corrected=np.where(fsc.randomised > fsc.masked, np.maximum(fsc.corrected, 0), fsc.corrected))


def check_pair(half1: Map, half2: Map) -> None:
    """Raise InputError if two half-maps differ in box or pixel size."""
    if half1.box != half2.box or abs(half1.pixel_size - half2.pixel_size) > _SAME_PIXEL * half1.pixel_size:
        raise InputError(
            f"the half-maps differ in box or pixel size ({half1.box} px of {half1.pixel_size:g} Å, {half2.box} px of "
            f"{half2.pixel_size:g} Å): they must agree"
        )


def _mask(mean: NDArray[np.float32], pixel_size: float, mask: Map | None) -> NDArray[np.float32]:
    if mask is None:
        return auto_mask(Map(mean, pixel_size))
    return fitted_mask(mask, len(mean), pixel_size)


def _check(options: PostprocessOptions, half: Map) -> None:
    if half.box < _LEAST_BOX:
        raise InputError(f"the half-maps are of {half.box} px: maps of at least {_LEAST_BOX} px can be sharpened")
    how, nyquist = options.filter, 2 * half.pixel_size
    if how.b_factor is not None:
        check_b_factor(how.b_factor)
    if options.low_pass is not None and not nyquist <= options.low_pass < half.box * half.pixel_size / 2:
        raise InputError(
            f"the low-pass filter must be between {nyquist:.2f} Å (Nyquist) and "
            f"{half.box * half.pixel_size / 2:.0f} Å (half the box), not {options.low_pass} Å"
        )
    if not (how.fit_from > 0 and 0 <= how.fit_to < how.fit_from):
        raise InputError(
            f"the Guinier fit must go from a resolution to a finer one, not from {how.fit_from} to {how.fit_to} Å"
        )
    if options.seed < 0:
        raise InputError(f"the seed must be 0 or more, not {options.seed}")
