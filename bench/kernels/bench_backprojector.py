"""`backprojector`: insertion with weights, in pixels and against a copy of the bytes that must move."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation

from pycryo.benchmark import accuracy
from pycryo.benchmark.cases import Case
from pycryo.benchmark.script import main
from pycryo.kernels.backprojector import insert, new_accumulators
from pycryo.kernels.entries import Entries
from pycryo.kernels.pixels import half_plane

# Of a sample: its phase, its place, eight weights, three sums of each of eight voxels.
FLOPS = 90.0


def insertion(box: int, r_high: float, n_image: int, slabs: int = 1) -> Iterator[Case]:
    """One entry per image, random orientations, into all layers or into the middle one of several slabs.

    Image samples are read once, the accumulators read and written once.
    """
    pixels = half_plane(box, r_high)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((n_image, 2, len(pixels)), dtype=np.float32)
    weights = rng.random((n_image, len(pixels)), dtype=np.float32)
    bounds = new_accumulators(box, r_high=r_high, layers=(0, 0)).sphere.bounds(slabs)
    first, last = bounds[slabs // 2 :][:2].tolist()
    accumulators = new_accumulators(box, r_high=r_high, layers=(first, last))
    poses = Rotation.random(n_image, rng).as_matrix(), rng.normal(0, 3, (n_image, 2))
    entries = Entries(images, weights, np.arange(n_image), *poses, np.ones(n_image), pixels.kx, pixels.ky)
    run = partial(insert, accumulators, entries, quantum=(2.0**-30, 2.0**-30))
    name = f"backprojector {box}" + (f" 1/{slabs}" if slabs > 1 else "")
    n_sample = n_image * len(pixels)
    is_extra = (box, slabs) != (128, 1)
    yield Case(
        name=name,
        run=run,
        work=n_sample,
        unit="pixel/s",
        error=None if is_extra else accuracy.of_backprojector,
        is_extra=is_extra,
    )
    moved = (images.nbytes + weights.nbytes) / slabs + 2 * 3 * accumulators.re.nbytes
    yield Case(
        name=f"{name} bytes",
        run=run,
        work=moved,
        unit="B/s",
        limit="copy_bandwidth",
        goal=0.5,
        flops=FLOPS * n_sample / slabs,
        moved=moved,
        is_extra=is_extra,
    )


def cases() -> list[Case]:
    """Boxes to Nyquist padded twice, as torch-projectors is measured; a first stage; one of 16 slabs."""
    return [
        *insertion(128, 64, 1000),
        *insertion(256, 128, 300),
        *insertion(64, 25, 4000),
        *insertion(128, 64, 1000, slabs=16),
    ]


if __name__ == "__main__":
    main(cases())
