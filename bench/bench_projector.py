"""`projector`: slices of a 128 px map padded to 256, all frequencies; random and neighbouring orientations."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from pycryo.bench import Case, main
from pycryo.pixels import half_plane
from pycryo.projector import FourierVolume, project_slices, volume_radius


def cases() -> list[Case]:
    """200 slices each of noise; `near`: orientations 3° about one, as in a local search."""
    pixels = half_plane(128, 64)
    rng = np.random.default_rng(0)
    radius = volume_radius(2, 64)
    data = rng.standard_normal((2 * radius + 1, 2 * radius + 1, radius + 1, 2), dtype=np.float32)
    volume = FourierVolume(data, 128, 2, 64)
    anywhere = Rotation.from_quat(rng.standard_normal((200, 4)))
    near = Rotation.from_rotvec(rng.normal(0, 0.05, (200, 3))) * anywhere[0]
    sets = {"projector random": anywhere.as_matrix(), "projector near": near.as_matrix()}
    out = np.empty((200, 2, len(pixels)), np.float32)
    return [
        Case(
            name=name,
            run=lambda rotations=rotations: project_slices(volume, rotations, pixels.kx, pixels.ky, out=out),
            work=200 * len(pixels),
            unit="pixel/s",
            limit=None,
        )
        for name, rotations in sets.items()
    ]


if __name__ == "__main__":
    main(cases())
