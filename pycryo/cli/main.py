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
from pycryo.cli.parser import CommandParser
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
    "subset": ("pycryo.cli.commands.subset", "a part of a STAR file's particles, by chance, group or place"),
    "flip": ("pycryo.cli.commands.flip", "the other hand of a map, of particles' poses, or of a run"),
    "import": (
        "pycryo.cli.commands.import_particles",
        "particles of cryoSPARC, cisTEM, FREALIGN or EMAN2 as a STAR file",
    ),
    "export": ("pycryo.cli.commands.export_particles", "particles as a .cs file of cryoSPARC"),
    "fsc": ("pycryo.cli.commands.fsc", "Fourier shell correlation of two half-maps"),
    "localres": ("pycryo.cli.commands.localres", "local resolution of two half-maps, and the map filtered to it"),
    "mask": ("pycryo.cli.commands.mask", "soft mask around a map's density"),
    "postprocess": ("pycryo.cli.commands.postprocess", "corrected FSC, B-factor and sharpened map of two half-maps"),
    "symmetry": (
        "pycryo.cli.commands.symmetry",
        "turn a map, with its particles' poses, so that its axes lie as its point group's convention has them",
    ),
    "deposit": ("pycryo.cli.commands.deposit", "the files that EMDB takes, of a refinement"),
    "report": ("pycryo.cli.commands.report", "(re)build the HTML report of a refinement"),
    "watch": ("pycryo.cli.commands.watch", "follow a run on the terminal: iteration, resolution, time, messages"),
    "info": ("pycryo.cli.commands.info", "instruction set, threads, MPI and versions"),
    "completion": ("pycryo.cli.commands.completion", "a script with which a shell completes pycryo's command lines"),
    "bench": ("pycryo.cli.commands.bench", "microbenchmarks of the kernels"),
    "demo": ("pycryo.cli.commands.demo", "refine the real β-galactosidase particles shipped with pycryo"),
}


# Of NumPy, read when it is imported. Matrices are small outside of the kernels: threads of its BLAS would only wait,
# busily. And huge pages are cleared whole at their first use, from which most arrays live too short to gain; on some
# virtual machines that takes twenty times as long as with small pages.
_SETTINGS = {"OPENBLAS_NUM_THREADS": "1", "NUMPY_MADVISE_HUGEPAGE": "0"}

# The rest is the work of one process: under mpiexec rank 0 does it.
ON_ALL_RANKS = ("refine", "abinitio", "reconstruct", "ctf-refine", "validate", "localres", "info", "demo")


def build_parser(command: str | None, words: Sequence[str] = (), *, is_whole: bool = False) -> argparse.ArgumentParser:
    """Parser of the whole command line; only the module of `command` is imported, so that ``--help`` is quick.

    `words` are looked through for options that the command does not know, which end the process. With `is_whole` all
    commands have their options.
    """
    parser = CommandParser(prog="pycryo", description="Cryo-EM single-particle structure determination.")
    parser.add_argument("--version", action="version", version=f"pycryo {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, summary) in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary)
        if name == command or is_whole:
            importlib.import_module(module).add_arguments(sub)
            if name == command:
                sub.refuse_unknown(words)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns its exit code (0 done, 1 failed, 2 wrong usage or input, 130 interrupted)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # A process that ends need not look for cycles in all that its modules have made.
    atexit.register(gc.freeze)
    command = next((word for word in argv if not word.startswith("-")), None)
    if command != "bench":
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
    rank = launched_rank()
    silent = contextlib.redirect_stderr(io.StringIO()) if rank else contextlib.nullcontext()
    with silent, without_collections(for_good=True):
        args = build_parser(command, argv[argv.index(command) + 1 :] if command else ()).parse_args(argv)
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


def refine_main() -> int:
    """``pycryo-refine``: the sub-command as one executable, which RELION's External job asks for."""
    sys.argv[1:1] = ["refine"]  # what the log of the run has at its head
    return main()


if __name__ == "__main__":
    sys.exit(main())
