"""``pycryo completion``: a script with which bash, zsh or fish completes commands, options, their values and files."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

SHELLS = ("bash", "zsh", "fish")
# Metavars that name a file or folder without saying its ending, and those that are an ending.
_PATHS = {"DIR", "FILE", "PREFIX", "RUN"}
_ENDINGS = {"MRC": "mrc", "STAR": "star"}
_INSTALL = """\
The shell reads the script from its folder of completions, in the next terminal:

  bash  pycryo completion bash > ~/.local/share/bash-completion/completions/pycryo
  zsh   pycryo completion zsh > ~/.zfunc/_pycryo    (in ~/.zshrc, before compinit: fpath+=~/.zfunc)
  fish  pycryo completion fish > ~/.config/fish/completions/pycryo.fish
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the sub-command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _INSTALL
    parser.add_argument("shell", choices=SHELLS, help="the shell that the script is for")


def run(args: argparse.Namespace) -> int:
    """Print the script; it holds all commands and options, so that completing does not start Python."""
    import shtab

    from pycryo.cli.main import build_parser

    parser = build_parser(None, is_whole=True)
    for action in _actions(parser):
        if (patterns := file_patterns(action)) is not None:
            files = shtab.glob(*patterns) if patterns else shtab.FILE
            # Known to shtab by this attribute, which argparse's types do not have.
            vars(action)["complete"] = shtab.DIRECTORY if action.metavar == "DIR" else files
    print(shtab.complete(parser, shell=args.shell))
    return 0


def file_patterns(action: argparse.Action) -> tuple[str, ...] | None:
    """Patterns of the files that an argument may name: none for any file or folder; None where it is no path.

    The metavar tells them: ``REF.mrc`` is a file that ends in ``.mrc``, ``RUN`` a folder, ``RUN|PARTICLES.star``
    either. Shells offer folders beside the files of a pattern.
    """
    metavars = action.metavar if isinstance(action.metavar, tuple) else (str(action.metavar),)
    words = [word for metavar in metavars for word in re.split(r"[ |]+", metavar)]
    endings = {_ENDINGS.get(word) or word.rpartition(".")[2] for word in words if word in _ENDINGS or "." in word}
    if not endings and action.type is not Path and not _PATHS & {*words}:
        return None
    return tuple(sorted(f"*.{ending}" for ending in endings))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Options and arguments of a parser and of its commands'."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from _actions(sub)
        elif action.nargs != 0:
            yield action
