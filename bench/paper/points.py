"""The simulated points of each figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scenarios import BOX, BOXES, NODES, PAPER, SCENARIOS, SPARSE, Maker
from simulate import Case

# Line -> way and ring size.
LINES = {
    "serial": ("local", 0),
    "allgather": ("allgather", 0),
    "conveyor": ("conveyor", 0),
    "conveyor, rings of 64": ("conveyor", 64),
}
FIG7_NODES, WHERE_NODES, RING_NODES = 512, 512, 1024
RING_SIZES = (4, 16, 64, 256, 1024)
FACTORS = (1, 3, 10, 30, 100)
JITTERS = (0.0, 0.05, 0.2, 0.4)
RING_JITTERS = (0.0, 0.2)


@dataclass(frozen=True, slots=True)
class Point:
    """A simulation and its place: figure, panel, line, abscissa."""

    figure: str
    panel: str
    line: str
    x: float
    case: Case


def fig6(maker: Maker) -> Iterator[Point]:
    """Time against nodes."""
    for scenario in SCENARIOS:
        for line, (way, ring_size) in LINES.items():
            for n in NODES:
                yield Point("fig6", scenario.title, line, n, maker.case(scenario, way, n, ring_size=ring_size))
        for n in NODES:
            choice = maker.choice(scenario, n, BOX)
            case = maker.case(scenario, choice.way, n, ring_size=choice.ring_size)
            yield Point("fig6", scenario.title, "as pycryo chooses", n, case)


def fig7(maker: Maker) -> Iterator[Point]:
    """Time against image size."""
    for scenario in (PAPER, SPARSE):
        for line, (way, ring_size) in LINES.items():
            for box in BOXES:
                case = maker.case(scenario, way, FIG7_NODES, box=box, ring_size=ring_size)
                yield Point("fig7", scenario.title, line, box, case)


def dear_sampling(maker: Maker) -> Iterator[Point]:
    """Sampling that costs more than here."""
    for line, (way, ring_size) in LINES.items():
        for factor in FACTORS:
            case = maker.case(PAPER, way, WHERE_NODES, ring_size=ring_size, make_factor=factor)
            make, compare = case.make[-1][1], case.compare[-1][1]
            yield Point("where", "sampling", line, make / (make + compare), case)


def ring_sizes(maker: Maker) -> Iterator[Point]:
    """Conveyors of several lengths, with and without jitter."""
    for scenario in (PAPER, SPARSE):
        for jitter in RING_JITTERS:
            for size in (1, *RING_SIZES):
                way = "local" if size == 1 else "conveyor"
                case = maker.case(scenario, way, RING_NODES, ring_size=size, jitter=jitter)
                yield Point("where", f"rings, {scenario.title}", f"jitter {jitter:.0%}", size, case)


def jitters(maker: Maker) -> Iterator[Point]:
    """Blocks whose time varies, and messages that move only when a rank looks after them."""
    for jitter in JITTERS:
        for line, (way, ring_size) in LINES.items():
            case = maker.case(PAPER, way, WHERE_NODES, ring_size=ring_size, jitter=jitter)
            yield Point("where", "jitter", line, jitter, case)
        case = maker.case(PAPER, "conveyor", WHERE_NODES, jitter=jitter, overlap=False)
        yield Point("where", "jitter", "conveyor, no overlap", jitter, case)


def all_points(maker: Maker) -> list[Point]:
    """Every simulated point of the figures at scale."""
    return [point for figure in (fig6, fig7, dear_sampling, ring_sizes, jitters) for point in figure(maker)]
