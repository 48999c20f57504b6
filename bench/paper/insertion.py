"""Insertion with weights against the back-projection of torch-projectors: alternating runs, medians, one machine.

``python bench/paper/insertion.py --json bench/paper/results/insertion.json``

Both bring the same samples to the same padded box and begin with zeros. Needs torch and torch-projectors, which pycryo
does not: ``pip install torch pybind11 setuptools ninja``, then ``pip install --no-deps --no-build-isolation --no-binary
torch-projectors torch-projectors``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pycryo.benchmark.environment import check_load, machine
from pycryo.errors import RunError
from pycryo.kernels.backprojector import Accumulators, insert, new_accumulators
from pycryo.kernels.entries import Entries
from pycryo.kernels.pixels import Pixels, half_plane
from pycryo.threads import get_threads

PADDING = 2
# Box and number of images.
PROBLEMS = ((128, 1000), (256, 600))
REPEAT = 5
# Theirs are sums in single precision.
ERROR = 1e-3


@dataclass(frozen=True, slots=True)
class Work:
    """Images at poses: samples as `insert` takes them."""

    pixels: Pixels
    images: NDArray[np.float32]
    weights: NDArray[np.float32]
    rotations: NDArray[np.float64]
    shifts: NDArray[np.float64]

    @property
    def n_sample(self) -> int:
        """Samples of all images."""
        return self.weights.size


def make_work(box: int, n_image: int) -> Work:
    """Noise to Nyquist at random poses."""
    rng = np.random.default_rng(0)
    pixels = half_plane(box, box / 2)
    images = rng.standard_normal((n_image, 2, len(pixels)), np.float32)
    weights = rng.random((n_image, len(pixels)), np.float32)
    return Work(pixels, images, weights, Rotation.random(n_image, rng).as_matrix(), rng.normal(0, 3, (n_image, 2)))


def ours(work: Work) -> Callable[[], Accumulators]:
    """A call that makes our sums."""
    n_image, box = len(work.images), work.pixels.box
    accumulators = new_accumulators(box, padding=PADDING, r_high=box / 2)
    poses = np.arange(n_image), work.rotations, work.shifts, np.ones(n_image)
    entries = Entries(work.images, work.weights, *poses, work.pixels.kx, work.pixels.ky)

    def run() -> Accumulators:
        for sums in (accumulators.re, accumulators.im, accumulators.weight):
            sums.fill(0)
        insert(accumulators, entries, quantum=(2.0**-30, 2.0**-30))
        return accumulators

    return run


def theirs(work: Work) -> Callable[[], Any]:
    """A call that makes theirs.

    Raises
    ------
    RunError
        If torch-projectors is not installed.
    """
    try:
        torch, torch_projectors = import_module("torch"), import_module("torch_projectors")
    except ImportError as error:
        raise RunError(f"{error}; to install it:\n{__doc__}") from error
    torch.set_num_threads(get_threads())
    pixels = work.pixels
    weights = pixels.put(np.stack([work.weights, np.zeros_like(work.weights)], axis=1)).real
    arguments = {
        "projections": torch.from_numpy(pixels.put(work.images)[None]),
        "weights": torch.from_numpy(np.ascontiguousarray(weights[None])),
        # Theirs rotate samples, ours the molecule; their shifts are (y, x).
        "rotations": torch.from_numpy(work.rotations.transpose(0, 2, 1)[None].astype(np.float32)),
        "shifts": torch.from_numpy(work.shifts[None, :, ::-1].astype(np.float32)),
    }
    return lambda: torch_projectors.backproject_2d_to_3d_forw(**arguments, oversampling=float(PADDING))


def check_same(mine: Accumulators, other: tuple[Any, Any]) -> None:
    """Compare away from x = 0, where they add the mates already, and from the rim, which we leave out.

    Raises
    ------
    RunError
        If the sums differ.
    """
    sphere = mine.sphere
    radius = sphere.radius - 3
    values, weights = (np.asarray(each[0]) for each in other)
    worst = 0.0
    for y in range(-radius, radius + 1, 7):
        for z in range(-radius, radius + 1, 7):
            if y * y + z * z >= radius**2:
                continue
            n = int((radius**2 - y * y - z * z) ** 0.5)
            begin = sphere.start[(y + sphere.radius) * sphere.layers + z + sphere.radius]
            here = slice(begin + 1, begin + n)
            worst = max(worst, float(np.abs(mine.weight[here] - weights[z, y, 1:n]).max(initial=0)))
            value = mine.re[here] + 1j * mine.im[here]
            worst = max(worst, float(np.abs(value - values[z, y, 1:n]).max(initial=0)))
    if worst > ERROR * mine.weight.max():
        raise RunError(f"the sums differ by {worst:.3g}")


def compare(box: int, n_image: int) -> dict[str, Any]:
    """Pixels per second of both, and their ratio: medians."""
    work = make_work(box, n_image)
    runs: dict[str, Callable[[], Any]] = {"pycryo": ours(work), "torch_projectors": theirs(work)}
    check_same(*(run() for run in runs.values()))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(REPEAT):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    rates = {name: work.n_sample / median(times) for name, times in seconds.items()}
    return {
        "box": box,
        "padded": PADDING * box,
        "n_image": n_image,
        "n_pixel": len(work.pixels),
        "seconds": seconds,
        "pixels_per_second": rates,
        "times_as_fast": rates["pycryo"] / rates["torch_projectors"],
    }


def main() -> int:
    """Print both rates for each box, and record them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--force", action="store_true", help="record on a busy machine, too")
    options = parser.parse_args()
    try:
        check_load(options.force or options.json is None)
        records = [compare(*problem) for problem in PROBLEMS]
    except RunError as error:
        print(error, file=sys.stderr)
        return 1
    for each in records:
        rates = each["pixels_per_second"]
        print(
            f"box {each['box']} padded to {each['padded']}: pycryo {rates['pycryo'] / 1e6:.1f} Mpixel/s, "
            f"torch-projectors {rates['torch_projectors'] / 1e6:.2f}: {each['times_as_fast']:.1f} times as fast"
        )
    if options.json:
        versions = {name: version(name) for name in ("torch", "torch-projectors")}
        text = json.dumps({"machine": {**machine(), **versions}, "insertion": records}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
