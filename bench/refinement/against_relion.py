"""One set of simulated particles refined by pycryo and by RELION, from the same start: time, and what is true of it.

    python bench/refinement/against_relion.py                          a made-up molecule, 500 images of 64 px
    python bench/refinement/against_relion.py --model 1tii.pdb --n 1000
    python bench/refinement/against_relion.py --set FOLDER --symmetry D2      one that `pycryo simulate` made

Needs RELION 3.1 or later (Debian: ``apt install relion``) and the Open MPI that it was built with. Both have the same
number of working processes with one thread each; RELION has one more, which leads. RELION's options are those that its
GUI proposes for 3D auto-refine. A Markdown table is printed; ``--write`` puts it into README.md, ``--json`` keeps the
figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import made_molecule
import numpy as np
from truth import agree, aligned, shift_errors

from pycryo.benchmark.environment import machine
from pycryo.benchmark.page import write_between
from pycryo.errors import RunError
from pycryo.geometry.rotations import euler_to_quaternion
from pycryo.geometry.symmetry import symmetry
from pycryo.io.json_file import write_object
from pycryo.io.mrc import read_map
from pycryo.io.particles import read_particles
from pycryo.io.star import read_star
from pycryo.maps.fsc import corrected_fsc, fsc, resolution_at

RADIUS = 60.0
_TRUTH = "truth.star"
PAGE = Path(__file__).resolve().parents[2] / "README.md"
MARK = "relion"
# What a rank used is known to the process that started it alone.
_WATCH = """
import json, os, resource, subprocess, sys
rank = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK") or "0"
code = subprocess.run(sys.argv[2:], close_fds=False).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(f"{sys.argv[1]}.{rank}.json", "w") as file:
    json.dump([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], file)
