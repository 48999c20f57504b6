"""The mask of the references: what is outside of it is solvent."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pycryo.maps.slab_map import SlabMap, resample_grid, soft_sphere
from pycryo.parallel.comm import Comm


@dataclass(frozen=True, slots=True)
class Solvent:
    """What is known of the solvent around the particle.

    Attributes
    ----------
    comm : Comm
        Ranks that masks are dealt to.
    field_of_view : float
        Edge of the box, Å.
    diameter : float
        Of the particle, Å.
    user_mask : SlabMap or None
    """

    comm: Comm
    field_of_view: float
    diameter: float
    user_mask: SlabMap | None

    def mask(self, points: int) -> SlabMap:
        """Mask on `points` points: the user's, else a soft sphere of the particle's diameter. Collective."""
        pixel = self.field_of_view / points
        if self.user_mask is not None:
            mask = resample_grid(self.user_mask, points)
            return replace(mask, data=np.clip(mask.data, 0, 1))
        edge = max(2.0, 0.06 * points)
        return soft_sphere(self.comm, points, min(0.5 * self.diameter / pixel, points / 2 - edge), edge, pixel)
