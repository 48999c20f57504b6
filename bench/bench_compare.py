"""`compare`: useful flops (4·n_pixel per score) against NumPy's float32 matrix product."""

from __future__ import annotations

import numpy as np

from pycryo.bench import Case, main
from pycryo.compare import compare, new_best, pack_images

N_IMAGE, N_SHIFT, N_SLICE, N_BEST, BLOCK = 200, 21, 4096, 200, 512


def compare_case(n_pixel: int, spread: float) -> Case:
    """Scores of standard deviation `spread`: a small one makes every score count, a great one lets most be skipped."""
    rng = np.random.default_rng(0)
    unit = np.float32(spread / np.sqrt(2 * n_pixel))
    images = unit * rng.standard_normal((N_IMAGE, N_SHIFT, 2, n_pixel), dtype=np.float32)
    weights = unit * rng.random((N_IMAGE, n_pixel), dtype=np.float32)
    slices = rng.standard_normal((N_SLICE, 2, n_pixel), dtype=np.float32)
    prior_shift = np.zeros((N_IMAGE, N_SHIFT), np.float32)
    panel, best = pack_images(images, weights), new_best(N_IMAGE, N_BEST)

    def setup() -> None:
        best.score[:], best.index[:], best.log_max[:], best.log_sum[:] = -np.inf, -1, -np.inf, 0

    def run() -> None:
        for first in range(0, N_SLICE, BLOCK):
            compare(panel, slices[first : first + BLOCK], best, slice_offset=first, log_prior_shift=prior_shift)

    return Case(
        name=f"compare, {n_pixel} pixels, {'broad' if spread < 10 else 'sharp'} posterior",
        run=run,
        work=4.0 * n_pixel * N_IMAGE * N_SHIFT * N_SLICE,
        unit="flop/s",
        limit="sgemm_peak",
        goal=0.6,
        setup=setup,
    )


def pack_case(n_pixel: int) -> Case:
    """Packing of the images, once per block."""
    images = np.ones((N_IMAGE, N_SHIFT, 2, n_pixel), np.float32)
    weights = np.ones((N_IMAGE, n_pixel), np.float32)
    return Case(
        name=f"compare: pack_images, {n_pixel} pixels",
        run=lambda: pack_images(images, weights),
        work=2.0 * images.nbytes,
        unit="B/s",
        limit="copy_bandwidth",
    )


def cases() -> list[Case]:
    """200 images × 21 shifts × 4096 slices in blocks of 512, the best 200 kept."""
    return [*(compare_case(n, spread) for n in (150, 300, 1000) for spread in (4.0, 100.0)), pack_case(300)]


if __name__ == "__main__":
    raise SystemExit(main(cases()))
