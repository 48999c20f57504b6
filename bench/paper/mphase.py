"""Simulate the M-phase on machines of any size with SimGrid: ``python bench/paper/mphase.py cases.json``.

A case becomes a list of operations with the seconds and bytes of each rank, cut into slabs, planes and rounds of
exchange as the program does it; mphase_sim.cpp follows them. See `Case` and docs/parallel.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from layout import MODELS, Layout, distinct_voxels, make_layout, memory
from numpy.typing import NDArray
from platforms import PLATFORMS, Platform, this_machine
from simulate import run, run_all

Seconds = NDArray[np.float64]
# Bytes of a voxel: F and T; T or a real product; a complex one; a key with F and T.
SUMS, REAL, COMPLEX, KEY = 24, 8, 16, 32
STAGES = ("inserting", "exchange", "check", "map")


@dataclass(frozen=True, slots=True)
class Rates:
    """Speed of a node.

    Attributes
    ----------
    insert : float
        Image pixels inserted per second.
    fft_x, fft_y, fft_z : float
        Elements of the array transformed along an axis per second: real grid points along x, complex samples along y
        and z.
    copy : float
        Bytes read or written per second by element-wise work.
    """

    insert: float
    fft_x: float
    fft_y: float
    fft_z: float
    copy: float

    def scaled(self, speed: float, most_copy: float = float("inf")) -> Rates:
        """Of a node `speed` times as fast, whose memory moves `most_copy` bytes per second at most."""
        return Rates(
            self.insert * speed,
            self.fft_x * speed,
            self.fft_y * speed,
            self.fft_z * speed,
            min(self.copy * speed, most_copy),
        )


@dataclass(frozen=True, slots=True)
class Case:
    """One M-phase of one machine.

    Attributes
    ----------
    model : str
        "replicated", "sharded" or "slab".
    n_node : int
        One rank each.
    n_group : int
        Equal parts of the nodes, each with a model and images of its own, at work at the same time.
    box, padding : int
        Of the images, px; padded Fourier px per Fourier px. All frequencies below Nyquist are kept.
    n_image : int
        Of all groups; 0: the sums are already where they belong.
    n_pose : float
        Poses that an image is inserted at.
    n_check : int
        Gridding iterations.
    rates : Rates
    platform : str
        A name of `platforms.PLATFORMS`, or "link" with the two numbers below.
    bandwidth, latency : float
        Bytes/s and s of a "link" between the ranks of a machine.
    step : float
        Seconds of a rank's own time to begin and end an exchange.
    overlap : bool
        Messages travel while a rank computes, as adapters let them; else they wait until it has done so.
    """

    model: str
    n_node: int
    box: int
    rates: Rates
    n_group: int = 1
    padding: int = 2
    n_image: int = 0
    n_pose: float = 1.0
    n_check: int = 1
    platform: str = "fdr"
    bandwidth: float = 0.0
    latency: float = 0.0
    step: float = 0.0
    overlap: bool = True

    def network(self) -> Platform:
        """The network of the case."""
        return this_machine(self.bandwidth, self.latency) if self.platform == "link" else PLATFORMS[self.platform]

    def layout(self) -> Layout:
        """Who has what in a group."""
        return make_layout(self.box, self.padding, self.n_node // self.n_group)

    def n_weight(self) -> int:
        """Arrays W: none until the first iteration finds that 1/T does not do, later that of the one before, too."""
        return min(self.n_check - 1, 2)

    def poses(self) -> float:
        """Poses that the images of a rank are inserted at."""
        return self.n_image * self.n_pose / self.n_node


@dataclass(frozen=True, slots=True)
class Operation:
    """See mphase_sim.cpp: its kind, numbers of each rank, and rounds (seconds before, out, in, seconds after)."""

    kind: str
    lists: tuple[Seconds, ...] = ()
    rounds: tuple[tuple[Seconds, Seconds, Seconds, Seconds], ...] = ()

    def lines(self) -> Iterator[str]:
        """Text for mphase_sim.cpp."""
        yield self.kind
        yield from map(_text, self.lists)
        if self.kind in ("exchange", "load", "store"):
            yield str(len(self.rounds))
            yield from (_text(values) for each in self.rounds for values in each)


def _text(values: Seconds) -> str:
    return " ".join(f"{value:.9g}" for value in values)


# --- the insertion's exchange -----------------------------------------------------------------------------------------


def exchange_form(case: Case) -> str:
    """ "keys" or "dense": what the ranks send each other after insertion, whichever is fewer bytes."""
    layout = case.layout()
    keys = KEY * distinct_voxels(layout, case.padding, case.poses())
    return "keys" if case.model != "replicated" and keys < SUMS * layout.n_voxel else "dense"


def insertion(case: Case, layout: Layout) -> Iterator[Operation]:
    """Each rank inserts its images, then the sums of each slab come together, in the replicated model all of them."""
    if case.n_image == 0:
        yield from (Operation("stage"), Operation("stage"))
        return
    pixels = np.pi / 2 * layout.r_high**2 * case.poses()
    yield Operation("work", (np.full(layout.n_rank, pixels / case.rates.insert),))
    yield Operation("stage")
    slabs = layout.voxels
    # Adding reads two numbers and writes one.
    adding = 3 * SUMS * slabs / case.rates.copy
    if case.model == "replicated":
        yield Operation("ring", (SUMS * slabs, adding))
        yield Operation("ring", (SUMS * slabs, 0 * slabs))
    elif exchange_form(case) == "dense":
        yield Operation("exchange", rounds=((0 * slabs, np.ones(layout.n_rank), SUMS * slabs, adding),))
    else:
        keys = distinct_voxels(layout, case.padding, case.poses())
        shares = slabs / layout.n_voxel
        # Packed, unpacked, added to three arrays.
        packing, adding = 2 * KEY * keys / case.rates.copy, (KEY + 2 * SUMS) * keys * shares / case.rates.copy
        yield Operation(
            "exchange", rounds=((packing + 0 * shares, np.full(layout.n_rank, KEY * keys), shares, adding),)
        )
    yield Operation("stage")


# --- transforms -------------------------------------------------------------------------------------------------------


def on_planes(layout: Layout, rates: Rates, planes: Seconds) -> Operation:
    """Transforms along y and x of so many planes of each rank, work on the grid, and back."""
    transform = layout.n * layout.half / rates.fft_y + layout.n**2 / rates.fft_x
    return Operation("work", (planes * (2 * transform + 2 * REAL * layout.n**2 / rates.copy),))


def crop_planes(layout: Layout, rates: Rates) -> Operation:
    """Transforms along y of the planes of the field of view, along x of its rows there, work on its points."""
    box = layout.kept.sum()
    transform = layout.n * layout.half / rates.fft_y + box * layout.n / rates.fft_x
    return Operation("work", (layout.kept * (transform + 2 * REAL * box**2 / rates.copy),))


def rows_alone(
    layout: Layout, rates: Rates, planes: Seconds, voxel_bytes: float, share: Seconds | float = 1.0
) -> Operation:
    """A share of all rows, on each rank alone: transforms along z, work on them, to or from so many planes."""
    samples = layout.samples.sum()
    touched = voxel_bytes * layout.n_voxel + 2 * COMPLEX * samples * planes
    return Operation("work", (share * (layout.n * samples / rates.fft_z + touched / rates.copy),))


def rows_to_planes(layout: Layout, rates: Rates, planes: Seconds, voxel_bytes: float) -> Operation:
    """Each rank's rows to planes[rank] planes: transforms along z, packing, messages, unpacking."""
    rounds = []
    for rows_of in layout.rounds:
        samples, voxels = layout.sums(layout.samples, rows_of), layout.sums(layout.row_voxels, rows_of)
        packed = 2 * COMPLEX * samples * planes.sum()
        before = layout.n * samples / rates.fft_z + (voxel_bytes * voxels + packed) / rates.copy
        # Beyond its samples a row of the planes is set to zero.
        zeros = COMPLEX * (layout.half * sum(map(len, rows_of)) - samples.sum())
        after = (2 * COMPLEX * samples.sum() + zeros) * planes / rates.copy
        rounds.append((before, COMPLEX * samples, planes, after))
    return Operation("load", rounds=tuple(rounds))


