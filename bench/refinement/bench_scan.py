"""`pycryo.refinement.expectation.search`: a whole global search against NumPy's float32 matrix product.

From weighted images to candidates: shifts and panels, sampling of slices, comparison and its epilogue. Useful flops are
those of the comparison alone (4·n_pixel per score), so all the rest counts as lost time.
"""

from __future__ import annotations

import numpy as np

from pycryo.benchmark.cases import Case
from pycryo.benchmark.script import main
from pycryo.geometry.grids import shift_grid
from pycryo.geometry.symmetry import symmetry
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.projector import FourierVolume, volume_radius
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.data.prepare import Target
from pycryo.refinement.expectation.panels import HalfSearch
from pycryo.refinement.expectation.scan import make_scan
from pycryo.refinement.expectation.search import Effort, Policy, global_search
from pycryo.refinement.expectation.slice_sharing import Rates

BOX, N_IMAGE, N_SLICE, SPREAD = 128, 250, 8192, 10.0
TURN = np.array([1.0, 0, 0, 0])


def scan_case(r_high: float) -> Case:
    """250 images, 8192 slices, 19 shifts; scores of standard deviation 10, as in an early iteration."""
    rng = np.random.default_rng(0)
    pixels = half_plane(BOX, r_high, 1)
    unit = np.float32(SPREAD / np.sqrt(2 * len(pixels)))
    images = unit * rng.standard_normal((N_IMAGE, 2, len(pixels)), dtype=np.float32)
    weights = unit * rng.random((N_IMAGE, len(pixels)), dtype=np.float32)
    radius = volume_radius(2, r_high)
    size = 2 * radius + 1
    volume = FourierVolume(rng.standard_normal((size, size, radius + 1, 2), dtype=np.float32), BOX, 2, r_high)
    step = BOX / (4 * r_high)
    scan = make_scan(N_SLICE, symmetry("C1"), TURN, shift_grid(2.2 * step, step), step, r_high)
    search = HalfSearch(SerialComm(), 1.0, (volume,), [Target(pixels, images, weights)], scan, None, BOX, 1.0, 3 * step)
    policy = Policy(None, None, np.inf)
    first = Effort()
    rates: list[Rates | None] = [None]
    global_search([search], None, policy, rates, first)
    return Case(
        name=f"scan, {len(pixels)} pixels",
        run=lambda: global_search([search], None, policy, rates, Effort()),
        work=first.flops,
        unit="flop/s",
        limit="sgemm_peak",
        goal=0.6,
        is_extra=r_high != 16,
    )


def cases() -> list[Case]:
    """To 8, 16 and 32 Fourier px."""
    return [scan_case(r_high) for r_high in (8.0, 16.0, 32.0)]


if __name__ == "__main__":
    raise SystemExit(main(cases()))
