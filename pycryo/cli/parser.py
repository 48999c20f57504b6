"""Command lines that are wrong are told with the command's usage in a line, and what may have been meant."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors come with one line of usage: all options would fill the screen."""

    def error(self, message: str) -> NoReturn:
        """Tell the usage and what is wrong, and exit with code 2."""
        self.exit(2, f"usage: {usage_line(self)}\n{self.prog}: error: {message}\n")

    def refuse_unknown(self, words: Sequence[str]) -> None:
        """Exit with code 2 if an option among the words of the command line is not known; proposes one that is."""
        known = self._option_string_actions
        for word in words:
            if word == "--":
                return
            name = word.partition("=")[0]
            if not name.startswith("--") or name in known:
                continue
            if self.allow_abbrev and any(each.startswith(name) for each in known):
                continue
            meant = self._nearest(name)
            self.error(f"there is no option {name}" + (f": did you mean {meant}?" if meant else ""))

    def _nearest(self, name: str) -> str | None:
        """The option most like a name: of those that the help shows, or else of all."""
        shown = {key for key, action in self._option_string_actions.items() if action.help != argparse.SUPPRESS}
        for names in (shown, set(self._option_string_actions)):
            plain = {each.lower().replace("_", "-"): each for each in sorted(names, reverse=True) if each[:2] == "--"}
            asked = name.lower().replace("_", "-")
            begins = sorted((each for each in plain if each.startswith(asked)), key=len)
            found = begins or difflib.get_close_matches(asked, plain, 1, 0.7)
            if found:
                return plain[found[0]]
        return None


def usage_line(parser: argparse.ArgumentParser) -> str:
    """The command, what it cannot do without, and ``[options]``."""
    words = [parser.prog]
    for action in parser._actions:
        name = str(action.metavar or action.dest) if not isinstance(action.metavar, tuple) else " ".join(action.metavar)
        if not action.option_strings:
            words.append(f"[{name}]" if action.nargs in ("?", "*") else f"{name} ..." if action.nargs == "+" else name)
        elif action.required:
            words.append(action.option_strings[0] if action.nargs == 0 else f"{action.option_strings[0]} {name}")
    return " ".join([*words, "[options]"])
