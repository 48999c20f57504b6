"""What checks of the input find: errors and warnings, collected so that a user sees all of them at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from pycryo.errors import InputError


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes
    ----------
    severity : {"error", "warning"}
        With an error nothing can be done; with a warning the result may be wrong.
    code : str
        Short name of what was checked, for programs.
    text : str
        One sentence that names the file and says what to do.
    """

    severity: Literal["error", "warning"]
    code: str
    text: str


@dataclass(slots=True)
class Findings:
    """A list that grows; see `Finding`."""

    items: list[Finding] = field(default_factory=list)

    def error(self, code: str, text: str) -> None:
        """Add an error, once."""
        self._add(Finding("error", code, text))

    def warn(self, code: str, text: str) -> None:
        """Add a warning, once."""
        self._add(Finding("warning", code, text))

    @contextmanager
    def collect(self, code: str) -> Iterator[None]:
        """An `InputError` of the block becomes an error of the list, and the work goes on after the block."""
        try:
            yield
        except InputError as error:
            self.error(code, str(error))

    @property
    def errors(self) -> list[Finding]:
        """Those that forbid to go on."""
        return [each for each in self.items if each.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """The others."""
        return [each for each in self.items if each.severity == "warning"]

    def raise_errors(self) -> None:
        """Raise all errors as one `InputError`; the message of a single one is its text."""
        texts = [each.text for each in self.errors]
        if len(texts) == 1:
            raise InputError(texts[0])
        if texts:
            raise InputError(f"{len(texts)} errors in the input\n" + numbered(texts))

    def log_warnings(self, logger: logging.Logger) -> None:
        """Each warning as a line of the log."""
        for each in self.warnings:
            logger.warning("%s", each.text)

    def _add(self, found: Finding) -> None:
        if found not in self.items:
            self.items.append(found)


def numbered(texts: list[str]) -> str:
    """Texts as a list with numbers, one a line."""
    return "\n".join(f"  {number}. {text}" for number, text in enumerate(texts, 1))
