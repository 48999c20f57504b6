"""What ``--continue`` goes on with: the run of a folder, its particles and options unless others are given."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from pycryo.errors import InputError
from pycryo.io.json_file import fitting, read_object
from pycryo.refinement.files.finished_run import FinishedRun
from pycryo.refinement.options import RefineOptions

_ADVICE = "give the particles, the reference and all options of the run again, and --continue"


def settle_continue(args: argparse.Namespace) -> None:
    """Find out what a value of ``--continue`` is: the particles that stand behind it, or RELION's optimiser file.

    Raises
    ------
    InputError
        If it is a file outside the output folder.
    """
    if not args.resume or Path(args.resume).resolve().is_relative_to(Path(args.out).resolve()):
        return
    if args.particles is not None or args.particles_flag is not None:
        raise InputError(
            f"--continue {args.resume}: a run is continued from the checkpoint in --out ({args.out}), where this file "
            "is not; give --continue without a value and the folder of the run as --out"
        )
    args.particles, args.resume = args.resume, ""


def take_over(args: argparse.Namespace) -> dict[str, Any]:
    """With ``--continue`` and no particles, what run.json in the folder tells of the run, as RELION does; one rank.

    Returns
    -------
    dict
        Arguments that were not given, by name.

    Raises
    ------
    InputError
        If there is no run.json, which comes with the first iteration, or it does not tell.
    """
    if args.resume is None or args.particles is not None or args.particles_flag is not None:
        return {}
    path = Path(args.out) / "run.json"
    run = FinishedRun(Path(args.out), read_object(path, _ADVICE))
    with fitting(path, _ADVICE):
        told = {each.name: run.options.get(each.name) for each in fields(RefineOptions)}
        try:
            RefineOptions(**{name: value for name, value in told.items() if value is not None})
        except InputError as error:
            raise InputError(f"{path} is not as pycryo writes it ({error}); {_ADVICE}") from error
        inputs = run.told["inputs"]
        told |= {"particles": str(inputs["particles"]), "ref": run.input_references or None, "mask": inputs.get("mask")}
    return {name: value for name, value in told.items() if value is not None and getattr(args, name, None) is None}
