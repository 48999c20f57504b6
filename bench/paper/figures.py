"""Figures 6, 7 and 8 of the paper: ``python bench/paper/figures.py`` measures, simulates, draws (docs/parallel.md).

Writes measured.json, fig6.json ... and pictures, and prints the tables of the page; ``--draw`` draws and prints only.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from measure import MOST_IMAGES, Rates, measure_rates, run_ranks
from platforms import PLATFORMS
from plots import draw
from points import FIG7_NODES, RING_NODES, all_points
from scenarios import BOXES, N_SHIFT, N_SLICE, Maker, r_high
from simulate import Case, simulate_all
from tables import lines

from pycryo.benchmark.environment import check_load, machine
from pycryo.errors import RunError
from pycryo.kernels.compare import CELL_SLICES
from pycryo.parallel.conveyor import WAYS, Way

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parents[1] / "docs" / "images"
# The real runs: so few images that sampling shows.
REAL_BOX, REAL_IMAGES, REAL_SLICES, REAL_BLOCK = 256, 128, 4096, 256
TIMED_RANKS, CHECKED_RANKS = (1, 2), (4, 8, 16)
MEMORY_SLICES = 1024


def log(text: str) -> None:
    """Say on standard error how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def real_runs() -> dict[int, dict[str, Any]]:
    """One problem on 1, 2, ... ranks of a thread each.

    Raises
    ------
    RunError
        If the poses depend on the number of ranks.
    """
    problem = ("--box", REAL_BOX, "--r-high", r_high(REAL_BOX), "--images", REAL_IMAGES, "--slices", REAL_SLICES)
    runs = {}
    for n_rank in TIMED_RANKS + CHECKED_RANKS:
        log(f"real run on {n_rank} ranks")
        repeat = 5 if n_rank in TIMED_RANKS else 1
        runs[n_rank] = run_ranks(n_rank, *problem, "--block", REAL_BLOCK, "--threads", 1, "--repeat", repeat)
    sums = {run["checksum"] for run in runs.values()}
    if len(sums) != 1:
        raise RunError(f"the poses depend on the number of ranks: checksums {', '.join(sorted(sums))}")
    return runs


def size_runs() -> dict[int, dict[str, Any]]:
    """The same for images of several sizes, on 2 ranks."""
    runs = {}
    for box in BOXES:
        log(f"real run of box {box}")
        problem = ("--box", box, "--r-high", r_high(box), "--images", REAL_IMAGES, "--slices", REAL_SLICES)
        runs[box] = run_ranks(2, *problem, "--block", REAL_BLOCK, "--threads", 1, "--repeat", 5)
    return runs


def memory_rows() -> Iterator[dict[str, Any]]:
    """Memory that 2 ranks need for the slices, each number of slices and way in processes of their own."""
    for times in (1, 4, 16):
        for way in WAYS:
            log(f"memory of {way} with {times * MEMORY_SLICES} slices")
            options = ("--images", 8, "--slices", times * MEMORY_SLICES, "--ways", way, "--repeat", 1, "--threads", 1)
            run = run_ranks(2, *options)
            ranks = run["ways"][way]["ranks"]
            peak = max(rank["memory_peak"] - rank["memory_before"] for rank in ranks)
            yield {
                "way": way,
                "slices": run["slices"],
                "all_slices_bytes": 8 * run["n_pixel"] * run["slices"],
                "block_bytes": 8 * run["n_pixel"] * run["block"],
                "peak_bytes": peak,
                "process_bytes": max(rank["memory_peak"] for rank in ranks),
            }


def own_rates(run: dict[str, Any]) -> tuple[float, float]:
    """Seconds to sample a slice, and to compare one image with it, when each rank works alone: means over the ranks."""
    ranks = run["ways"]["local"]["ranks"]
    images = run["images"] / run["n_rank"]
    make = mean(rank["making"] for rank in ranks) / run["slices"]
    return make, mean(rank["comparing"] for rank in ranks) / run["slices"] / images


