"""Density maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Map:
    """A density map: `data` float32 (N, N, N) in order (z, y, x), `pixel_size` in Å."""

    data: NDArray[np.float32]
    pixel_size: float

    @property
    def box(self) -> int:
        """Side of the cube, px."""
        return int(self.data.shape[0])