def planes_to_rows(layout: Layout, rates: Rates, planes: Seconds, voxel_bytes: float) -> Operation:
    """The way back."""
    rounds = []
    for rows_of in layout.rounds:
        samples, voxels = layout.sums(layout.samples, rows_of), layout.sums(layout.row_voxels, rows_of)
        before = 2 * COMPLEX * samples.sum() * planes / rates.copy
        unpacked = 2 * COMPLEX * samples * layout.n
        after = layout.n * samples / rates.fft_z + (voxel_bytes * voxels + unpacked) / rates.copy
        rounds.append((before, planes, COMPLEX * samples, after))
    return Operation("store", rounds=tuple(rounds))


# --- the solve --------------------------------------------------------------------------------------------------------


def convolve(case: Case, layout: Layout, *, first: bool) -> Iterator[Operation]:
    """W·T, at first 1, to the grid, times the kernel's transform, and back in the planes."""
    rates = case.rates
    read = 0 if first else 2 * REAL
    if case.model == "slab":
        yield rows_to_planes(layout, rates, layout.planes, read)
        yield on_planes(layout, rates, layout.planes)
        return
    every = np.full(layout.n_rank, float(layout.n))
    if case.model == "sharded":
        yield Operation("work", ((read + REAL) * layout.voxels / rates.copy,))
        yield Operation("ring", (REAL * layout.voxels, 0 * every))
    yield rows_alone(layout, rates, every, REAL if case.model == "sharded" else read)
    yield on_planes(layout, rates, every)


