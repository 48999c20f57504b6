"""References and masks, and limits in Å, against the images that they are for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pycryo.errors import InputError
from pycryo.findings import Findings
from pycryo.io.mrc import read_map, read_mask
from pycryo.io.particles import Particles
from pycryo.maps.density import Map
from pycryo.maps.masks import is_inside_out

# Pixel sizes that differ by less than this share are the same; headers are written with few digits.
SAME_PIXEL = 0.01


def usual_grid(particles: Particles) -> tuple[int, float] | None:
    """Box and pixel size, Å, of most images; None where the file does not tell."""
    optics = particles.optics
    count = np.bincount(particles.optics_group, minlength=len(optics))
    group = int(count.argmax())
    box, pixel_size = int(optics.box[group]), float(optics.pixel_size[group])
    return (box, pixel_size) if box > 0 and pixel_size > 0 else None


def check_limits(
    particles: Particles, findings: Findings, low_pass: Mapping[str, float], diameter: float | None
) -> None:
    """Refuse what is wider than the images: a diameter, and resolutions (by the name of their option) of which the
    images hold no shell."""
    grid = usual_grid(particles)
    if grid is None:
        return
    field = grid[0] * grid[1]
    for option, value in low_pass.items():
        with findings.collect("low-pass"):
            refuse_coarse(option, value, *grid)
    if diameter is not None and diameter > field:
        findings.error(
            "diameter",
            f"the particle diameter {diameter:.0f} Å is larger than the images ({field:.0f} Å): give a smaller "
            "--diameter",
        )


def refuse_coarse(option: str, value: float, box: int, pixel_size: float) -> None:
    """Refuse a resolution, Å, that leaves no detail in a box of so many px and Å.

    Raises
    ------
    InputError
        Naming the option.
    """
    field = box * pixel_size
    if value > 0.5 * field:
        raise InputError(
            f"{option} is {value:g} Å, but the box is only {field:.0f} Å wide: only a blob would be left; give at most "
            f"{0.5 * field:.0f} Å, or check the pixel size ({pixel_size:g} Å)"
        )


def read_maps(
    references: Sequence[str | Path], mask: str | Path | None, particles: Particles | None, findings: Findings
) -> tuple[list[Map], Map | None]:
    """Read what can be read; errors and warnings go to `findings`."""
    grid = None if particles is None else usual_grid(particles)
    maps: list[Map] = []
    for path in references:
        with findings.collect("reference"):
            maps.append(read_map(path, findings=findings))
            compare_grid(maps[-1], path, grid, findings)
    found: list[Map] = []
    with findings.collect("mask"):
        if mask is not None:
            found.append(read_mask(mask, findings=findings))
            compare_grid(found[0], mask, grid, findings)
            check_mask(found[0], mask, findings)
    return maps, found[0] if found else None


def compare_grid(source: Map, path: str | Path, grid: tuple[int, float] | None, findings: Findings) -> None:
    """Warn of a map of the same box, but not of the same pixel size, and of one of just 1 Å: it may be wrong.

    Parameters
    ----------
    source : Map
    path : path
        Its file.
    grid : (int, float) or None
        Box, px, and pixel size, Å, of what it is for.
    findings : Findings
    """
    if grid is None or abs(source.pixel_size / grid[1] - 1) <= SAME_PIXEL:
        return
    if source.box != grid[0]:
        field = grid[0] * grid[1]
        if source.pixel_size == 1 and abs(source.box / field - 1) > SAME_PIXEL:
            findings.warn(
                "pixel size",
                f"{path} has pixels of 1 Å in its header, which some programs write that do not know it, and is "
                f"{source.box} Å wide, not {field:.0f} Å: if that is wrong, correct the header",
            )
        return
    findings.warn(
        "pixel size",
        f"{path} has a box of {grid[0]} px as well, but pixels of {source.pixel_size:g} Å, not {grid[1]:g} Å: it is "
        "rescaled; if its header is wrong, correct it",
    )


def check_mask(mask: Map, path: str | Path, findings: Findings) -> None:
    """Warn of a mask that keeps the solvent and takes out the molecule."""
    if is_inside_out(mask.data):
        findings.warn(
            "mask",
            f"{path} is 1 at the faces of its box and lower within: a mask has 1 where the molecule is; if it is "
            "inside out, take 1 - mask",
        )
