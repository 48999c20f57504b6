"""`ctf`: against the bandwidth of writing the result."""

from __future__ import annotations

from functools import partial

import numpy as np

from pycryo.benchmark import accuracy
from pycryo.benchmark.cases import Case
from pycryo.benchmark.script import main
from pycryo.kernels.ctf import ctf
from pycryo.kernels.pixels import half_plane


def cases() -> list[Case]:
    """500 images, box 256, r_high 100; without and with a B-factor, and with further phases of three optics groups."""
    pixels = half_plane(256, 100)
    rng = np.random.default_rng(0)
    out = np.empty((500, len(pixels)), np.float32)
    run = partial(
        ctf,
        pixels.kx,
        pixels.ky,
        frequency_step=1 / (256 * 1.1),
        defocus_u=rng.uniform(8000, 25000, 500),
        defocus_v=rng.uniform(8000, 25000, 500),
        defocus_angle=rng.uniform(0, 180, 500),
        voltage=300,
        spherical_aberration=2.7,
        amplitude_contrast=0.1,
        out=out,
    )
    return [
        Case(
            name="ctf",
            run=run,
            work=out.nbytes,
            unit="B/s",
            limit="copy_bandwidth",
            error=accuracy.of_ctf,
            flops=40.0 * out.size,
            moved=out.nbytes,
        ),
        Case(
            name="ctf_b_factor",
            is_extra=True,
            run=partial(run, b_factor=rng.uniform(0, 100, 500)),
            work=out.nbytes,
            unit="B/s",
            limit="copy_bandwidth",
        ),
        Case(
            name="ctf_offset",
            is_extra=True,
            run=partial(
                run,
                offset=rng.uniform(-1, 1, (3, len(pixels))),
                which=rng.integers(0, 3, 500).astype(np.int32),
            ),
            work=out.nbytes,
            unit="B/s",
            limit="copy_bandwidth",
        ),
    ]


if __name__ == "__main__":
    main(cases())
