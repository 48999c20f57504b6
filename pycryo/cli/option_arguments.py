"""Command line arguments made from the fields of an options dataclass."""

from __future__ import annotations

import argparse
import dataclasses
import types
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pycryo.io.aberrations import KINDS

Options = TypeVar("Options")


def add_overwrite(group: argparse._ActionsContainer) -> None:
    """``--overwrite``, of commands with a folder for the results."""
    group.add_argument(
        "--overwrite", action="store_true", help="begin anew where DIR holds an earlier run, whose results are lost"
    )


def add_talk(group: argparse._ActionsContainer) -> None:
    """``--verbose`` and ``--quiet``, one of them."""
    talk = group.add_mutually_exclusive_group()
    talk.add_argument("--verbose", action="store_true", help="tell more")
    talk.add_argument("--quiet", action="store_true", help="tell warnings and errors only")


def add_particles_dir(parser: argparse.ArgumentParser) -> None:
    """``--particles-dir``, for commands whose options are not made from a dataclass."""
    parser.add_argument("--particles-dir", type=Path, metavar="DIR", help="folder that the stacks may be relative to")


def add_ignore_optics(parser: argparse.ArgumentParser) -> None:
    """``--ignore-optics``, likewise."""
    parser.add_argument(
        "--ignore-optics",
        metavar="LIST",
        help=f"go on without these corrections, separated by commas: {', '.join(KINDS)}",
    )


def add_scratch(parser: argparse.ArgumentParser) -> None:
    """``--scratch``, likewise."""
    parser.add_argument(
        "--scratch",
        "--scratch_dir",
        metavar="DIR",
        help="folder on a fast disc of each node: the stacks are copied there first, and removed in the end",
    )


def add_option_arguments(parser: argparse.ArgumentParser, options: type[Any], skip: tuple[str, ...] = ()) -> None:
    """Add one argument per field, in the groups of their metadata (``group``, ``help``, ``flags``, ``metavar``).

    ``ini_high`` becomes ``--ini-high``, further spellings come from ``flags``. A bool that is True by default becomes
    ``--no-NAME``. Arguments that are not given are None (or absent from the options), so that the dataclass alone knows
    the defaults.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    options : dataclass type
    skip : tuple of str
        Fields to leave out.
    """
    hints = get_type_hints(options)
    groups: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        if field.name in skip:
            continue
        title = field.metadata["group"]
        group = groups.setdefault(title, None) or parser.add_argument_group(title)
        groups[title] = group
        name = field.name.replace("_", "-")
        text = field.metadata["help"]
        kind = _value_type(hints[field.name])
        if kind is bool:
            flag = f"--no-{name}" if field.default else f"--{name}"
            group.add_argument(
                flag,
                *field.metadata["flags"],
                dest=field.name,
                action="store_const",
                const=not field.default,
                help=text,
            )
            continue
        if field.default is not None:
            text += f" (default: {field.default})"
        flags = dict.fromkeys((f"--{name}", *field.metadata["flags"]))
        choices = get_args(kind) if get_origin(kind) is Literal else None
        group.add_argument(
            *flags,
            dest=field.name,
            type=type(choices[0]) if choices else kind,
            choices=choices,
            metavar=field.metadata["metavar"],
            help=text,
        )


def options_from(args: argparse.Namespace, options: type[Options]) -> Options:
    """The options that the arguments ask for; what was not given has its default.

    Raises
    ------
    InputError
        If the options refuse a value.
    """
    names = [field.name for field in dataclasses.fields(options)]  # type: ignore[arg-type]
    given = {name: getattr(args, name, None) for name in names}
    return options(**{name: value for name, value in given.items() if value is not None})


def _value_type(hint: Any) -> Any:
    """`float` of ``float | None``."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(each for each in get_args(hint) if each is not type(None))
    return hint
