"""Whole refinements with the particle filter replaced: accuracy and slices per image on the same sets.

``python bench/paper/ablation.py sim64=FOLDER d2=FOLDER:D2 --json bench/paper/results/ablation.json``

A folder has particles.star, init40A.mrc (the start), truth.star (the same particles with their true poses), map.mrc
and mask.mrc. Filters:

grid
    The best candidates of the scan with their weights, in every iteration, and no phases. At most 20 000 slices.
classic
    The product form of THUNDER 1.4.14 (`classic_filter`) from the candidates of the scan.
ours
    The package as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import classic_filter
import numpy as np
from numpy.typing import NDArray

import pycryo
from pycryo import RefineOptions, refine
from pycryo.benchmark.environment import machine
from pycryo.filter.draws import Draws
from pycryo.filter.phases import PhaseSettings
from pycryo.filter.proposals import Widths
from pycryo.filter.support import Posterior, Support
from pycryo.geometry.rotations import angle_between, euler_to_quaternion, quaternion_to_matrix
from pycryo.geometry.symmetry import symmetry
from pycryo.io.mrc import read_map
from pycryo.kernels.compare_local import compare_local
from pycryo.maps.fsc import fsc, resolution_at
from pycryo.refinement.expectation import half_pass, panels
from pycryo.refinement.expectation.posterior import Comparison

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "refinement"))
from truth import agree, aligned

Array = NDArray[np.float64]
FILTERS = ("grid", "classic", "ours")
_START = "init40A.mrc"


def grid_posterior(
    comparison: Comparison,
    start: Support,
    widths: Widths,
    draws: Draws,
    settings: PhaseSettings,
    *,
    r_high: float,
    **_: Any,
) -> Posterior:
    """The candidates as they are; the arguments are those of `sample_posterior`."""
    n, image = len(draws.ids), np.arange(len(draws.ids))
    best = start.weight.argmax(axis=1)
    quaternion, shift = start.quaternion[image, best], start.shift[image, best]
    near = comparison.target.between(1, r_high)
    score = compare_local(
        comparison.volumes, quaternion_to_matrix(quaternion)[:, None], shift[:, None], near.images, near.weights,
        near.pixels, scale=comparison.model_scale, threads=comparison.threads,
    )  # fmt: skip
    square_r = np.square(angle_between(start.quaternion, quaternion[:, None]))
    square_t = np.square(start.shift - shift[:, None]).sum(axis=-1)
    # At least that of a pose anywhere within its cell of the grid.
    spread_r = np.sqrt((start.weight * square_r).sum(axis=1) / 3 + np.square(widths.rotation) / 3)
    spread_t = np.sqrt((start.weight * square_t).sum(axis=1) / 2 + np.square(widths.shift) / 3)
    none, zero = np.zeros((2, n)), np.zeros(n, np.int64)
    return Posterior(
        start, quaternion, shift, np.zeros(n, np.int32), np.ones((n, 1)), spread_r, spread_t,
        start.weight.max(axis=1), 1 / np.square(start.weight).sum(axis=1),
        score[:, 0, 0].astype(np.float64), zero, zero.copy(), *none,
    )  # fmt: skip


def plain_weights(score: Array, _: float) -> Array:
    """Posterior weights of scores, (n, m)."""
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def replace_filter(name: str) -> Callable[[], None]:
    """Put a filter in the place of the package's; the result undoes it."""
    ours, weights = half_pass.sample_posterior, panels.flatten_weights
    if name == "grid":
        half_pass.sample_posterior, panels.flatten_weights = grid_posterior, plain_weights
    elif name == "classic":
        half_pass.sample_posterior, panels.flatten_weights = classic_filter.sample, plain_weights

    def undo() -> None:
        half_pass.sample_posterior, panels.flatten_weights = ours, weights

    return undo


def measure(name: str, folder: Path, group: str, seed: int, threads: int | None) -> dict[str, Any]:
    """Refine a set with a filter and compare with the truth."""
    stages = "global" if name == "grid" else "global,local"
    options = RefineOptions(symmetry=group, seed=seed, threads=threads, stages=stages)
    particles = pycryo.read_particles(folder / "particles.star")
    undo = replace_filter(name)
    try:
        result = refine(particles, read_map(folder / _START), options)
    finally:
        undo()
    assert result.poses is not None
    assert result.map is not None
    true, rows = pycryo.read_particles(folder / "truth.star"), result.poses.rows
    agreement = agree(
        result.poses.quaternion, euler_to_quaternion(true.rot, true.tilt, true.psi)[rows], symmetry(group)
    )
    error = agreement.error
    away = -np.stack([true.origin_x, true.origin_y], axis=1)[rows] - result.poses.shift
    found = aligned(result.map, agreement, away)
    mask, density = read_map(folder / "mask.mrc").data, read_map(folder / "map.mrc").data
    curve = fsc(found.data * mask, density * mask)
    history = result.history
    scans = [each.n_slices_scan for each in history if each.n_slices_scan]
    of_local = [each.slices_per_image for each in history if each.stage == "local"]
    return {
        "filter": name,
        "seed": seed,
        "error": float(np.median(error)),
        "within_10": float((error < 10).mean()),
        "fsc_truth": resolution_at(curve, result.map.box, result.map.pixel_size, 0.5),
        "resolution": result.resolution,
        "slices_global": float(np.mean([each.slices_per_image for each in history if each.stage == "global"])),
        "slices_local": float(np.mean(of_local)) if of_local else 0.0,
        "slices_scan": float(np.mean(scans)),
        "iterations": len(history),
        "seconds": float(sum(each.seconds["total"] for each in history)),
    }


def table(records: Sequence[dict[str, Any]]) -> str:
    """Medians over the seeds, as a table of Markdown."""
    lines = [
        "| set | filter | median pose error | within 10° | FSC to truth 0.5 | slices per image: scan, global, local |",
        "|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((each["set"], each["filter"]) for each in records):
        mine = [each for each in records if (each["set"], each["filter"]) == key]
        middle = {
            name: float(np.median([each[name] for each in mine])) for name in mine[0] if name not in ("set", "filter")
        }
        lines.append(
            f"| {key[0]} | {key[1]} | {middle['error']:.2f}° | {100 * middle['within_10']:.1f} % | "
            f"{middle['fsc_truth']:.2f} Å | {middle['slices_scan']:.0f}, {middle['slices_global']:.0f}, "
            f"{middle['slices_local']:.0f} |"
        )
    return "\n".join(lines)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER[:GROUP]")
    parser.add_argument("--filters", nargs="+", default=FILTERS, choices=FILTERS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    return parser.parse_args(argv)


def main() -> None:
    """Run, print, record after each run."""
    args = parse()
    records = []
    for each in args.sets:
        label, _, where = each.partition("=")
        folder, _, group = where.partition(":")
        for name in args.filters:
            for seed in args.seeds:
                records.append({"set": label} | measure(name, Path(folder), group or "C1", seed, args.threads))
                if args.json:
                    args.json.write_text(json.dumps({"machine": machine(), "runs": records}, indent=1) + "\n")
    print(table(records))


if __name__ == "__main__":
    main()
