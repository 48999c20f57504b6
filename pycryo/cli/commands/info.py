"""``pycryo info``: what this machine and installation offer a run."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
from collections import Counter
from pathlib import Path

from pycryo import _core
from pycryo.cli.ranks import set_up_rank
from pycryo.errors import RunError
from pycryo.memory import memory
from pycryo.model.owners import MODELS
from pycryo.parallel.launcher import launched_rank
from pycryo.parallel.mpi_library import inspect_mpi
from pycryo.parallel.world import world
from pycryo.threads import available_cores, get_threads
from pycryo.version import __version__

DEPENDENCIES = ("numpy", "scipy", "pandas", "mrcfile", "h5py", "gemmi", "matplotlib", "jinja2", "rich")
# Instruction sets of the kernels and the flags of /proc/cpuinfo that they need.
ISA_FLAGS = {
    "baseline": (),
    "avx2": ("avx2", "fma"),
    "avx512": ("avx512f", "avx512dq", "avx512bw", "avx512vl"),
}
BASELINES = {"x86_64": "SSE2", "aarch64": "NEON"}
THREAD_VARIABLES = ("PYCRYO_THREADS", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
_GIB = 1 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    plan = parser.add_argument_group("memory estimate of a refinement")
    plan.add_argument("--box", type=int, metavar="PX", help="box of the images")
    plan.add_argument("--particles", type=int, default=100_000, metavar="N", help="default: 100000")
    plan.add_argument("--ranks", type=int, metavar="N", help="default: those of this run")
    plan.add_argument("--node-ranks", type=int, metavar="N", help="ranks of a node (default: all)")
    plan.add_argument("--model", choices=MODELS, default=MODELS[0], help="how ranks hold the model (default: slab)")
    plan.add_argument("--single", action="store_true", help="grids in single precision")
    plan.add_argument("--memory", type=float, default=1.0, metavar="GIB", help="for images, per rank (default: 1)")
    plan.add_argument("--padding", "--pad", type=int, default=2, metavar="N", help="default: 2")
    plan.add_argument("--classes", "--K", type=int, default=1, metavar="K", help="default: 1")
    plan.add_argument("--preread", action="store_true", help="with all images in memory")


def run(args: argparse.Namespace) -> int:
    """Print the report; under mpiexec once. Collective.

    Raises
    ------
    RunError
        If a launcher started processes that cannot talk to each other; those but the first end silently.
    """
    try:
        comm = world()
    except RunError:
        if launched_rank():
            return 1
        print("\n".join([*_machine(), *_mpi(), *_versions()]))
        raise
    set_up_rank(comm, None)
    nodes = comm.gather((platform.node(), available_cores(), get_threads()))
    if nodes is not None:
        print("\n".join([*_machine(), *_ranks(nodes), *_mpi(), *_versions(), *_plan(args, comm.size)]))
    return 0


def _row(name: str, text: str) -> str:
    return f"{name + ':' if name else '':<18}{text}"


def _machine() -> list[str]:
    """Instruction sets, cores and memory of this machine."""
    in_use = _core.isa()
    wish = os.environ.get("PYCRYO_ISA")
    lowered = f", lowered by PYCRYO_ISA={wish}" if wish else ""
    threads = f"{get_threads()} a process; of {os.cpu_count()} cores {available_cores()} may be used (affinity, cgroup)"
    settings = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
    return [
        _row("pycryo", f"{__version__}, {Path(__file__).resolve().parents[2]}"),
        _row("machine", f"{platform.node()}, {platform.system()} {platform.release()}, {platform.machine()}"),
        _row("instruction set", f"{in_use}{lowered}; available: {', '.join(available_isas())}{_baseline()}"),
        _row("kernels", ", ".join(_core.kernels)),
        _row("threads", "; ".join([threads, *settings])),
        _row("memory", _memory()),
    ]


def _baseline() -> str:
    """What the baseline is on this machine."""
    name = BASELINES.get(platform.machine())
    return f" (baseline is {name})" if name else ""


def available_isas(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Instruction sets of the kernels that this processor has: other than x86-64 there is the baseline alone."""
    if platform.machine() != "x86_64":
        return ["baseline"]
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return [_core.isa()]
    flags = set(next((line for line in lines if line.startswith("flags")), "").split())
    return [name for name, needed in ISA_FLAGS.items() if flags.issuperset(needed)]


def _memory() -> str:
    """Available and total memory."""
    figures = memory()
    return "unknown" if figures is None else f"{figures[0] / _GIB:.1f} of {figures[1] / _GIB:.1f} GiB available"


def _ranks(nodes: list[tuple[str, int, int]]) -> list[str]:
    """Ranks of each node; empty for a single process."""
    if len(nodes) == 1:
        return []
    return [
        _row("ranks", f"{count} × {threads} threads on {name}, each may use {cores} cores")
        for (name, cores, threads), count in Counter(nodes).items()
    ]


def _mpi() -> list[str]:
    """The MPI library, the launcher, and whether they fit."""
    report = inspect_mpi()
    return [
        _row("mpi4py", report.mpi4py or "not installed"),
        _row("MPI library", report.library or "none"),
        _row("mpiexec", " ".join(filter(None, [report.mpiexec or "not found", report.launcher]))),
        _row("launcher check", ("ok: " if report.works else "no: ") + report.advice),
    ]


def _versions() -> list[str]:
    """Versions of Python and the dependencies."""
    found = [f"python {platform.python_version()}"]
    for name in DEPENDENCIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} missing")
    return [_row("versions", ", ".join(found))]


def _plan(args: argparse.Namespace, n_ranks: int) -> list[str]:
    """Estimate of a refinement's memory, if a box was given."""
    if args.box is None:
        return []
    from pycryo.refinement.resources.memory_plan import Sizes, describe, memory_plan, peak, size

    n_ranks = n_ranks if args.ranks is None else args.ranks
    sizes = Sizes(
        box=args.box,
        padding=args.padding,
        image_box=args.box,
        n_particles=args.particles,
        n_ranks=n_ranks,
        node_ranks=n_ranks if args.node_ranks is None else args.node_ranks,
        threads=get_threads(),
        model=args.model,
        single=args.single,
        images=_GIB * args.memory,
        batch=16,
        preread=args.preread,
        classes=args.classes,
    )
    phases = memory_plan(sizes)
    return [
        _row(
            "memory plan",
            f"{args.box} px, {args.particles} particles, {n_ranks} ranks, padding {args.padding}, {args.model} model: "
            f"about {size(peak(phases).total)} per rank",
        ),
        *describe(phases),
    ]
