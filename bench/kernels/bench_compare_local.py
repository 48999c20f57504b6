"""`compare_local`: 120 neighbouring orientations × few and many shifts per image, against reading the slices alone."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from pycryo.benchmark import accuracy
from pycryo.benchmark.cases import Case
from pycryo.benchmark.limits import Limit
from pycryo.benchmark.script import main
from pycryo.kernels.compare_local import compare_local
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.projector import FourierVolume, project_slices, volume_radius

# As many images as make waking the threads a small part of a call; a refinement compares hundreds in one.
N_IMAGE, N_ROTATION = 16, 120


def cases() -> list[Case]:
    """Box 128 padded to 256, r_high 32 (a 6 Å search at 1.5 Å per px); useful flops: 4 per sample and score."""
    pixels = half_plane(128, 32)
    rng = np.random.default_rng(0)
    radius = volume_radius(2, 32)
    data = rng.standard_normal((2 * radius + 1, 2 * radius + 1, radius + 1, 2), dtype=np.float32)
    volume = FourierVolume(data, 128, 2, 32)
    centres = Rotation.from_quat(rng.standard_normal((N_IMAGE, 4)))
    turns = Rotation.from_rotvec(rng.normal(0, 0.03, (N_ROTATION, 3)))
    rotations = np.stack([(turns * centre).as_matrix() for centre in centres])
    images = rng.standard_normal((N_IMAGE, 2, len(pixels)), dtype=np.float32)
    weights = np.ones((N_IMAGE, len(pixels)), np.float32)
    shifts = rng.uniform(-4, 4, (N_IMAGE, 200, 2))
    n_sample = N_IMAGE * N_ROTATION * len(pixels)
    flat = rotations.reshape(-1, 3, 3)
    slices = np.empty((len(flat), 2, len(pixels)), np.float32)

    def compare(n_shift: int) -> None:
        compare_local(volume, rotations, shifts[:, :n_shift], images, weights, pixels)

    def read_slices() -> None:
        project_slices(volume, flat, pixels.kx, pixels.ky, out=slices)

    return [
        Case(
            name="compare_local 9 shifts",
            run=lambda: compare(9),
            work=n_sample,
            unit="pixel/s",
            limit=Limit("slices alone", read_slices, n_sample, "pixel/s"),
            goal=1 / 1.5,
            error=accuracy.of_compare_local,
        ),
        Case(
            name="compare_local 200 shifts",
            run=lambda: compare(200),
            work=4 * 200 * n_sample,
            unit="flop/s",
            limit="sgemm_peak",
            error=accuracy.of_compare_local,
            flops=4.0 * 200 * n_sample,
            moved=64.0 * n_sample,
        ),
    ]


if __name__ == "__main__":
    raise SystemExit(main(cases()))
