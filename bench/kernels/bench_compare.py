"""`compare`: useful flops (4·n_pixel per score that is wanted) against NumPy's float32 matrix product."""

from __future__ import annotations

import numpy as np

from pycryo.benchmark import accuracy
from pycryo.benchmark.cases import Case
from pycryo.benchmark.script import main
from pycryo.kernels.compare import CELL_SLICES, compare, new_best, pack_images, pack_slices

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
        error=accuracy.of_compare,
        flops=4.0 * n_pixel * N_IMAGE * N_SHIFT * N_SLICE,
        moved=float(slices.nbytes + images.nbytes),
        is_extra=(n_pixel, spread) not in ((300, 4.0), (1000, 100.0)),
    )


def active_cells(rng: np.random.Generator, n_cell: int, runs: bool) -> np.ndarray:
    """A tenth of the cells of each image, at random or in one run, (N_IMAGE, n_cell) bool."""
    if not runs:
        return rng.random((N_IMAGE, n_cell)) < 0.1
    return (np.arange(n_cell) - rng.integers(0, n_cell, (N_IMAGE, 1))) % n_cell < n_cell / 10


def active_cases(n_pixel: int, shifts: tuple[int, ...], runs: bool = False) -> list[Case]:
    """A tenth of 8192 slices wanted by each image, the best 20 kept: one case for each number of shifts."""
    rng = np.random.default_rng(0)
    firsts = range(0, 2 * N_SLICE, BLOCK)
    blocks = [pack_slices(rng.standard_normal((BLOCK, 2, n_pixel), dtype=np.float32)) for _ in firsts]
    active = active_cells(rng, 2 * N_SLICE // CELL_SLICES, runs)
    masks = [np.ascontiguousarray(part) for part in np.split(active, len(blocks), axis=1)]

    def case(n_shift: int) -> Case:
        unit = np.float32(4 / np.sqrt(2 * n_pixel))
        images = unit * rng.standard_normal((N_IMAGE, n_shift, 2, n_pixel), dtype=np.float32)
        weights = unit * rng.random((N_IMAGE, n_pixel), dtype=np.float32)
        panel, best = pack_images(images, weights, images_per_group=1), new_best(N_IMAGE, 20)

        def setup() -> None:
            best.score[:], best.index[:], best.log_max[:], best.log_sum[:] = -np.inf, -1, -np.inf, 0

        def run() -> None:
            for first, block, mask in zip(firsts, blocks, masks, strict=True):
                compare(panel, block, best, slice_offset=first, active=mask)

        return Case(
            name=f"compare, {n_pixel} pixels, {n_shift} shifts, {'runs of' if runs else 'random'} cells",
            run=run,
            work=4.0 * n_pixel * n_shift * CELL_SLICES * float(active.sum()),
            unit="flop/s",
            limit="sgemm_peak",
            goal=0.55,
            setup=setup,
            is_extra=(n_pixel, n_shift) != (300, 14) or not runs,
        )

    return [case(n_shift) for n_shift in shifts]


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
        is_extra=True,
    )


def pack_slices_case(n_pixel: int) -> Case:
    """Packing of a block of slices into the memory of the last."""
    slices = np.ones((BLOCK, 2, n_pixel), np.float32)
    panel = pack_slices(slices)
    return Case(
        name=f"compare: pack_slices, {n_pixel} pixels",
        run=lambda: pack_slices(slices, out=panel),
        work=2.5 * slices.nbytes,
        unit="B/s",
        limit="copy_bandwidth",
        is_extra=n_pixel != 1000,
    )


def cases() -> list[Case]:
    """200 images × 21 shifts × 4096 slices in blocks of 512, the best 200 kept; active cells; packing."""
    return [
        *(compare_case(n, spread) for n in (150, 300, 1000) for spread in (4.0, 100.0)),
        *(case for n in (150, 300, 1000) for case in active_cases(n, (7, 14, 21))),
        *active_cases(300, (7, 14, 21), runs=True),
        pack_case(300),
        *(pack_slices_case(n) for n in (150, 1000)),
    ]


if __name__ == "__main__":
    raise SystemExit(main(cases()))