def back(case: Case, layout: Layout, voxel_bytes: float) -> Operation:
    """From the planes to the rows that a rank has: C is looked at, or W is divided by it."""
    if case.model == "slab":
        return planes_to_rows(layout, case.rates, layout.planes, voxel_bytes)
    share = layout.voxels / layout.n_voxel if case.model == "sharded" else 1.0
    return rows_alone(layout, case.rates, np.full(layout.n_rank, float(layout.n)), voxel_bytes, share)


def to_map(case: Case, layout: Layout) -> Iterator[Operation]:
    """F·W to the planes of the field of view; a rank that transforms alone makes its part of them."""
    rates = case.rates
    if case.model == "slab":
        yield rows_to_planes(layout, rates, layout.kept, COMPLEX + REAL)
    else:
        sharded = case.model == "sharded"
        if sharded:
            yield Operation("work", ((2 * COMPLEX + REAL) * layout.voxels / rates.copy,))
            yield Operation("ring", (COMPLEX * layout.voxels, 0 * layout.voxels))
        yield rows_alone(layout, rates, layout.kept, COMPLEX if sharded else COMPLEX + REAL)
    yield crop_planes(layout, rates)


def gridding(case: Case, layout: Layout) -> Iterator[Operation]:
    """Iterations: all but the last one, which finds that C is near enough to 1, go on to divide W."""
    for i in range(case.n_check):
        yield from convolve(case, layout, first=i == 0)
        yield back(case, layout, 0.0)
        if i < case.n_check - 1:
            yield back(case, layout, 2 * REAL)


def operations(case: Case) -> list[Operation]:
    """What the ranks of a group do, with the stages `STAGES`."""
    if case.model not in MODELS or case.n_node % case.n_group:
        raise ValueError(f"no case: model {case.model}, {case.n_node} nodes in {case.n_group} groups")
    layout = case.layout()
    if layout.n_rank == 1:
        case = replace(case, model="replicated")
    end = Operation("stage")
    return [*insertion(case, layout), *gridding(case, layout), end, *to_map(case, layout), end]


def case_lines(case: Case) -> Iterable[str]:
    """Text of a case for mphase_sim.cpp."""
    todo = operations(case)
    yield f"{case.n_group} {case.n_node // case.n_group} {case.overlap:d} {case.step!r} {len(todo)}"
    for operation in todo:
        yield from operation.lines()


def simulate(program: Path, case: Case) -> dict[str, Any]:
    """Run a case.

    Returns
    -------
    dict
        Seconds of each of `STAGES`; ``seconds`` from the exchange to the map; means over the ranks of the seconds
        ``computing`` and ``waiting``; ``bytes`` and ``messages`` that the busiest rank sends; the ``form`` of the
        exchange; ``memory`` in bytes of the fullest rank.
    """
    found = run(program, case.network().xml(case.n_node), case_lines(case))
    ends = found.pop("ends")
    stages = dict(zip(STAGES, np.diff([0.0, *ends]).tolist(), strict=True))
    return {
        **stages,
        "seconds": ends[-1] - ends[0],
        **found,
        "form": exchange_form(case),
        "memory": memory(case.model, case.layout(), case.n_weight()),
    }


def _effort(case: Case) -> float:
    return case.n_node**2 / case.n_group


def simulate_all(cases: Sequence[Case], jobs: int = 0) -> list[dict[str, Any]]:
    """Run cases side by side, see `simulate.run_all`."""
    results: list[dict[str, Any]] = run_all("mphase_sim", cases, simulate, _effort, jobs)
    return results


def main() -> None:
    """Simulate the cases of a file and print them with their results."""
    names = ", ".join(field.name for field in fields(Case))
    parser = argparse.ArgumentParser(description=__doc__, epilog=f"A case is an object with: {names}.")
    parser.add_argument("cases", type=Path, help="JSON list of cases")
    parser.add_argument("--jobs", type=int, default=0, help="simulations at a time (default: the cores)")
    args = parser.parse_args()
    cases = [Case(**{**case, "rates": Rates(**case["rates"])}) for case in json.loads(args.cases.read_text())]
    results = simulate_all(cases, args.jobs)
    print(json.dumps([{**asdict(c), **r} for c, r in zip(cases, results, strict=True)], indent=1))


if __name__ == "__main__":
    main()
