"""`images`: transforms of samples into images against the same transforms by scipy.fft."""

from __future__ import annotations

import numpy as np
import scipy.fft

from pycryo.benchmark import accuracy
from pycryo.benchmark.cases import Case
from pycryo.benchmark.limits import Limit
from pycryo.benchmark.script import main
from pycryo.kernels.images import images
from pycryo.kernels.pixels import half_plane
from pycryo.threads import get_threads

N_IMAGE, BOX = 128, 128


def cases() -> list[Case]:
    """128 images of 128 px, all samples; SciPy's half planes are given, so that it only transforms."""
    pixels = half_plane(BOX, BOX / 2)
    samples = np.random.default_rng(0).standard_normal((N_IMAGE, 2, len(pixels)), dtype=np.float32)
    out, planes = np.empty((N_IMAGE, BOX, BOX), np.float32), pixels.put(samples)
    alone = Limit("scipy.fft.irfft2", lambda: scipy.fft.irfft2(planes, workers=get_threads()), N_IMAGE, "image/s")
    return [
        Case(
            name="images",
            run=lambda: images(samples, pixels.kx, pixels.ky, BOX, out=out),
            work=N_IMAGE,
            unit="image/s",
            limit=alone,
            error=accuracy.of_images,
            flops=N_IMAGE * 2.5 * BOX**2 * np.log2(BOX**2),
            moved=samples.nbytes + out.nbytes,
        )
    ]


if __name__ == "__main__":
    main(cases())