def real_cases(runs: dict[int, dict[str, Any]]) -> list[tuple[int, Way, Case]]:
    """The real runs as the simulator sees them.

    Rates are those of the same run's serial way, which took turns with the others; where ranks share cores, those of
    one rank: so it would be if they had cores of their own.
    """
    cases = []
    link, step = runs[2]["link"], runs[2]["step"]
    for n_rank, run in runs.items():
        make, compare = own_rates(run if n_rank in TIMED_RANKS else runs[1])
        images, block = -(-run["images"] // n_rank), run["block"]
        for way in WAYS:
            case = Case(
                way=way,
                n_node=n_rank,
                n_slice=run["slices"],
                item_bytes=8.0 * run["n_pixel"],
                make=[(block, block * make)],
                compare=[(block, block * compare * images)],
                platform="link",
                bandwidth=link["bandwidth"],
                latency=link["latency"],
                block=block,
                grain=CELL_SLICES,
                step=step,
            )
            cases.append((n_rank, way, case))
    return cases


def validation(runs: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Real and simulated seconds of each way and number of ranks, and what was hidden of the messages."""
    cases = real_cases(runs)
    rows = []
    for (n_rank, way, _), simulated in zip(cases, simulate_all([case for _, _, case in cases]), strict=True):
        summary = runs[n_rank]["ways"][way]
        rows.append(
            {
                "ranks": n_rank,
                "way": way,
                "timed": n_rank in TIMED_RANKS,
                "measured": summary["seconds"],
                "simulated": simulated["seconds"],
                "error": simulated["seconds"] / summary["seconds"] - 1,
                **messages(summary, runs[2]["link"]),
            }
        )
    return rows


def messages(summary: dict[str, Any], link: dict[str, float]) -> dict[str, float | None]:
    """Traffic of the busiest rank, and the share of its messages' time, were they alone, that comparing hid."""
    rank = max(summary["ranks"], key=lambda each: each["n_byte"])
    alone = rank["n_message"] * link["latency"] + rank["n_byte"] / link["bandwidth"]
    hidden = max(0.0, 1 - rank["exposed"] / alone) if alone else None
    names = ("making", "comparing", "idle", "exposed", "n_made", "n_message", "n_byte")
    return {**{name: rank[name] for name in names}, "alone": alone, "hidden": hidden}


def simulated_figures(step: float) -> dict[str, list[dict[str, Any]]]:
    """All points at scale, by figure."""

    @cache
    def rates(box: int, images: int, share: float) -> Rates:
        log(f"rates of box {box}, {images} images, {share:.0%} of the scores")
        return measure_rates(box, r_high(box), images, N_SHIFT, share, 2)

    maker = Maker(lambda box, images, share: rates(box, min(images, MOST_IMAGES), share), step)
    points = all_points(maker)
    log(f"{len(points)} simulations")
    results = simulate_all([point.case for point in points])
    figures: dict[str, list[dict[str, Any]]] = {}
    for point, result in zip(points, results, strict=True):
        place = {"panel": point.panel, "line": point.line, "x": point.x}
        figures.setdefault(point.figure, []).append({**place, **result, "case": asdict(point.case)})
    return figures


def record(folder: Path) -> None:
    """Measure and simulate everything, and write it down."""
    runs = real_runs()
    about = {
        "machine": machine(),
        "slices": N_SLICE,
        "shifts": N_SHIFT,
        "networks": {name: platform.source for name, platform in PLATFORMS.items()},
        "nodes_of_fig7": FIG7_NODES,
        "nodes_of_rings": RING_NODES,
    }
    sizes = [{"box": box, **row} for box, run in size_runs().items() for row in validation({2: run})]
    measured = {**about, "validation": validation(runs), "sizes": sizes, "memory": list(memory_rows()), "runs": runs}
    write(folder / "measured.json", measured)
    for name, points in simulated_figures(runs[2]["step"]).items():
        write(folder / f"{name}.json", {**about, "points": points})


def write(path: Path, content: dict[str, Any]) -> None:
    """JSON, the items of a list on a line each."""
    fields = []
    for name, value in content.items():
        rows = ",\n  ".join(json.dumps(row) for row in value) if isinstance(value, list) else ""
        fields.append(f" {json.dumps(name)}: " + (f"[\n  {rows}\n ]" if rows else json.dumps(value)))
    path.write_text("{\n" + ",\n".join(fields) + "\n}\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    parser.add_argument("--draw", action="store_true", help="only draw again what was recorded")
    parser.add_argument("--force", action="store_true", help="record even on a machine that is busy")
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    if not args.draw:
        check_load(args.force)
        record(args.out)
    draw(args.out, args.pictures)
    print("\n".join(lines(args.out)))


if __name__ == "__main__":
    main()
