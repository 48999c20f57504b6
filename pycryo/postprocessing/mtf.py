"""The modulation transfer function (MTF) of a detector, by which the amplitudes of a map are divided."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.star import read_tables
from pycryo.io.table import Table

FREQUENCY, VALUE = "rlnResolutionInversePixel", "rlnMtfValue"
# A detector tells nothing where its MTF is less than this: it counts as this.
_LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class Mtf:
    """Points of the curve.

    Attributes
    ----------
    frequency : (n,) float64
        Ascending, 1/px of the detector: 0.5 is its Nyquist frequency.
    value : (n,) float64
        Positive, about 1 at frequency 0.
    pixel_size : float
        Of the detector in the specimen, Å, before images were binned.
    """

    frequency: NDArray[np.float64]
    value: NDArray[np.float64]
    pixel_size: float

    def at(self, frequency: NDArray[np.floating]) -> NDArray[np.float64]:
        """The MTF at frequencies in 1/Å, linear between the points, the last one's value beyond them."""
        found = np.interp(np.asarray(frequency) * self.pixel_size, self.frequency, self.value)
        return np.maximum(found, _LEAST)


def read_mtf(path: Path | str, pixel_size: float) -> Mtf:
    """Read an MTF from a STAR file with the columns rlnResolutionInversePixel and rlnMtfValue.

    Parameters
    ----------
    path : path
    pixel_size : float
        Of the detector in the specimen, Å: that of the micrographs before binning.

    Raises
    ------
    InputError
        If the file has no such table, or its values are those of no MTF.
    """
    if not (np.isfinite(pixel_size) and pixel_size > 0):
        raise InputError(f"the detector's pixel size must be a positive number of Å, not {pixel_size}")
    for table in read_tables(path).values():
        if isinstance(table, Table) and {FREQUENCY, VALUE} <= set(table.columns):
            columns = table.values([FREQUENCY, VALUE])
            frequency, value = columns[FREQUENCY], columns[VALUE]
            break
    else:
        raise InputError(f"{path} has no table with {FREQUENCY} and {VALUE}: give the MTF of a detector")
    if len(frequency) < 2 or not (np.diff(frequency) > 0).all():
        raise InputError(f"{path}: {FREQUENCY} must ascend from row to row, over two rows or more")
    if not (np.isfinite(value).all() and (value >= 0).all() and value[0] > _LEAST and frequency[0] >= 0):
        raise InputError(f"{path}: {VALUE} must be positive, as must {FREQUENCY}; give the MTF of a detector")
    return Mtf(frequency, value, float(pixel_size))
