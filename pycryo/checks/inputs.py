"""The input of a command: read, looked at, and what was found."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was read; with errors among the findings, only as far as it could be.

    Attributes
    ----------
    particles : Particles or None
    references : list of Map
    mask : Map or None
    findings : Findings
    """

    particles: Particles | None
    references: list[Map]
    mask: Map | None
    findings: Findings

    def usable(self, logger: logging.Logger) -> Particles:
        """The particles, with the warnings in a log.

        Raises
        ------
        InputError
            If there are errors; tells all of them.
        """
        self.findings.log_warnings(logger)
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
    references, mask = read_maps(wanted.references, wanted.mask, particles, findings)
    return Inputs(particles, references, mask, findings)
