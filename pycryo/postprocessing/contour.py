"""At which level a map is shown, for EMDB's recommended contour level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.maps.density import Map

# Å³ per Da of protein: partial specific volume of 0.73 cm³/g.
VOLUME_PER_DALTON = 1.21
# Of the volume of a mask, that of the molecule in it: a mask reaches some Å beyond the molecule's envelope at 15 Å,
# which is wider than the molecule. β-galactosidase, 465 kDa, takes 34 % of the mask of the demo, 1TII, 78 kDa, 31 % of
# that of 500 of its particles.
MOLECULE_IN_MASK = 1 / 3


def molecule_volume(mask: NDArray[np.float32], pixel_size: float, mass: float | None = None) -> float:
    """Volume of the molecule, Å³: 1.21 Å³ per Da of its mass (kDa), or without one a third of its mask's.

    Raises
    ------
    InputError
        If the mass is not positive, or its volume is not within the box.
    """
    box = mask.size * pixel_size**3
    if mass is None:
        return MOLECULE_IN_MASK * float(mask.sum(dtype=np.float64)) * pixel_size**3
    volume = 1e3 * VOLUME_PER_DALTON * mass
    if not 0 < volume < box:
        raise InputError(
            f"the mass must be positive and fit into the box ({box / VOLUME_PER_DALTON / 1e3:.0f} kDa), not {mass} kDa"
        )
    return volume


def contour_level(source: Map, mask: NDArray[np.float32], volume: float) -> float:
    """The density above which the voxels within a mask (where it is at least ½) enclose a volume, Å³."""
    inside = source.data[mask >= 0.5]
    count = min(max(1, round(volume / source.pixel_size**3)), len(inside))
    return float(np.partition(inside, len(inside) - count)[len(inside) - count])
