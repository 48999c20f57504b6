"""`shift`: phase ramps against the bandwidth of a copy of the same arrays."""

from __future__ import annotations

import numpy as np

from pycryo.benchmark import accuracy
from pycryo.benchmark.cases import Case
from pycryo.benchmark.script import main
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.shift import shift


def cases() -> list[Case]:
    """100 images × 9 shifts, box 256, r_high 64."""
    pixels = half_plane(256, 64)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((100, 2, len(pixels)), dtype=np.float32)
    shifts = rng.uniform(-4, 4, (100, 9, 2))
    out = np.empty((100, 9, 2, len(pixels)), np.float32)
    return [
        Case(
            name="shift",
            run=lambda: shift(images, pixels.kx, pixels.ky, shifts, 256, out=out),
            work=out.nbytes + images.nbytes * 9,
            unit="B/s",
            limit="copy_bandwidth",
            error=accuracy.of_shift,
            flops=8.0 * out.size / 2,
            moved=out.nbytes + images.nbytes,
        )
    ]


if __name__ == "__main__":
    main(cases())
