"""``pycryo demo``: refine the real β-galactosidase particles that come with pycryo."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pycryo.cli.commands.refine import add_run_arguments, refine_command
from pycryo.io.example_data import betagal
from pycryo.parallel.world import world
from pycryo.refinement.options import RefineOptions

# What the molecule is known to be.
_SYMMETRY = "D2"
_DIAMETER = 200.0  # Å


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.allow_abbrev = False
    parser.add_argument("--out", default="pycryo_demo", metavar="DIR", help="folder for the results (pycryo_demo)")
    parser.add_argument("--threads", "--j", type=int, metavar="N", help="threads per rank (default: as `refine`)")
    parser.add_argument("--seed", type=int, default=RefineOptions().seed, metavar="N", help="seed of all random draws")
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Refine like ``pycryo refine`` with the example's options, and say where the results are."""
    comm = world()
    folder = betagal()
    args.particles, args.particles_flag = str(folder / "particles.star"), None
    args.ref = [str(folder / "reference_40A.mrc")]
    args.symmetry, args.diameter = _SYMMETRY, _DIAMETER
    code = refine_command(comm, args, "demo")
    if code == 0 and comm.rank == 0 and not args.dry_run:
        print(summary(Path(args.out)))
    return code


def summary(folder: Path) -> str:
    """Where the results of a run are, and its resolution."""
    told = json.loads((folder / "run.json").read_text("utf-8"))
    back = next((each["resolution"] for each in told.get("signal_returns", ()) if each), None)
    gap = (
        []
        if back is None
        else [f"            beyond a gap at a zero of the CTF the signal comes back, to {back:.2f} Å"]
    )
    return "\n".join(
        [
            f"resolution  {told['resolution']:.2f} Å (corrected FSC of the half-maps, 0.143)",
            *gap,
            f"map         {folder / 'run_class001.mrc'}",
            f"sharpened   {folder / 'run_class001_postprocess.mrc'}",
            f"half-maps   {folder / 'run_half1_class001_unfil.mrc'}, {folder / 'run_half2_class001_unfil.mrc'}",
            f"particles   {folder / 'run_data.star'}",
            f"FSC         {folder / 'run_fsc.star'}, {folder / 'run_fsc.xml'}",
            f"report      {folder / 'report.html'}",
        ]
    )
