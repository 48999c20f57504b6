"""Pictures of the phase errors of optics groups."""

from __future__ import annotations

from pathlib import Path

from pycryo.io.atomic import write_bytes
from pycryo.io.particles import Particles
from pycryo.refinement.optics.found import Found, GroupFound
from pycryo.report.figures import png
from pycryo.report.optics_figures import PHASES, phase_figure

# Of the name of an optics group in that of its picture: file names have at most 255 bytes, a letter up to 4.
_MOST_LETTERS = 48


def write_phases(folder: Path, found: Found) -> None:
    """Write ``run_phases_GROUP.png`` of each group in which something was found, atomically. For one rank.

    Raises
    ------
    InputError, RunError
        If a file cannot be written.
    """
    for each in found.groups:
        if each.is_significant:
            write_bytes(folder / f"run_{picture_name(found.particles, each.group)}", picture(found.particles, each))


def picture_name(after: Particles, group: int) -> str:
    """``phases_GROUP.png``, with the number of the group where others would have the same name."""
    names = [name[:_MOST_LETTERS] for name in after.optics.name]
    safe = ["".join(c if c.isalnum() or c in "-_" else "_" for c in name) for name in names]
    number = f"_{after.optics.number[group]}" if safe.count(safe[group]) > 1 else ""
    return f"{PHASES}_{safe[group]}{number}.png"


def picture(after: Particles, each: GroupFound) -> bytes:
    """The phase errors of a group as PNG; `after` are the particles of the result."""
    seen, fitted = each.phases(after)
    optics = after.optics
    step = 1 / float(optics.box[each.group] * optics.pixel_size[each.group])
    added = [part.name for part in each.parts if part.is_added]
    title = f"{optics.name[each.group]}, {each.evidence.n} particles, beyond what the file stated\n"
    title += f"added: {', '.join(added)}" if added else "nothing of it is significant, nothing added"
    return png(phase_figure(title, each.evidence.pixels, seen, fitted, step))
