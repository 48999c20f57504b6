"""The paper's set, 211 826 images of a channel with a fourfold axis, 160 px: its time from runs of small shares of it.

    python bench/refinement/paper_set.py --write               shares of 1/60 and 1/30: minutes on two quiet cores
    python bench/refinement/paper_set.py --shares 1500 750     only whether it works

Images of a made-up molecule are simulated, kept as float16 and refined on two ranks of one thread each. What is done
image by image is taken as proportional to their number, what is done map by map as constant; the smaller run predicts
the larger one's parts so, which shows how far that holds. ``--write`` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import made_molecule

from pycryo.benchmark.environment import machine
from pycryo.benchmark.page import write_between
from pycryo.io.mrc_header import read_header
from pycryo.io.mrc_stacks import read_stack, write_stack

PAGE = Path(__file__).resolve().parents[2] / "docs/performance.md"
MARK = "paper set"
N_IMAGE, BOX, PIXEL_SIZE, SNR, RADIUS = 211_826, 160, 1.3, 0.02, 75.0
RANKS = 2
# Phases of an iteration in run.json that are done map by map, whatever the number of images is.
OF_MAPS = ("reference", "solve", "fsc")
# Parts of both kinds.
REST, ENDS = "rest of the iterations", "start and end"
BATCH = 500


@dataclass(frozen=True)
class Run:
    """A refinement: wall seconds by part, `cpu` seconds, iterations as initials of their stages, resolution (Å)."""

    n_image: int
    parts: dict[str, float]
    cpu: float
    stages: str
    resolution: float


def simulate(folder: Path, n_image: int) -> None:
    """Particles, start and truth; the stack as float16."""
    model, stack = folder / "molecule.pdb", folder / "particles.mrcs"
    made_molecule.write_pdb(model, made_molecule.atoms(RADIUS, 4, 0))
    command = [sys.executable, "-m", "pycryo", "simulate", str(model), "--out", str(folder), "--n", str(n_image)]
    command += ["--box", str(BOX), "--pixel-size", str(PIXEL_SIZE), "--snr", str(SNR)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    single = stack.rename(folder / "single.mrcs")
    header = read_header(single)
    batches = (read_stack(header, range(at, min(at + BATCH, n_image))) for at in range(0, n_image, BATCH))
    write_stack(stack, batches, (BOX, BOX), PIXEL_SIZE, mode=12)
    single.unlink()


def refine(folder: Path, n_image: int) -> Run:
    """`pycryo refine` with its defaults and fourfold symmetry.

    Raises
    ------
    CalledProcessError
        If it fails.
    """
    out = folder / "run"
    command = ["mpiexec", "-n", str(RANKS), sys.executable, "-m", "pycryo", "refine", str(folder / "particles.star")]
    command += ["--ref", str(folder / "init40A.mrc"), "--out", str(out), "--symmetry", "C4", "--threads", "1"]
    before, begin = os.times(), time.perf_counter()
    subprocess.run([*command, "--overwrite"], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - begin, os.times()
    told = json.loads((out / "run.json").read_text(encoding="utf-8"))
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    stages = "".join(each["stage"][0] for each in told["iterations"])
    return Run(n_image, parts_of(told["iterations"], wall), cpu, stages, told["resolution"])


def parts_of(iterations: Sequence[dict[str, dict[str, float]]], wall: float) -> dict[str, float]:
    """Seconds of each phase in all iterations, of what else there is in them, and of what is before and after."""
    parts: Counter[str] = Counter()
    for each in iterations:
        parts.update({name: seconds for name, seconds in each["seconds"].items() if name != "total"})
    total = sum(each["seconds"]["total"] for each in iterations)
    rest = total - sum(parts.values())
    return {**parts, REST: rest, ENDS: wall - total}


def per_iteration(run: Run, n_iteration: int) -> Run:
    """The run as it would be in another number of iterations, all alike; start and end stay."""
    share = n_iteration / len(run.stages)
    parts = {name: seconds * (1 if name == ENDS else share) for name, seconds in run.parts.items()}
    return replace(run, parts=parts)


def projected(small: Run, large: Run, n_image: int, ranks: int) -> dict[str, float]:
    """Seconds of each part for so many images on so many ranks, in as many iterations as the large run had.

    Images are dealt to the ranks; the work on maps is left as it is on two, which more ranks do not make slower. Parts
    of both kinds lie on the line through the two runs.
    """
    of_images, smaller = n_image * RANKS / ranks, per_iteration(small, len(large.stages))
    found = {}
    for name, seconds in large.parts.items():
        slope = 0.0 if name in OF_MAPS else seconds / large.n_image
        if name in (REST, ENDS):
            rise = (seconds - smaller.parts[name]) / (large.n_image - small.n_image)
            slope = min(max(rise, 0.0), slope)
        found[name] = seconds + slope * (of_images - large.n_image)
    return found


def clock(seconds: float) -> str:
    """Such as 3.2 h, 45 min or 12 s."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds:.1f} s"


