"""``.. command:: NAME``: usage and options of a sub-command, from its own parser."""

import argparse
from collections.abc import Iterator

from sphinx.application import Sphinx

from pycryo.cli.main import COMMANDS, build_parser
from pycryo.cli.parser import usage_line
from pycryo_docs.restructured import TextDirective, indented, plain


def sub_parser(name: str) -> argparse.ArgumentParser:
    """The parser of a sub-command."""
    parser = build_parser(name)
    (commands,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return commands.choices[name]


def spelling(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """All spellings of an argument, each with what follows it."""
    formatter = parser._get_formatter()
    if not action.option_strings:
        return str(action.metavar or action.dest)
    value = formatter._format_args(action, formatter._get_default_metavar_for_optional(action))
    # Sphinx takes square brackets for a whole option that may be left out.
    return ", ".join(f"{flag} {value}".rstrip() for flag in action.option_strings)


def meaning(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """The help of an argument, with its default."""
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    tells_default = "default" in text or action.default in (None, False, argparse.SUPPRESS, [], "")
    tells_default |= f"({action.default})" in text
    return text if tells_default or action.nargs == 0 else f"{text} (default: {action.default})"


def sentence(text: str) -> str:
    """A line of help as one."""
    return f"{text[:1].upper()}{text[1:]}."


class Command(TextDirective):
    """Usage, and each group of arguments."""

    def text(self) -> Iterator[str]:
        name = self.arguments[0]
        parser = sub_parser(name)
        yield from (f".. program:: pycryo {name}", "", plain(sentence(parser.description or "")), "")
        yield from (".. code-block:: text", "", indented(usage_line(parser)), "")
        for group in parser._action_groups:
            shown = [each for each in group._group_actions if each.help != argparse.SUPPRESS and each.dest != "help"]
            if not shown:
                continue
            title = {"positional arguments": "Arguments", "options": "Options"}.get(group.title or "", group.title)
            yield from (f".. rubric:: {title}", "")
            if group.description:
                yield from (plain(group.description), "")
            for action in shown:
                yield from (f".. option:: {spelling(action, parser)}", "", indented(plain(meaning(action, parser))), "")


class CommandTable(TextDirective):
    """``.. command-table::``: each sub-command and what it does."""

    required_arguments = 0

    def text(self) -> Iterator[str]:
        yield from (".. list-table::", "")
        for name, (_, summary) in COMMANDS.items():
            yield from (f"   * - :ref:`pycryo {name} <pycryo-{name}>`", f"     - {plain(summary)}")


def setup(app: Sphinx) -> None:
    app.add_directive("command", Command)
    app.add_directive("command-table", CommandTable)
