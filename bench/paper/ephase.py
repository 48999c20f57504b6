"""The E-phase's scan on made-up data, by each way to come by the slices: seconds, messages, memory.

``mpiexec -n 2 python bench/paper/ephase.py --images 256 --slices 4096 --json out.json``

Images and reference are random, and the same for any number of ranks: the best poses must be the same, too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.benchmark.environment import machine
from pycryo.errors import RunError
from pycryo.geometry.symmetry import symmetry
from pycryo.kernels.compare import CELL_SLICES, new_best, pack_images
from pycryo.kernels.pixels import Pixels, half_plane
from pycryo.kernels.projector import FourierVolume, volume_radius
from pycryo.kernels.shift import shift
from pycryo.parallel.comm import Comm
from pycryo.parallel.conveyor import WAYS, Way, make_belt, measure_link, ring
from pycryo.parallel.world import world
from pycryo.refinement.expectation.scan import Panel, make_scan, run_belts, slice_maker
from pycryo.threads import available_cores

# Images of a panel and candidates of an image, as in pycryo.refinement.expectation.panels.
PANEL_IMAGES, N_BEST = 256, 96
# Standard deviation of the scores of an image: an early iteration, where many poses count.
SPREAD = 10.0
SEED = 7
# The split of slices into blocks may change log Σ exp by the error of `compare`, 1e-6.
EVIDENCE_ERROR = 3e-6


@dataclass(frozen=True, slots=True)
class Work:
    """Images of one rank, and the slices that they are compared with.

    Attributes
    ----------
    volume : FourierVolume
    rotations : (n_slice, 4) float64
    pixels : Pixels
    panels : list of Panel
    packing : float
        Seconds to make, shift and pack the images.
    """

    volume: FourierVolume
    rotations: NDArray[np.float64]
    pixels: Pixels
    panels: list[Panel]
    packing: float

    @property
    def n_slice(self) -> int:
        """Slices."""
        return len(self.rotations)


@dataclass(frozen=True, slots=True)
class Account:
    """What a scan cost a rank: seconds, messages, and bytes of memory at the beginning and at the peak."""

    seconds: float
    making: float
    comparing: float
    idle: float
    exposed: float
    n_made: int
    n_message: int
    n_byte: int
    memory_before: int
    memory_peak: int


def random_volume(box: int, r_high: float) -> FourierVolume:
    """A transform of white noise of variance 1."""
    radius = volume_radius(2, r_high)
    size = 2 * radius + 1
    data = np.random.default_rng(SEED).standard_normal((size, size, radius + 1, 2), dtype=np.float32)
    return FourierVolume(data, box, 2, r_high)


def shifts(count: int) -> NDArray[np.float64]:
    """The `count` points of a square grid next to 0: 21 fill a disc."""
    reach = int(np.ceil(np.sqrt(count)))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    nearest = np.lexsort((x, y, x**2 + y**2))[:count]
    return np.stack([x, y], axis=-1)[nearest].astype(np.float64)


def make_work(
    images: range, *, box: int, r_high: float, n_slice: int, n_shift: int, active: float = 1.0, threads: int = 1
) -> Work:
    """The images with these numbers and what they are compared with.

    Parameters
    ----------
    images : range
    box, r_high : int, float
        px and Fourier px.
    n_slice, n_shift : int
    active : float
        Share of the slices that an image is compared with, chosen in cells of `CELL_SLICES` at random.
    threads : int
    """
    pixels = half_plane(box, r_high, 1)
    grid = make_scan(n_slice, symmetry("C1"), np.array([1.0, 0, 0, 0]), shifts(n_shift), 1.0, r_high)
    begin = time.perf_counter()
    starts = range(images.start, images.stop, PANEL_IMAGES)
    numbers = [range(start, min(start + PANEL_IMAGES, images.stop)) for start in starts]
    panels = [_panel(part, pixels, grid.shifts, len(grid.rotations), active, threads) for part in numbers]
    packing = time.perf_counter() - begin
    return Work(random_volume(box, r_high), grid.rotations, pixels, panels, packing)


def _panel(
    numbers: range, pixels: Pixels, moves: NDArray[np.float64], n_slice: int, active: float, threads: int
) -> Panel:
    n_image, n_pixel = len(numbers), len(pixels)
    unit = np.float32(SPREAD / np.sqrt(2 * n_pixel))
    images, weights = np.empty((n_image, 2, n_pixel), np.float32), np.empty((n_image, n_pixel), np.float32)
    cells = np.empty((n_image, -(-n_slice // CELL_SLICES)), bool)
    for row, number in enumerate(numbers):
        rng = np.random.default_rng([SEED, number])
        images[row], weights[row] = rng.standard_normal((2, n_pixel)), rng.random(n_pixel)
        cells[row] = rng.random(cells.shape[1]) < active
    many = np.tile(moves, (n_image, 1, 1))
    moved = shift(unit * images, pixels.kx, pixels.ky, many, pixels.box, threads=threads)
    packed = pack_images(moved, unit * weights, images_per_group=None if active == 1 else 1, threads=threads)
    prior = np.zeros((n_image, len(moves)), np.float32)
    best = new_best(n_image, min(N_BEST, n_slice * len(moves)))
    return Panel(packed, best, prior, cells if active < 1 else None)


def clear(panels: Sequence[Panel]) -> None:
    """Forget the best poses."""
    for panel in panels:
        best = panel.best
        best.score[:], best.index[:], best.log_max[:], best.log_sum[:] = -np.inf, -1, -np.inf, 0


def memory() -> tuple[int, int]:
    """Bytes that this process holds, and the most that it held since `forget_peak`."""
    text = Path("/proc/self/status").read_text()
    kilobytes = dict(re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE))
    return int(kilobytes["VmRSS"]) * 1024, int(kilobytes["VmHWM"]) * 1024


def forget_peak() -> None:
    """Let the kernel count the peak anew."""
    Path("/proc/self/clear_refs").write_text("5")


def scan(work: Work, circle: Comm, way: Way, block: int, threads: int = 1) -> Account:
    """Compare all images with all slices. Collective."""
    clear(work.panels)
    forget_peak()
    before, _ = memory()
    circle.barrier()
    begin = time.perf_counter()
    make = slice_maker([work.volume], work.rotations, work.pixels, 1.0, threads)
    shape = (2, len(work.pixels))
    belt = make_belt(way, circle, work.n_slice, shape, make, block=block, grain=CELL_SLICES)
    comparing = run_belts([(belt, work.panels)], threads)
    seconds = time.perf_counter() - begin
    did = belt.traffic
    return Account(
        seconds=seconds,
        making=did.making,
        comparing=comparing,
        idle=did.idle,
        exposed=did.exposed,
        n_made=did.n_made,
        n_message=did.n_message,
        n_byte=did.n_byte,
        memory_before=before,
        memory_peak=memory()[1],
    )


def step_seconds(circle: Comm, repeat: int = 20, rest: float = 2e-3) -> float:
    """Own time of a rank to begin and end a transfer that is done when it looks: median, in seconds. Collective."""
    sample, room, own = np.zeros(1, np.float32), np.zeros(1, np.float32), []
    if circle.size == 1:
        return 0.0
    for _ in range(repeat):
        circle.barrier()
        begin = time.perf_counter()
        transfer = circle.begin_shift(sample, (circle.rank + 1) % circle.size, room, (circle.rank - 1) % circle.size)
        begun = time.perf_counter()
        time.sleep(rest)
        rested = time.perf_counter()
        transfer.wait()
        own.append(time.perf_counter() - rested + begun - begin)
    return float(np.median(own))


class Agreement:
    """Fails when poses are not those of the first scan, or evidences differ by more than the error of `compare`."""

    def __init__(self) -> None:
        self.checksum = ""
        self.largest = 0.0
        self._first: NDArray[np.float64] | None = None

    def check(self, comm: Comm, work: Work, name: str) -> None:
        """Compare what all ranks found now with what they found first. Collective."""
        bests = [panel.best for panel in work.panels]
        mine = [(best.index.copy(), best.score.copy(), best.log_evidence()) for best in bests]
        everyone = [found for rank in comm.all_gather(mine) for found in rank]
        index, score, evidence = (np.concatenate(parts) for parts in zip(*everyone, strict=True))
        checksum = hashlib.sha256(index.tobytes() + score.tobytes()).hexdigest()[:16]
        if self._first is None:
            self.checksum, self._first = checksum, evidence
        self.largest = max(self.largest, float(np.abs(evidence - self._first).max(initial=0)))
        if checksum != self.checksum or not self.largest < EVIDENCE_ERROR:
            raise RunError(f"{name}: poses {checksum}, not {self.checksum}, evidences differ by {self.largest:.1g}")


def measure(args: argparse.Namespace, comm: Comm) -> dict[str, Any]:
    """Run all ways in turn, `args.repeat` times. Collective."""
    circle = ring(comm, args.ring_size or comm.size)
    first, last = (args.images * rank // comm.size for rank in (comm.rank, comm.rank + 1))
    work = make_work(
        range(first, last),
        box=args.box,
        r_high=args.r_high,
        n_slice=args.slices,
        n_shift=args.shifts,
        active=args.active,
        threads=args.threads,
    )
    link = measure_link(circle, 8 * len(work.pixels) * min(args.block, max(1, work.n_slice // circle.size)))
    accounts: dict[str, list[list[Account]]] = {way: [] for way in args.ways}
    agreement = Agreement()
    for _ in range(args.repeat):
        for way in args.ways:
            account = scan(work, circle, way, args.block, args.threads)
            accounts[way].append(comm.all_gather(account))
            agreement.check(comm, work, f"{way} on {comm.size} ranks")
    return {
        "machine": machine(),
        "n_rank": comm.size,
        "ring_size": circle.size,
        **{name: getattr(args, name) for name in ("threads", "images", "shifts", "box", "r_high", "block", "active")},
        "slices": work.n_slice,
        "n_pixel": len(work.pixels),
        "link": {"latency": link.latency, "bandwidth": link.bandwidth if np.isfinite(link.bandwidth) else None},
        "step": step_seconds(circle),
        "packing": comm.all_gather(work.packing),
        "checksum": agreement.checksum,
        "largest_difference": agreement.largest,
        "ways": dict(_summaries(accounts)),
    }


def _summaries(accounts: dict[str, list[list[Account]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of each way: seconds until the last rank was done, and the ranks' accounts in the median repetition."""
    for way, repetitions in accounts.items():
        seconds = [max(account.seconds for account in ranks) for ranks in repetitions]
        middle = sorted(range(len(seconds)), key=seconds.__getitem__)[(len(seconds) - 1) // 2]
        ranks = [asdict(account) for account in repetitions[middle]]
        yield way, {"seconds": seconds[middle], "repetitions": seconds, "ranks": ranks}


def print_summary(result: dict[str, Any]) -> None:
    """A line per way on standard output: seconds of the slowest rank, and means over the ranks."""
    columns = ("seconds", "making", "compare", "idle", "exposed", "MB sent", "MB peak")
    print(f"{'way':10} " + " ".join(f"{name:>8}" for name in columns))
    for way, summary in result["ways"].items():
        ranks = summary["ranks"]
        means = [np.mean([rank[name] for rank in ranks]) for name in ("making", "comparing", "idle", "exposed")]
        sent, peak = (max(rank[name] for rank in ranks) / 1e6 for name in ("n_byte", "memory_peak"))
        times = " ".join(f"{value:8.3f}" for value in (summary["seconds"], *means))
        print(f"{way:10} {times} {sent:8.1f} {peak:8.0f}")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--images", type=int, default=256, help="of all ranks together")
    add("--slices", type=int, default=4096)
    add("--shifts", type=int, default=21)
    add("--box", type=int, default=256)
    add("--r-high", type=float, default=32.0, help="Fourier px (default 32)")
    add("--block", type=int, default=256, help="slices of a block (default 256)")
    add("--active", type=float, default=1.0, help="share of the slices that an image is compared with")
    add("--ring-size", type=int, default=0, help="largest ring (default: all ranks)")
    add("--threads", type=int, default=0, help="of a rank (default: its part of the cores)")
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    add("--repeat", type=int, default=3)
    add("--json", type=Path)
    return parser.parse_args(argv)


def main() -> None:
    """Run, print, record."""
    args, comm = parse(), world()
    args.threads = args.threads or max(1, available_cores() // comm.size)
    result = measure(args, comm)
    if comm.rank == 0:
        print_summary(result)
        if args.json:
            args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
