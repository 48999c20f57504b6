"""The input of a command: read, looked at, and what was found."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pycryo.checks.half_sets import CODES as HALF_SET_CODES
from pycryo.checks.half_sets import check_half_sets
from pycryo.checks.labels import check_labels
from pycryo.checks.maps import check_limits, read_maps
from pycryo.checks.particles import check_particles
from pycryo.findings import Findings
from pycryo.io.particles import Particles, examine_particles
from pycryo.maps.density import Map


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a command reads, and for what.

    Attributes
    ----------
    particles : path
        STAR file.
    particles_dir : path, optional
        See `pycryo.io.particles.read_particles`.
    ignored : tuple of str
        Optics to go on without.
    references : tuple of paths
    mask : path, optional
    ctf : bool
        A CTF will be applied.
    poses : str
        What to do if the file has no poses, for a message; empty if they do not count.
    priors : bool
        Prior columns of the poses are used.
    low_pass : mapping of str to float
        Options with a resolution, Å.
    diameter : float, optional
        Å.
    half_sets : str
        "drawn" where the command draws them, and tells then what is to be told of them and of copies; "used" where it
        takes those of the file; "" where they do not count.
    """

    particles: str | Path
    particles_dir: str | Path | None = None
    ignored: tuple[str, ...] = ()
    references: tuple[str | Path, ...] = ()
    mask: str | Path | None = None
    ctf: bool = True
    poses: str = ""
    priors: bool = False
    low_pass: Mapping[str, float] | None = None
    diameter: float | None = None
    half_sets: Literal["drawn", "used", ""] = "drawn"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was read; with errors among the findings, only as far as it could be.

    Attributes
    ----------
    particles : Particles or None
    references : list of Map
    mask : Map or None
    findings : Findings
    told_later : tuple of str
        Codes of those that the command tells by itself if nothing is wrong.
    """

    particles: Particles | None
    references: list[Map]
    mask: Map | None
    findings: Findings
    told_later: tuple[str, ...] = ()

    def usable(self, logger: logging.Logger) -> Particles:
        """The particles, with the warnings in a log.

        Raises
        ------
        InputError
            If there are errors; tells all of them.
        """
        Findings([each for each in self.findings.items if each.code not in self.told_later]).log_warnings(logger)
        self.findings.raise_errors()
        assert self.particles is not None
        return self.particles


def examine(wanted: Wanted) -> Inputs:
    """Read everything that is wanted and look at it; nothing is raised for what is wrong. One rank."""
    findings = Findings()
    particles = examine_particles(
        wanted.particles, findings, particles_dir=wanted.particles_dir, ignore_optics=wanted.ignored
    )
    if particles is not None:
        check_labels(particles, findings, uses_priors=wanted.priors)
        check_particles(particles, findings, uses_ctf=wanted.ctf, poses=wanted.poses)
        check_limits(particles, findings, wanted.low_pass or {}, wanted.diameter)
        if wanted.half_sets:
            check_half_sets(particles, findings, wanted.diameter)
    references, mask = read_maps(wanted.references, wanted.mask, particles, findings)
    later = HALF_SET_CODES if wanted.half_sets == "drawn" and not findings.errors else ()
    return Inputs(particles, references, mask, findings, later)