def predicted(small: Run, large: Run) -> dict[str, float]:
    """Seconds of the large run's parts that the small run predicts; none of those of both kinds."""
    growth, parts = large.n_image / small.n_image, per_iteration(small, len(large.stages)).parts
    kinds = {name: 1.0 if name in OF_MAPS else growth for name in parts if name not in (REST, ENDS)}
    return {name: parts[name] * factor for name, factor in kinds.items()}


def table(small: Run, large: Run, ranks: Sequence[int]) -> str:
    """Markdown: a row for each part, and the sum; below it what the check of the projection says."""
    n_image = f"{N_IMAGE:,}".replace(",", " ")
    heads = [f"{n_image} images, {each} ranks" for each in (RANKS, *ranks)]
    check = predicted(small, large)
    whole = [projected(small, large, N_IMAGE, each) for each in (RANKS, *ranks)]
    lines = [
        f"| part | {small.n_image} images | predicted | {large.n_image} images | " + " | ".join(heads) + " |",
        "|---|---|---|---|" + "---|" * len(heads),
    ]
    for name in large.parts:
        if max(large.parts[name], small.parts.get(name, 0.0)) < 0.05:
            continue
        kind = "by maps" if name in OF_MAPS else "both" if name in (REST, ENDS) else "by images"
        cells = [clock(each[name]) if name in each else "" for each in (small.parts, check, large.parts, *whole)]
        lines.append(f"| {name} ({kind}) | " + " | ".join(cells) + " |")
    sums = [clock(sum(each.values())) for each in (small.parts, large.parts, *whole)]
    lines.append(" | ".join([f"| all | {sums[0]}", "", *sums[1:]]) + " |")
    found, ratio = machine(), sum(large.parts[name] for name in check) / sum(check.values())
    counts = f"{len(small.stages)} ({small.stages}) and {len(large.stages)} ({large.stages}) iterations"
    lines += [
        "",
        f"{found['processor']}, load {found['load_average']:.1f} at the end. {counts}, {small.resolution:.2f} and "
        f"{large.resolution:.2f} Å, {small.cpu:.0f} and {large.cpu:.0f} CPU s. The parts of one kind took {ratio:.2f} "
        f"of what {small.n_image} images predict for {large.n_image} in as many iterations.",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate, refine, project, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", type=int, nargs=2, default=(60, 30), metavar="N", help="1/N (default 60 30)")
    parser.add_argument("--ranks", type=int, nargs="+", default=(24, 384), help="to project to (default 24 384)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="the sets and runs stay there")
    parser.add_argument("--write", action="store_true", help="write the table into docs/performance.md")
    args = parser.parse_args(argv)
    runs = []
    with tempfile.TemporaryDirectory(prefix="pycryo-paper-") as temporary:
        for share in args.shares:
            n_image = round(N_IMAGE / share)
            folder = (args.keep or Path(temporary)).resolve() / str(n_image)
            if not (folder / "particles.mrcs").exists():
                folder.mkdir(parents=True, exist_ok=True)
                simulate(folder, n_image)
            runs.append(refine(folder, n_image))
    text = table(runs[0], runs[1], args.ranks)
    print(text)
    if args.write:
        write_between(PAGE, MARK, text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
