"""Figures 4 and 9 of the paper: ``python bench/paper/mphase_figures.py`` measures, simulates, draws (docs/parallel.md).

Writes mphase_rates.json, fig4.json, fig9.json and pictures, and prints the tables of the page; ``--draw`` draws and
prints only, ``--solve FILE`` takes in real runs (JSON lines of solve.py).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from figures import PICTURES, log, write
from mphase_plots import draw
from mphase_points import GROUPS, HALF_SET, fig4, fig9, read_runs, real_points
from mphase_rates import measure_all
from platforms import PLATFORMS
from tables import mphase_lines

from pycryo.benchmark.environment import check_load
from pycryo.threads import available_cores

HERE = Path(__file__).resolve().parent
RATES = "mphase_rates.json"


def record(folder: Path, solve: Path | None) -> None:
    """Count and simulate everything at the rates found in `folder`, and write it down."""
    rates = json.loads((folder / RATES).read_text())
    about = {"machine": rates["machine"], "images": HALF_SET}
    write(folder / "fig4.json", {**about, "points": list(fig4())})
    runs = []
    if solve is not None:
        log("real runs")
        two = json.loads((folder / "measured.json").read_text())["runs"]["2"]
        runs = real_points(rates, two["link"], two["step"], read_runs(solve), available_cores())
    log("simulations")
    networks = {name: platform.source for name, platform in PLATFORMS.items()}
    points = fig9(rates)
    write(folder / "fig9.json", {**about, "groups": GROUPS, "networks": networks, "measured": runs, "points": points})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    parser.add_argument("--solve", type=Path, help="JSON lines of solve.py (default: solve.jsonl in the folder)")
    parser.add_argument("--rates", action="store_true", help="measure the rates anew")
    parser.add_argument("--draw", action="store_true", help="only draw again what was recorded")
    parser.add_argument("--force", action="store_true", help="measure even on a machine that is busy")
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    if not args.draw:
        if args.rates or not (args.out / RATES).exists():
            check_load(args.force)
            log("rates")
            write(args.out / RATES, measure_all())
        default = args.out / "solve.jsonl"
        record(args.out, args.solve or (default if default.exists() else None))
    draw(args.out, args.pictures)
    print("\n".join(mphase_lines(args.out)))


if __name__ == "__main__":
    main()
