"""`defocus_scores`: sums of 8 poses per image against the bandwidth of reading them, and 33 changes of the defocus."""

from __future__ import annotations

from functools import partial

import numpy as np

from pycryo.benchmark import accuracy
from pycryo.benchmark.cases import Case
from pycryo.benchmark.script import main
from pycryo.kernels.defocus_scores import defocus_scores, defocus_sums
from pycryo.kernels.pixels import half_plane

N_IMAGE, N_POSE, N_BIN, N_DELTA = 16, 8, 160, 33


def cases() -> list[Case]:
    """16 images of box 256 to r_high 80; useful flops of the scores: 8 per bin, pose and change."""
    pixels = half_plane(256, 80)
    rng = np.random.default_rng(0)
    images, slices = rng.standard_normal((2, N_IMAGE, N_POSE, 2, len(pixels)), dtype=np.float32)
    weights, sine, cosine = rng.standard_normal((3, N_IMAGE, len(pixels)), dtype=np.float32)
    bin = ((pixels.kx**2 + pixels.ky**2) * N_BIN // 80**2).astype(np.int32)
    sums = defocus_sums(images, slices, weights, sine, cosine, bin, N_BIN)
    phase = np.tile(np.linspace(0, 0.01, N_BIN), (N_IMAGE, 1))
    first, step = np.full(N_IMAGE, -500.0), np.full(N_IMAGE, 30.0)
    return [
        Case(
            name="defocus_scores sums",
            run=partial(defocus_sums, images, slices, weights, sine, cosine, bin, N_BIN),
            work=images.nbytes + slices.nbytes,
            unit="B/s",
            limit="copy_bandwidth",
        ),
        Case(
            name="defocus_scores scores",
            run=partial(defocus_scores, sums, phase, first, step, N_DELTA),
            work=8 * N_IMAGE * N_BIN * N_POSE * N_DELTA,
            unit="flop/s",
            limit="sgemm_peak",
            error=accuracy.of_defocus_scores,
        ),
    ]


if __name__ == "__main__":
    raise SystemExit(main(cases()))
