"""Entry point ``pycryo``: one module of `pycryo.cli.commands` per sub-command."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence

from pycryo.cli.logs import ByLevel
from pycryo.errors import InputError, RunError
from pycryo.memory import keep_freed_memory, without_collections
from pycryo.parallel.launcher import launched_rank
from pycryo.version import __version__

# name -> (module with add_arguments(parser) and run(args) -> int, one line of help)
COMMANDS = {
    "refine": ("pycryo.cli.commands.refine", "determine a structure: particles + reference -> maps"),
    "abinitio": ("pycryo.cli.commands.abinitio", "an initial map of particles, from no reference"),
    "reconstruct": ("pycryo.cli.commands.reconstruct", "map from particles with known poses"),
    "ctf-refine": ("pycryo.cli.commands.ctf_refine", "aberrations and magnification, from a refinement"),
    "validate": ("pycryo.cli.commands.validate", "whether a refinement shows only what its images hold"),
    "project": ("pycryo.cli.commands.project", "projections of a map"),
    "simulate": ("pycryo.cli.commands.simulate", "particles with known truth from an atomic model or a map"),
    "check": ("pycryo.cli.commands.check", "all findings about particles, reference and mask at once"),
    "select": ("pycryo.cli.commands.select", "the good particles of a STAR file, by score or other columns"),
    "fsc": ("pycryo.cli.commands.fsc", "Fourier shell correlation of two half-maps"),
    "mask": ("pycryo.cli.commands.mask", "soft mask around a map's density"),
    "symmetry": (
        "pycryo.cli.commands.symmetry",
        "turn a map so that its axes lie as its point group's convention has them",
    ),
    "report": ("pycryo.cli.commands.report", "(re)build the HTML report of a refinement"),
    "info": ("pycryo.cli.commands.info", "instruction set, threads, MPI and versions"),
    "bench": ("pycryo.cli.commands.bench", "microbenchmarks of the kernels"),
    "demo": ("pycryo.cli.commands.demo", "refine the real β-galactosidase particles shipped with pycryo"),
}


# The rest is the work of one process: under mpiexec rank 0 does it.
ON_ALL_RANKS = ("refine", "abinitio", "reconstruct", "ctf-refine", "validate", "info", "demo")


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """Parser of the whole command line; only the module of `command` is imported, so that ``--help`` is quick."""
    parser = argparse.ArgumentParser(prog="pycryo", description="Cryo-EM single-particle structure determination.")
    parser.add_argument("--version", action="version", version=f"pycryo {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, summary) in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary)
        if name == command:
            importlib.import_module(module).add_arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns its exit code (0 done, 1 failed, 2 wrong usage or input, 130 interrupted)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # A process that ends need not look for cycles in all that its modules have made.
    atexit.register(gc.freeze)
    command = next((word for word in argv if not word.startswith("-")), None)
    if command in ON_ALL_RANKS:
        # Matrices are small outside of the kernels: threads of NumPy's BLAS would only wait, busily.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    rank = launched_rank()
    with contextlib.redirect_stderr(io.StringIO()) if rank else contextlib.nullcontext(), without_collections():
        args = build_parser(command).parse_args(argv)
    if rank and args.command not in ON_ALL_RANKS:
        return 0
    keep_freed_memory()
    told = logging.StreamHandler(sys.stderr)
    told.setFormatter(ByLevel())
    logging.basicConfig(level=logging.INFO, handlers=[told])
    try:
        return int(importlib.import_module(COMMANDS[args.command][0]).run(args))
    except InputError as error:
        print(f"pycryo {args.command}: error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"pycryo {args.command}: failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"pycryo {args.command}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
