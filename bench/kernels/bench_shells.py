"""`shells`: sums over shells against the bandwidth of reading the transforms."""

from __future__ import annotations

from functools import partial

import numpy as np

from pycryo.benchmark import accuracy
from pycryo.benchmark.cases import Case
from pycryo.benchmark.script import main
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.shells import image_shells, volume_shells


def cases() -> list[Case]:
    """500 images of box 256 to r_high 100, and two half volumes of box 256."""
    pixels = half_plane(256, 100)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 500, 2, len(pixels)), dtype=np.float32)
    parts = rng.standard_normal((2, 256, 256, 129, 2), dtype=np.float32)
    half1, half2 = parts.view(np.complex64)[..., 0]
    return [
        Case(
            name="shells_images",
            run=partial(image_shells, a, b, pixels.shell, 101),
            work=a.nbytes + b.nbytes,
            unit="B/s",
            limit="copy_bandwidth",
            error=accuracy.of_shells,
            flops=6.0 * a.size,
            moved=a.nbytes + b.nbytes,
        ),
        Case(
            name="shells_volumes",
            is_extra=True,
            run=partial(volume_shells, half1, half2),
            work=half1.nbytes + half2.nbytes,
            unit="B/s",
            limit="copy_bandwidth",
        ),
    ]


if __name__ == "__main__":
    main(cases())
