"""A finished refinement, for programs: maps, poses, particles, and the files that the command makes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from pycryo.arguments import flag, instance, path, whole_number
from pycryo.display import html_columns
from pycryo.errors import InputError
from pycryo.io.particles import Particles
from pycryo.maps.density import Map
from pycryo.maps.fsc import Fsc
from pycryo.maps.slab_map import gather, resample_grid
from pycryo.parallel.collective_errors import on_root
from pycryo.refinement.files import closing
from pycryo.refinement.files.data_star import found_columns
from pycryo.refinement.files.job import SUCCESS, JobFolder, remove_results
from pycryo.refinement.files.lock import FolderLock
from pycryo.refinement.files.outputs import Writer
from pycryo.refinement.outcome import Outcome, Poses, Record
from pycryo.refinement.setup import Setup

if TYPE_CHECKING:
    import pandas as pd


def half_maps(setup: Setup, outcome: Outcome, k: int = 1) -> tuple[Map, Map] | None:
    """The half-maps of class k = 1, 2, ... after an iteration, for observers; None but on rank 0. Collective.

    Parameters
    ----------
    setup : Setup
    outcome : Outcome
        What the observer gets.
    k : int

    Returns
    -------
    two Map, or None
        Unfiltered and unmasked, of the images' box.

    Examples
    --------
    >>> def observer(setup, outcome, history):
    ...     first, second = pycryo.half_maps(setup, outcome)
    ...     print(history[-1].number, first.box, np.corrcoef(first.data.ravel(), second.data.ravel())[0, 1] > 0.5)
    >>> start = pycryo.resample(pycryo.read_map(pycryo.betagal() / "reference_40A.mrc"), 24, 13.66)
    >>> particles = pycryo.simulate(start, n=40, snr=1.0, shift_sd=0.5)
    >>> result = pycryo.refine(particles, start, pycryo.RefineOptions(max_iter=1), observer=observer)
    1 24 True
    2 24 True
    """
    instance("setup", setup, Setup, "as the observer gets it")
    instance("outcome", outcome, Outcome, "as the observer gets it")
    k = whole_number("k", k, 1)
    if k > len(outcome.classes):
        raise InputError(f"k: expected a class from 1 to {len(outcome.classes)}, got {k}")
    first, second = (gather(resample_grid(each, setup.box)) for each in outcome.classes[k - 1].half_maps)
    return None if first is None or second is None else (first, second)


@dataclass(frozen=True, slots=True)
class ClassResult:
    """Final maps of one class, on rank 0 only (None elsewhere) and only if they were asked for.

    Attributes
    ----------
    map : Map or None
        Of all data, Wiener-filtered.
    half_maps : two Map, or None
        Unfiltered, unmasked.
    fsc : Fsc
    share : float
        Part of the particles.
    """

    map: Map | None
    half_maps: tuple[Map, Map] | None
    fsc: Fsc
    share: float

    def __repr__(self) -> str:
        return f"ClassResult({self.map}, {self.fsc}, share {self.share:.3g})"


@dataclass(frozen=True, slots=True)
class Result:
    """A finished refinement.

    Attributes
    ----------
    classes : tuple of ClassResult
    poses : Poses or None
        On rank 0 only.
    resolution : float
        Corrected FSC 0.143 of the best class, Å.
    history : list of Record
    setup : Setup
    outcome : Outcome
        Of the final iteration; with `setup` what files are made of.
    """

    classes: tuple[ClassResult, ...]
    poses: Poses | None
    resolution: float
    history: list[Record]
    setup: Setup = field(repr=False)
    outcome: Outcome = field(repr=False)

    def __repr__(self) -> str:
        n, classes = self.setup.partition.n, "" if len(self.classes) == 1 else f"{len(self.classes)} classes, "
        return f"Result({self.resolution:.4g} Å, {n} particles, {classes}{len(self.history)} iterations)"

    def _repr_html_(self) -> str:
        """The iterations as a table, for notebooks."""
        rows = [
            (each.number, each.stage, *(f"{x:.3g}" for x in (each.resolution, each.spread_rotation, each.spread_shift)))
            for each in self.history
        ]
        return html_columns(repr(self), ("iteration", "stage", "Å", "orientations ±°", "shifts ±Å"), rows)

    def frame(self) -> pd.DataFrame:
        """The figures of all iterations in a DataFrame, those of `Record` that are numbers or text."""
        import pandas as pd

        names = [each.name for each in fields(Record)]
        rows = [{name: getattr(each, name) for name in names} for each in self.history]
        plain = [name for name in names if all(isinstance(row[name], (int, float, str)) for row in rows)]
        return pd.DataFrame(rows, columns=plain).set_index("number")

    @property
    def particles(self) -> Particles | None:
        """Those that could be used, with the angles, origins, half-sets, classes and defoci found; on rank 0 only.

        As in run_data.star, which `write_particles` makes of them.
        """
        if self.poses is None:
            return None
        partition, changes = self.setup.partition, dict(self.outcome.state.optics_changes)
        norm = self.setup.statistics.norm
        found, columns = found_columns(partition.particles, self.poses, partition.half, norm, changes)
        return found.updated(columns)

    def write(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the files of the result as ``pycryo refine`` does: maps, particles, FSC, run.json, report. Collective.

        Parameters
        ----------
        folder : path
            Made if needed.
        overwrite : bool
            An earlier run's files may be there, and go.

        Raises
        ------
        InputError, RunError
            If it cannot be written, or holds a run; on all ranks.
        """
        comm, setup = self.setup.partition.comm, self.setup
        where, overwrite = path("folder", folder), flag("overwrite", overwrite)
        taken: list[tuple[JobFolder, FolderLock]] = []
        on_root(comm, lambda: taken.append(JobFolder.prepare(where, overwrite=overwrite)))
        try:
            options = replace(setup.options, keep_iterations="none")
            on_root(comm, lambda: remove_results(where))
            Writer(where, setup.partition.particles, options, comm)(setup, self.outcome, self.history)
            on_root(comm, lambda: closing.sharpen(where))
            on_root(comm, lambda: closing.report(where))
            on_root(comm, lambda: taken[0][0].end(SUCCESS))
        finally:
            for _, lock in taken:
                lock.release()

    @property
    def map(self) -> Map | None:
        """That of the first class."""
        return self.classes[0].map

    @property
    def half_maps(self) -> tuple[Map, Map] | None:
        """Those of the first class."""
        return self.classes[0].half_maps

    @property
    def fsc(self) -> Fsc:
        """That of the first class."""
        return self.classes[0].fsc
