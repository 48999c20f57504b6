"""One solve for a map (Algorithm 2) by each model on made-up F and T: seconds, transforms alone, memory, messages.

``mpiexec -n 2 python bench/paper/solve.py --box 256 --threads 1``

F and T are random, and the same for any number of ranks: the maps must be the same, too. Peak memory of models that
are run in one process may hold what the allocator kept from the last: run one at a time for a figure.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ephase import forget_peak, memory
from numpy.typing import NDArray

from pycryo.benchmark.environment import machine
from pycryo.errors import RunError
from pycryo.kernels.backprojector import Accumulators, new_accumulators
from pycryo.kernels.sphere import sphere, sphere_radius
from pycryo.model.owners import MODELS, Model
from pycryo.model.padded_grid import transform_only
from pycryo.model.solve import Solver
from pycryo.parallel.comm import Comm
from pycryo.parallel.world import world
from pycryo.threads import available_cores, set_threads

SEED = 11


class CountingComm:
    """A communicator that counts the bytes that its rank sends to others when parts are gathered."""

    def __init__(self, comm: Comm) -> None:
        self._comm, self.n_byte = comm, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comm, name)

    def gather_parts(self, array: NDArray[Any], bounds: Sequence[int]) -> None:
        """A ring passes everything on but what the next rank has."""
        n = self._comm.size
        self.n_byte += array.nbytes * (n - 1) // n
        self._comm.gather_parts(array, bounds)


@dataclass(frozen=True, slots=True)
class Account:
    """What a solve cost a rank.

    Attributes
    ----------
    seconds, transforms : float
        Of the solve, and of the transforms that it contains, alone.
    memory : int
        Bytes: the peak above what the process held before it had F and T.
    n_byte : int
        Sent to others.
    """

    seconds: float
    transforms: float
    memory: int
    n_byte: int


def model_bytes(box: int, padding: int) -> int:
    """One padded model: complex doubles of a half volume."""
    n = padding * box
    return 16 * n * n * (n // 2 + 1)


def make_accumulators(box: int, padding: int, layers: tuple[int, int] | None) -> Accumulators:
    """White F and uneven T to Nyquist, folded; each layer is the same however they are dealt."""
    made = new_accumulators(box, padding=padding, r_high=box / 2, layers=layers)
    of, depth = made.sphere, made.sphere.layers
    begin, _ = of.voxels(made.first, made.first)
    for layer in range(made.first, made.last):
        rng = np.random.default_rng([SEED, layer])
        first, last = (number - begin for number in of.voxels(layer, layer + 1))
        for part in (made.re, made.im, made.weight):
            rng.random(out=part[first:last])
        row_start = of.start[layer * depth : (layer + 1) * depth]
        filled = np.diff(of.start[layer * depth : (layer + 1) * depth + 1]) > 0
        column = (row_start - begin)[filled]
        # The plane x = 0: the mate of (y, z) is the conjugate.
        here, there = (np.random.default_rng([SEED, depth + k]).random((3, depth)) for k in (layer, depth - 1 - layer))
        there = there[:, ::-1]
        for part, sign, one, other in zip((made.re, made.im, made.weight), (1, -1, 1), here, there, strict=True):
            part[column] = (one + sign * other)[filled]
    return made


def run(comm: Comm, model: Model, args: argparse.Namespace) -> tuple[Account, int]:
    """One solve; what it cost this rank, and a checksum of the map. Collective."""
    gc.collect()
    forget_peak()
    before, _ = memory()
    counter = CountingComm(comm)
    made = make_accumulators(args.box, args.padding, _layers(comm, model, args))
    # The memory of the grid is used before: the first touch of a page takes as long as a transform's work on it.
    solver = Solver(counter, made, model=model, double=not args.single)
    transform_only(solver.grid, solver.points, solver.map_extent)
    comm.barrier()
    begin = time.perf_counter()
    transform_only(solver.grid, solver.points, solver.map_extent)
    comm.barrier()
    transforms = time.perf_counter() - begin
    sent = sent_bytes(counter, solver)
    begin = time.perf_counter()
    solution = solver.solve()
    comm.barrier()
    seconds = time.perf_counter() - begin
    sent = sent_bytes(counter, solver) - sent
    peak = memory()[1]
    checks = comm.all_gather([zlib.crc32(plane.tobytes()) for plane in solution.planes])
    checksum = zlib.crc32(np.array([check for rank in checks for check in rank], np.uint32).tobytes())
    return Account(seconds, transforms, peak - before, sent), checksum


def sent_bytes(counter: CountingComm, solver: Solver) -> int:
    """Bytes that this rank has sent to others in gathering and in transforms."""
    return counter.n_byte + solver.grid.fft.n_byte


def _layers(comm: Comm, model: Model, args: argparse.Namespace) -> tuple[int, int] | None:
    if model == "replicated":
        return None
    bounds = sphere(sphere_radius(args.padding, args.box / 2)).bounds(comm.size)
    return int(bounds[comm.rank]), int(bounds[comm.rank + 1])


def warm_up(comm: Comm, args: argparse.Namespace) -> None:
    """Have all libraries and connections before memory is measured. Collective."""
    small = argparse.Namespace(**{**vars(args), "box": 16})
    for model in args.models:
        run(comm, model, small)


def measure(args: argparse.Namespace, comm: Comm) -> dict[str, Any]:
    """All models in turn, `args.repeat` times: medians. Collective."""
    warm_up(comm, args)
    accounts: dict[str, list[list[Account]]] = {model: [] for model in args.models}
    checksums = set()
    for _ in range(args.repeat):
        for model in args.models:
            account, checksum = run(comm, model, args)
            accounts[model].append(comm.all_gather(account))
            checksums.add(checksum)
    if len(checksums) > 1:
        raise RunError(f"the models' maps differ: {sorted(checksums)}")
    return {
        "machine": machine(),
        "n_rank": comm.size,
        **{name: getattr(args, name) for name in ("box", "padding", "threads", "single")},
        "model_bytes": model_bytes(args.box, args.padding),
        "checksum": checksums.pop(),
        "models": {model: summary(repetitions) for model, repetitions in accounts.items()},
    }


def summary(repetitions: list[list[Account]]) -> dict[str, Any]:
    """Medians over the repetitions of the slowest and the largest rank's figures, and each rank's last."""
    worst = [{name: max(asdict(rank)[name] for rank in ranks) for name in Account.__slots__} for ranks in repetitions]
    medians = {name: float(np.median([each[name] for each in worst])) for name in Account.__slots__}
    ratios = [each["seconds"] / each["transforms"] for each in worst]
    return {**medians, "ratio": float(np.median(ratios)), "ranks": [asdict(rank) for rank in repetitions[-1]]}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--box", type=int, default=256)
    add("--padding", type=int, default=2)
    add("--models", nargs="+", choices=MODELS, default=list(MODELS))
    add("--single", action="store_true", help="transforms in single precision")
    add("--threads", type=int, default=0, help="of a rank (default: its part of the cores)")
    add("--repeat", type=int, default=3)
    add("--json", type=Path, help="also write the record to a file")
    return parser.parse_args(argv)


def main() -> None:
    """Run, print, record."""
    args, comm = parse(), world()
    args.threads = args.threads or max(1, available_cores() // comm.size)
    set_threads(args.threads)
    result = measure(args, comm)
    if comm.rank == 0:
        print(json.dumps(result))
        if args.json:
            args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
