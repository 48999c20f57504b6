"""`keyvalue`: making, counting, merging and adding lists of touched voxels."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.spatial.transform import Rotation

from pycryo.benchmark.cases import Case
from pycryo.benchmark.script import main
from pycryo.kernels.backprojector import new_accumulators
from pycryo.kernels.entries import Entries
from pycryo.kernels.keyvalue import KeyValues, add_key_values, count_key_values, merge_key_values, to_key_values
from pycryo.kernels.pixels import half_plane

BOX, R_HIGH, N_IMAGE, N_RANK = 256, 64, 20, 4


def cases() -> list[Case]:
    """Images of a rank, 20 of box 256 to half Nyquist, that touch a small part of the voxels; lists of four ranks."""
    pixels = half_plane(BOX, R_HIGH)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((N_IMAGE, 2, len(pixels)), dtype=np.float32)
    weights = rng.random((N_IMAGE, len(pixels)), dtype=np.float32)
    accumulators = new_accumulators(BOX, r_high=R_HIGH)
    rotations = Rotation.random(N_RANK * N_IMAGE, rng).as_matrix().reshape(N_RANK, N_IMAGE, 3, 3)

    number, nowhere, ones = np.arange(N_IMAGE), np.zeros((N_IMAGE, 2)), np.ones(N_IMAGE)
    entries = [Entries(images, weights, number, each, nowhere, ones, pixels.kx, pixels.ky) for each in rotations]

    def make(rank: int) -> KeyValues:
        return to_key_values(accumulators.sphere, entries[rank], box=BOX, padding=2, quantum=(2.0**-30, 2.0**-30))

    count = partial(count_key_values, accumulators.sphere, entries[0], padding=2)
    lists = [make(rank) for rank in range(N_RANK)]
    merged = merge_key_values(lists)
    n_sample, n_key = N_IMAGE * len(pixels), sum(map(len, lists))
    return [
        Case(name="keyvalue make", run=partial(make, 0), work=n_sample, unit="pixel/s"),
        Case(name="keyvalue count", run=count, work=n_sample, unit="pixel/s", is_extra=True),
        Case(
            name="keyvalue merge",
            run=partial(merge_key_values, lists),
            work=32 * (n_key + len(merged)),
            unit="B/s",
            limit="copy_bandwidth",
        ),
        Case(
            name="keyvalue add",
            run=partial(add_key_values, accumulators, merged),
            work=(32 + 48) * len(merged),
            unit="B/s",
            limit="copy_bandwidth",
        ),
    ]


if __name__ == "__main__":
    main(cases())
