"""`gridding`: its work on layers against a copy, and whole solves against the transforms that they contain."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from pycryo.benchmark import accuracy
from pycryo.benchmark.cases import Case
from pycryo.benchmark.limits import Limit
from pycryo.benchmark.script import main
from pycryo.kernels import gridding
from pycryo.kernels.backprojector import Accumulators, new_accumulators
from pycryo.model.padded_grid import transform_only
from pycryo.model.solve import Solver
from pycryo.parallel.comm import SerialComm
from pycryo.threads import set_threads

BOX = 256


@lru_cache(maxsize=1)
def accumulators() -> Accumulators:
    """White F and uneven T of box 256 padded 512, to Nyquist."""
    made = new_accumulators(BOX, r_high=BOX / 2)
    rng = np.random.default_rng(0)
    for part in (made.re, made.im, made.weight):
        rng.random(out=part)
    return made


@lru_cache(maxsize=1)
def solver(threads: int, double: bool) -> Solver:
    """The last one only is kept: it has 1.1 GB."""
    set_threads(threads)
    return Solver(SerialComm(), accumulators(), double=double)


def with_threads(threads: int, work: Callable[[], object]) -> None:
    """Call `work` with so many threads."""
    set_threads(threads)
    try:
        work()
    finally:
        set_threads(None)


def transforms(threads: int, double: bool) -> None:
    """Those of a solve."""
    made = solver(threads, double)
    transform_only(made.grid, made.points, made.map_extent)


def scipy_transforms(threads: int, double: bool) -> None:
    """The same on the whole grid by scipy.fft: two inverse ones and one forward."""
    from scipy import fft

    n = 2 * BOX
    spectrum = np.zeros((n, n, n // 2 + 1), np.complex128 if double else np.complex64)
    for _ in range(2):
        points = fft.irfftn(spectrum, s=(n,) * 3, workers=threads, overwrite_x=True)
        if _ == 0:
            spectrum = fft.rfftn(points, workers=threads, overwrite_x=True)


def solves(threads: int, double: bool) -> list[Case]:
    """A solve against its transforms, these against scipy.fft's; the time is that of one test and a map."""
    name = f"gridding_{{}}_{'double' if double else 'single'}_{threads}"
    alone = partial(with_threads, threads, partial(transforms, threads, double))
    full = partial(with_threads, threads, lambda: solver(threads, double).solve())
    library = partial(with_threads, threads, partial(scipy_transforms, threads, double))
    is_extra = threads != 1 or double
    solved = Limit("its transforms", alone, 1, "map/s")
    return [
        Case(name.format("solve"), full, 1, "map/s", solved, goal=1 / 1.3, is_extra=is_extra),
        Case(name.format("transforms"), alone, 1, "map/s", Limit("scipy.fft", library, 1, "map/s"), is_extra=True),
    ]


def layers(name: str, run: Callable[[int], object], bytes_per_voxel: int) -> Case:
    """All layers by one thread."""
    made = accumulators()

    def all_layers() -> None:
        for layer in range(made.sphere.layers):
            run(layer)

    return Case(
        f"gridding_{name}",
        all_layers,
        bytes_per_voxel * made.sphere.n_voxel,
        "B/s",
        "copy_bandwidth",
        error=accuracy.of_gridding_weights if name == "first_weight" else None,
        is_extra=name not in ("first_weight", "divide"),
    )


def kernels() -> list[Case]:
    """The work on layers, without its samples: these are in the cache."""
    made = accumulators()
    ball = gridding.ball(made.sphere, made.padding, 2 * BOX, made.r_high)
    add, w = np.ones(ball.n_shell), np.ones_like(made.weight)
    samples = np.ones((2 * BOX, BOX + 1), np.complex128)
    longest = int(np.diff(made.sphere.start[:: made.sphere.layers]).max())
    room = np.empty(longest)

    def of(values: np.ndarray, layer: int) -> np.ndarray:
        first, last = made.sphere.voxels(layer, layer + 1)
        return values[first:last]

    def product(layer: int) -> None:
        weight = of(made.weight, layer)
        gridding.product(ball, layer, weight, add, of(w, layer), room[: len(weight)])

    return [
        layers("shell_sums", lambda layer: gridding.shell_sums(ball, layer, of(made.weight, layer)), 8),
        layers(
            "first_weight",
            lambda layer: gridding.first_weight(ball, layer, of(made.weight, layer), add, of(w, layer)),
            16,
        ),
        layers("product", product, 16),
        layers("place", lambda layer: gridding.place(ball, layer, of(made.re, layer), of(made.im, layer), samples), 16),
        layers("divide", lambda layer: gridding.divide(ball, layer, samples, of(w, layer)), 16),
    ]


def cases() -> list[Case]:
    """Box 256 padded 512, with 1 and 2 threads, in double and single precision."""
    whole = [case for threads in (1, 2) for double in (True, False) for case in solves(threads, double)]
    return kernels() + whole


if __name__ == "__main__":
    raise SystemExit(main(cases()))
