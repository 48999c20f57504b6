"""`mates`: sums over rotations of the grid against a copy of the bytes that must move."""

from __future__ import annotations

from functools import partial

import numpy as np

from pycryo.benchmark.cases import Case
from pycryo.benchmark.script import main
from pycryo.kernels.mates import add_mates
from pycryo.kernels.sphere import sphere, sphere_radius

BOX = 256
# Rows to rows, rows to columns of a layer, and to columns across layers.
ROTATIONS = {
    "180° about z": [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
    "90° about y": [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],
    "90° about z": [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
    "120°": [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
}


def cases() -> list[Case]:
    """All voxels of box 256 padded 512; the source is read, the target read and written."""
    ball = sphere(sphere_radius(2, BOX / 2))
    source, target = np.random.default_rng(0).standard_normal((2, ball.n_voxel))
    whole = (0, ball.layers)
    return [
        Case(
            name=f"mates {name}",
            run=partial(add_mates, target, whole, source, whole, ball, np.array(rotation, np.int32)),
            work=3 * source.nbytes,
            unit="B/s",
            limit="copy_bandwidth",
            is_extra=name != "120°",
        )
        for name, rotation in ROTATIONS.items()
    ]


if __name__ == "__main__":
    main(cases())
