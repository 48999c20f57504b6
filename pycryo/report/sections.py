"""Sections of a page: a title, a few sentences, and a figure, each drawn apart from the others.

A section is added by a function of what the page shows, and its line in a list of `Part`. Nothing that goes wrong in it
touches the rest of the page.
"""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from pycryo.errors import InputError, RunError
from pycryo.report.figures import png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

Files = TypeVar("Files")


@dataclass(frozen=True, slots=True)
class Section:
    """What a section shows.

    Attributes
    ----------
    text : str
        What the reader sees and what it means, plain text.
    figure : Figure or bytes, optional
        Of matplotlib, or the bytes of a PNG image.
    alt : str
        The figure in words, for those who cannot see it.
    html : str
        Shown above the text, as it is: escape what is not yours.
    """

    text: str = ""
    figure: Figure | bytes | None = None
    alt: str = ""
    html: str = ""


@dataclass(frozen=True, slots=True)
class Part(Generic[Files]):
    """A section to be made of the files of a page.

    Attributes
    ----------
    title : str
    make : callable
        None where there is nothing to show.
    is_wide : bool
        It takes the page's width; others stand in pairs.
    """

    title: str
    make: Callable[[Files], Section | None]
    is_wide: bool = False


@dataclass(frozen=True, slots=True)
class Drawn:
    """A section as the template takes it; `picture` is a data URL, `problem` says why nothing is shown."""

    title: str
    is_wide: bool
    text: str = ""
    picture: str = ""
    alt: str = ""
    html: str = ""
    problem: str = ""


class NotYetError(InputError):
    """What a section shows comes with the end of the run."""


def draw(parts: Sequence[Part[Files]], files: Files) -> list[Drawn]:
    """The sections that there is something to show of, and those that failed with a sentence in their place.

    What a file lacks is told as such; any other error is a fault of pycryo and told as one, in the log as well.
    """
    drawn = []
    for part in parts:
        try:
            section = part.make(files)
            if section is not None:
                drawn.append(_drawn(part, section))
        except NotYetError as error:
            drawn.append(Drawn(part.title, part.is_wide, problem=f"{error}."))
        except (InputError, RunError, OSError) as error:
            log.warning("report, %s: %s", part.title, error)
            drawn.append(Drawn(part.title, part.is_wide, problem=f"This cannot be shown: {error}."))
        except MemoryError:
            text = "There is not enough memory to show this; run `pycryo report` on a machine with more."
            log.warning("report, %s: not enough memory", part.title)
            drawn.append(Drawn(part.title, part.is_wide, problem=text))
        except Exception as error:
            log.warning("report, %s: %s", part.title, _fault(error))
            log.debug("%s", traceback.format_exc())
            text = f"This could not be drawn: {_fault(error)}. The rest of the page does not depend on it."
            drawn.append(Drawn(part.title, part.is_wide, problem=text))
    return drawn


def _drawn(part: Part[Files], section: Section) -> Drawn:
    figure = section.figure
    picture = "" if figure is None else embedded(figure if isinstance(figure, bytes) else png(figure))
    return Drawn(part.title, part.is_wide, section.text, picture, section.alt, section.html)


def embedded(picture: bytes) -> str:
    """A PNG image as data URL."""
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


def _fault(error: Exception) -> str:
    """An error that should not happen, with its place in the program."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "pycryo" in Path(each.filename).parts]
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"an error in pycryo that should not happen ({type(error).__name__}: {error}{place}); please report it"
