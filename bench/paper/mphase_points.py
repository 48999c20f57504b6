"""The points of Figures 4 and 9: what is counted and simulated, and runs of solve.py beside their simulation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from layout import MODELS, key_value_memory, make_layout, memory
from mphase import Case, simulate_all
from mphase_rates import find
from scenarios import N_IMAGE, SCALED

# Fig. 4: boxes, ranks of a half-set and its images.
MEMORY_BOXES = (128, 160, 256, 384, 512, 768, 1024, 1400)
MEMORY_RANKS = (8, 64, 512)
HALF_SET = N_IMAGE // 2
PADDING = 2
# Fig. 9: nodes in groups as in the paper (4 ... 32) and beyond.
GROUPS = 4
PAPER_NODES = (4, 8, 16, 32)
NODES = (*PAPER_NODES, 64, 128, 256, 512, 1024)
BOXES = (64, 128, 160, 256, 384, 512, 768, 1024)
BOX_NODES = 32
# Two E5-2670 v3 move 2 × 68 GB/s at most (Intel ARK).
MOST_COPY = 136e9
# Threads of this machine that a node is compared with.
NODE_THREADS = 2


@dataclass(frozen=True, slots=True)
class Scenario:
    """A data set on nodes of the paper's cluster."""

    title: str
    box: int
    n_check: int = 1
    nodes: tuple[int, ...] = NODES


SMALL = Scenario("small model: box 160 padded 320", 160)
LARGE = Scenario("large model: box 512 padded 1024", 512)
LONG = Scenario("large model, 10 gridding iterations", 512, n_check=10, nodes=(*PAPER_NODES, 64, 128))
SCENARIOS = (SMALL, LARGE, LONG)


def fig4() -> Iterator[dict[str, Any]]:
    """Bytes of the fullest rank against box."""
    for n_rank in MEMORY_RANKS:
        for box in MEMORY_BOXES:
            layout = make_layout(box, PADDING, n_rank)
            place = {"ranks": n_rank, "box": box, "voxels": layout.n_voxel}
            for model in MODELS:
                yield {**place, "form": model, "bytes": memory(model, layout)}
            yield {**place, "form": "key-value", "bytes": key_value_memory(layout, PADDING, HALF_SET / n_rank)}


def case(rates: dict[str, Any], model: str, box: int, n_node: int, n_check: int = 1) -> Case:
    """An M-phase on the paper's nodes."""
    known = find(rates, PADDING * box, NODE_THREADS).scaled(SCALED.speed, MOST_COPY)
    return Case(model, n_node, box, known, n_group=GROUPS, n_image=N_IMAGE, n_check=n_check, platform=SCALED.platform)


def fig9(rates: dict[str, Any], jobs: int = 0) -> list[dict[str, Any]]:
    """Time and memory against nodes, and against box on `BOX_NODES` nodes and without a distribution."""
    places = [
        ({"panel": each.title, "model": model, "x": n}, case(rates, model, each.box, n, each.n_check))
        for each in SCENARIOS
        for model in MODELS
        for n in each.nodes
    ]
    places += [
        ({"panel": f"box, {n} nodes", "model": model, "x": box}, case(rates, model, box, n))
        for n in (GROUPS, BOX_NODES)
        for model in MODELS
        for box in BOXES
    ]
    results = simulate_all([each for _, each in places], jobs)
    return [{**place, **result, "case": asdict(each)} for (place, each), result in zip(places, results, strict=True)]


# --- real runs --------------------------------------------------------------------------------------------------------


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Runs in double precision that solve.py printed, a record on each line; of repetitions the least figures."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in map(json.loads, filter(str.strip, path.read_text().splitlines())):
        for model, figures in record["models"].items() if not record["single"] else ():
            kind = {"model": model, **{name: record[name] for name in ("n_rank", "threads", "box", "padding")}}
            row = found.setdefault(tuple(kind.values()), {**kind, **{name: figures[name] for name in RUN_FIGURES}})
            row.update({name: min(row[name], figures[name]) for name in RUN_FIGURES})
    return sorted(found.values(), key=lambda row: (row["box"], row["n_rank"]))


# Of a solve: seconds of the slowest rank, bytes of memory of the fullest one, bytes that the busiest one sends.
RUN_FIGURES = ("seconds", "memory", "n_byte")


def real_points(
    rates: dict[str, Any], link: dict[str, float], step: float, runs: list[dict[str, Any]], cores: int
) -> list[dict[str, Any]]:
    """Runs beside what simulation and formulas say of them; they are timed if each thread has a core of its own."""
    cases = [
        Case(
            row["model"],
            row["n_rank"],
            row["box"],
            find(rates, row["padding"] * row["box"], row["threads"]),
            padding=row["padding"],
            platform="link",
            bandwidth=link["bandwidth"],
            latency=link["latency"],
            step=step,
        )
        for row in runs
    ]
    results = simulate_all(cases)
    return [
        {
            **row,
            "timed": row["n_rank"] * row["threads"] <= cores,
            "simulated": {name: result[name] for name in ("seconds", "check", "map", "bytes", "memory")},
        }
        for row, result in zip(runs, results, strict=True)
    ]
