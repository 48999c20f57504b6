"""`projector`: slices of a 128 px map padded to 256, all frequencies, against random reads of the volume.

A sample reads four cells of 16 bytes. With split arrays it would be eight of 8 bytes; ``volume_layout.cpp`` beside this
file times both layouts.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from pycryo.benchmark import accuracy
from pycryo.benchmark.cases import Case
from pycryo.benchmark.script import main
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.projector import FourierVolume, project_slices, volume_radius

N_SLICE = 200
# Of a sample: its place, seven interpolations of two numbers; four cells of 16 bytes, two numbers written.
FLOPS, BYTES = 40.0, 72.0


def cases() -> list[Case]:
    """200 slices of noise; `random` orientations, and `near` ones within some 3° of each other as in a local search."""
    pixels = half_plane(128, 64)
    rng = np.random.default_rng(0)
    radius = volume_radius(2, 64)
    data = rng.standard_normal((2 * radius + 1, 2 * radius + 1, radius + 1, 2), dtype=np.float32)
    volume = FourierVolume(data, 128, 2, 64)
    anywhere = Rotation.from_quat(rng.standard_normal((N_SLICE, 4)))
    random = anywhere.as_matrix()
    near = (Rotation.from_rotvec(rng.normal(0, 0.05, (N_SLICE, 3))) * anywhere[0]).as_matrix()
    out = np.empty((N_SLICE, 2, len(pixels)), np.float32)
    n_sample = N_SLICE * len(pixels)

    def run(rotations: np.ndarray) -> None:
        project_slices(volume, rotations, pixels.kx, pixels.ky, out=out)

    return [
        Case(
            name="projector random",
            run=lambda: run(random),
            work=n_sample,
            unit="pixel/s",
            error=accuracy.of_projector,
            flops=FLOPS * n_sample,
            moved=BYTES * n_sample,
        ),
        Case(name="projector near", run=lambda: run(near), work=n_sample, unit="pixel/s", is_extra=True),
        Case(
            name="projector reads",
            run=lambda: run(random),
            work=4 * n_sample,
            unit="read/s",
            limit="gather_rate_64",
            goal=0.7,
        ),
    ]


if __name__ == "__main__":
    raise SystemExit(main(cases()))