sys.exit(code)
"""


@dataclass(frozen=True)
class Run:
    """Wall seconds, processor seconds of the ranks that `work` and of one that `lead`s, peak MiB of a rank."""

    program: str
    wall: float
    work: float
    lead: float
    memory: float


@dataclass(frozen=True)
class Found:
    """What came out.

    Attributes
    ----------
    iterations : int
        Until the end.
    claimed, halves, truth : float
        Resolution, Å: what the program states, that of its half-maps inside the true mask (0.143), and where the FSC
        of their mean with the true map falls below 0.5.
    error, shift : float
        Medians of the poses' errors, degrees and Å.
    within_10 : float
        Percent of the images.
    """

    iterations: int
    claimed: float
    halves: float
    truth: float
    error: float
    within_10: float
    shift: float


def call(command: Sequence[str], folder: Path, log: Path) -> None:
    """Run a command in a folder; what it says goes to `log`.

    Raises
    ------
    RunError
        If it fails.
    """
    with log.open("w", encoding="utf-8") as file:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYCRYO_THREADS": "1"}
        done = subprocess.run(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RunError(f"{shlex.join(command)} ended with {done.returncode}:\n{tail}")


def timed(program: str, launch: Sequence[str], command: Sequence[str], place: Path, *, leads: bool) -> Run:
    """Run a program on ranks in the folder of the set, `place`; rank 0 leads and does no work, or works as all do."""
    ranks = place / f"{program}_rank"
    begin = time.perf_counter()
    call([*launch, sys.executable, "-c", _WATCH, str(ranks), *command], place, place / f"{program}.log")
    wall = time.perf_counter() - begin
    files = sorted(place.glob(f"{ranks.name}.*.json"))
    used = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    seconds = [each[0] for each in used]
    lead = seconds[0] if leads else 0.0
    return Run(program, wall, sum(seconds) - lead, lead, max(each[1] for each in used))


def make_set(place: Path, args: argparse.Namespace) -> None:
    """Particles, start and truth."""
    model = args.model
    if model is None:
        model = place / "molecule.pdb"
        fold = int(args.symmetry[1:]) if args.symmetry[:1] == "C" else 1
        made_molecule.write_pdb(model, made_molecule.atoms(RADIUS, fold, args.seed))
    command = [sys.executable, "-m", "pycryo", "simulate", str(Path(model).resolve()), "--out", "."]
    options = ("n", "box", "pixel_size", "snr", "seed")
    command += [word for name in options for word in (f"--{name.replace('_', '-')}", str(getattr(args, name)))]
    call(command, place, place / "simulate.log")


def refine_by_pycryo(place: Path, args: argparse.Namespace) -> Run:
    """`pycryo refine` with its defaults."""
    command = [sys.executable, "-m", "pycryo", "refine", "particles.star", "--ref", "init40A.mrc", "--out", "pycryo"]
    command += ["--symmetry", args.symmetry, "--threads", "1", "--seed", str(args.seed), "--overwrite"]
    launch = [*shlex.split(args.mpiexec), "-n", str(args.ranks)]
    return timed("pycryo", launch, command, place, leads=False)


def refine_by_relion(place: Path, args: argparse.Namespace) -> Run:
    """`relion_refine_mpi` with what its GUI proposes; one rank more, which leads."""
    shutil.rmtree(place / "relion", ignore_errors=True)
    (place / "relion").mkdir()
    start = read_map(place / "init40A.mrc")
    command = shlex.split(
        "relion_refine_mpi --i particles.star --ref init40A.mrc --o relion/run --auto_refine --split_random_halves "
        "--firstiter_cc --ini_high 40 --dont_combine_weights_via_disc --pool 30 --pad 2 --ctf --flatten_solvent "
        "--zero_mask --oversampling 1 --healpix_order 2 --auto_local_healpix_order 4 --offset_range 5 "
        "--offset_step 2 --low_resol_join_halves 40 --norm --scale --j 1"
    )
    diameter = args.diameter or round(0.9 * start.box * start.pixel_size)
    command += ["--sym", args.symmetry, "--particle_diameter", str(diameter), "--random_seed", str(args.seed)]
    launch = [*shlex.split(args.mpirun), "-np", str(args.ranks + 1)]
    return timed("relion", launch, command, place, leads=True)


def judge(place: Path, program: str, group: str) -> Found:
    """Compare the results in place/program with the truth, inside the true mask."""
    found, true = (read_particles(place / name, particles_dir=place) for name in (f"{program}/run_data.star", _TRUTH))
    poses, truth = (euler_to_quaternion(each.rot, each.tilt, each.psi) for each in (found, true))
    agreement = agree(poses, truth, symmetry(group))
    away = np.stack([found.origin_x - true.origin_x, found.origin_y - true.origin_y], axis=1)
    density, mask = read_map(place / "map.mrc"), read_map(place / "mask.mrc").data
    files = [place / program / f"run_half{half}_class001_unfil.mrc" for half in (1, 2)]
    # The mask lies as the truth does: the half-maps are turned to it, both alike.
    first, second = (aligned(read_map(file), agreement, away).data for file in files)
    curve = fsc(0.5 * (first + second) * mask, density.data * mask)
    claimed, iterations = told(place / program)
    return Found(
        iterations,
        claimed,
        corrected_fsc(first, second, density.pixel_size, mask).resolution_0143,
        resolution_at(curve, density.box, density.pixel_size, 0.5),
        float(np.median(agreement.error)),
        float(100 * np.mean(agreement.error < 10)),
        float(np.median(shift_errors(agreement, away))),
    )


def told(folder: Path) -> tuple[float, int]:
    """Resolution (Å) that a program states at its end, and its iterations."""
    general: Any = read_star(folder / "run_model.star")["model_general"]
    last = max(int(file.name[6:9]) for file in folder.glob("run_it[0-9][0-9][0-9]_*"))
    return float(general["rlnCurrentResolution"]), last


def table(runs: Sequence[Run], found: Sequence[Found]) -> str:
    """Markdown: a row for each program, and how many times RELION's time is ours."""
    lines = [
        "| program | wall s | CPU s | memory of a rank | iterations | claimed | half-maps | truth | poses | within 10° "
        "| shifts |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run, got in zip(runs, found, strict=True):
        lines.append(
            f"| {run.program} | {run.wall:.1f} | {run.work:.1f} | {run.memory:.0f} MiB | {got.iterations} "
            f"| {got.claimed:.2f} Å | {got.halves:.2f} Å | {got.truth:.2f} Å | {got.error:.2f}° "
            f"| {got.within_10:.1f} % | {got.shift:.2f} Å |"
        )
    ours, theirs = runs
    wall, cpu = theirs.wall / ours.wall, theirs.work / ours.work
    ratios = f"RELION takes {wall:.1f} × the wall time and {cpu:.1f} × the CPU time"
    return "\n".join([*lines, "", f"{ratios}; the {theirs.lead:.0f} s of its leader, which waits, are not counted."])


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, metavar="FOLDER", help="particles that pycryo simulate made, with truth")
    parser.add_argument("--model", type=Path, help=".pdb, .cif or .mrc to simulate (default: a made-up molecule)")
    parser.add_argument("--n", type=int, default=500, help="images to simulate (default 500)")
    parser.add_argument("--box", type=int, default=64, help="px (default 64)")
    parser.add_argument("--pixel-size", type=float, default=2.2, help="Å (default 2.2)")
    parser.add_argument("--snr", type=float, default=0.05, help="as of pycryo simulate (default 0.05)")
    parser.add_argument("--symmetry", default="C1")
    parser.add_argument("--diameter", type=float, help="of RELION's mask, Å (default: 0.9 of the box)")
    parser.add_argument("--ranks", type=int, default=2, help="working processes of each program (default 2)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mpiexec", default="mpiexec", help="starts pycryo's ranks (default mpiexec)")
    root = " --allow-run-as-root" if os.geteuid() == 0 else ""
    launcher = shutil.which("mpirun.openmpi") or "mpirun"
    parser.add_argument("--mpirun", default=f"{launcher} --oversubscribe{root}", help="starts RELION's (Open MPI)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="all files stay there (default: none stay)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--write", action="store_true", help="write the table into README.md")
    args = parser.parse_args(argv)
    if shutil.which("relion_refine_mpi") is None:
        parser.error("relion_refine_mpi is not on the PATH: apt install relion, or load RELION's module")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Make the set, run both, print the table."""
    args = options(argv)
    with tempfile.TemporaryDirectory(prefix="pycryo-relion-") as temporary:
        place = (args.keep or Path(temporary)).resolve()
        place.mkdir(parents=True, exist_ok=True)
        if args.set is None:
            make_set(place, args)
        elif args.set.resolve() != place.resolve():
            for file in args.set.iterdir():
                shutil.copy(file, place)
        try:
            runs = [refine_by_pycryo(place, args), refine_by_relion(place, args)]
        except RunError as error:
            print(error, file=sys.stderr)
            return 1
        found = [judge(place, run.program, args.symmetry) for run in runs]
    host = machine()
    size = f"{args.set}" if args.set else f"{args.n} images of {args.box} px, {args.pixel_size:g} Å, SNR {args.snr:g}"
    text = f"{size}, {args.symmetry}; {host['processor']}, load {host['load_average']:.1f} at the end.\n\n"
    text += table(runs, found)
    print(text)
    if args.write:
        write_between(PAGE, MARK, text)
    if args.json:
        rows = [asdict(run) | asdict(got) for run, got in zip(runs, found, strict=True)]
        write_object(args.json, {"machine": host, "runs": rows})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
