"""`backprojector`: insertion with weights against the bandwidth of a copy of the bytes that must move."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation

from pycryo.backprojector import insert, new_accumulators
from pycryo.bench import Case, main
from pycryo.pixels import half_plane


def insertion(box: int, r_high: float, n_image: int) -> Case:
    """One entry per image, random orientations; image samples are read once, the accumulators read and written once."""
    pixels = half_plane(box, r_high)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((n_image, 2, len(pixels)), dtype=np.float32)
    weights = rng.random((n_image, len(pixels)), dtype=np.float32)
    accumulators = new_accumulators(box, r_high=r_high)
    poses = Rotation.random(n_image, rng).as_matrix(), rng.normal(0, 3, (n_image, 2))
    run = partial(
        insert, accumulators, images, weights, np.arange(n_image), *poses, np.ones(n_image), pixels.kx, pixels.ky
    )
    return Case(
        name=f"backprojector_{box}",
        run=partial(run, quantum_value=2.0**-30, quantum_weight=2.0**-30),
        work=images.nbytes + weights.nbytes + 2 * 3 * accumulators.re.nbytes,
        unit="B/s",
        limit="copy_bandwidth",
    )


def cases() -> list[Case]:
    """Box 128 to Nyquist padded to 256, as torch-projectors is measured, and the box 64 of a first stage."""
    return [insertion(128, 64, 1000), insertion(64, 25, 4000)]


if __name__ == "__main__":
    main(cases())
