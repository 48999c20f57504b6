"""Output files of a refinement, under the names that RELION uses."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pycryo.findings import Finding
from pycryo.io.particles import Particles
from pycryo.parallel.comm import Comm
from pycryo.refinement.files.data_star import write_data_star, write_rejected
from pycryo.refinement.files.half_maps import class_name, write_maps
from pycryo.refinement.files.job import remove_iterations, remove_results
from pycryo.refinement.files.model_star import write_model_star
from pycryo.refinement.files.run_json import kept_amplitude, write_run_json
from pycryo.refinement.options import KEPT_ITERATIONS, RefineOptions
from pycryo.refinement.outcome import Outcome, Record
from pycryo.refinement.setup import Setup
from pycryo.report.angdist import sampling_factor, view_directions, write_angdist
from pycryo.report.fsc_files import write_fsc_star, write_fsc_xml
from pycryo.report.gaps import told_return
from pycryo.report.verdict import poses_warning, thickness_warning, views_warning

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Writer:
    """Writes the files of each iteration and, after the last one, those of the result: an `Observer` of `run`.

    Half-maps, particles and model of every iteration are written unless `RefineOptions.keep_iterations` is "none"; if
    it is "last", those of older iterations go when newer ones are durable.

    Maps are written by all ranks. They appear, and the rest is written, in the background of the next iteration
    (`Setup.background`), whose end raises what went wrong; the result is there before the call returns. Every file
    appears whole.

    Attributes
    ----------
    folder : Path
        Exists.
    particles : Particles
    options : RefineOptions
    comm : Comm
    inputs : mapping of str to str
        What was read, for run.json.
    findings : list of Finding
        What the checks of the input told, for run.json.
    has_written : bool
        Something was written, or begun to be.
    """

    folder: Path
    particles: Particles
    options: RefineOptions
    comm: Comm
    inputs: Mapping[str, str] | None = None
    findings: Sequence[Finding] = ()
    has_written: bool = False

    def __call__(self, setup: Setup, outcome: Outcome, history: list[Record]) -> None:
        """Write what an iteration found. Collective.

        Raises
        ------
        InputError, RunError
            If a file cannot be written; on all ranks.
        """
        if not self.has_written and len(history) == 1 and self.comm.rank == 0:
            remove_results(self.folder)
        self.has_written = True
        later = setup.background.add
        write_maps(self.folder, setup.box, outcome, keep_iterations=self._kept != 0, later=later)
        if self.comm.rank == 0:
            later(partial(self._write, setup, outcome, list(history)))
        if outcome.is_final:
            setup.background.settle(self.comm)

    def _write(self, setup: Setup, outcome: Outcome, history: list[Record]) -> None:
        began = time.perf_counter()
        assert outcome.poses is not None
        if self._kept != 0:
            self._write_iteration(setup, outcome)
        views = view_directions(outcome.poses.quaternion, setup.group)
        for k, maps in enumerate(outcome.classes, 1):
            write_fsc_star(self.folder / f"{class_name('run_fsc', k)}.star", maps.fsc)
            write_fsc_xml(self.folder / f"{class_name('run_fsc', k)}.xml", maps.fsc)
            mine = outcome.poses.quaternion[outcome.poses.class_index == k - 1]
            write_angdist(
                self.folder / f"run_class{k:03d}_angdist.bild",
                view_directions(mine, setup.group),
                centre=setup.box // 2 * setup.pixel_size,
                radius=0.55 * setup.diameter,
            )
        sampling = sampling_factor(views)
        if outcome.is_final:
            self._write_result(setup, outcome)
            _warn(setup, outcome, sampling)
        write_run_json(
            self.folder / "run.json",
            setup,
            history,
            is_done=outcome.is_final,
            sampling=sampling,
            inputs=self.inputs or {"particles": str(self.particles.path)},
            findings=self.findings,
            returns=[told_return(maps.fsc) for maps in outcome.classes],
        )
        if self._kept is not None:
            remove_iterations(self.folder, outcome.record.number - self._kept)
        log.debug("iteration %d written in %.1f s", outcome.record.number, time.perf_counter() - began)

    @property
    def _kept(self) -> int | None:
        """Iterations whose files stay; None: all."""
        return KEPT_ITERATIONS[self.options.keep_iterations]

    def _write_iteration(self, setup: Setup, outcome: Outcome) -> None:
        prefix = f"run_it{outcome.record.number:03d}"
        assert outcome.poses is not None
        self._write_particles(f"{prefix}_data.star", setup, outcome)
        self._write_model(f"{prefix}_model.star", f"{prefix}_half1_class", setup, outcome)

    def _write_result(self, setup: Setup, outcome: Outcome) -> None:
        assert outcome.poses is not None
        self._write_particles("run_data.star", setup, outcome)
        self._write_model("run_model.star", "run_class", setup, outcome)
        write_rejected(self.folder / "run_rejected.star", self.particles, setup.statistics.left_out)

    def _write_model(self, name: str, of_map: str, setup: Setup, outcome: Outcome) -> None:
        maps = [os.fspath(self.folder / f"{of_map}{k:03d}.mrc") for k in range(1, len(outcome.classes) + 1)]
        write_model_star(self.folder / name, setup, outcome, maps)

    def _write_particles(self, name: str, setup: Setup, outcome: Outcome) -> None:
        assert outcome.poses is not None
        half, norm, changes = setup.partition.half, setup.statistics.norm, dict(outcome.state.optics_changes)
        write_data_star(self.folder / name, self.particles, outcome.poses, half, norm, changes)


def _warn(setup: Setup, outcome: Outcome, sampling: float) -> None:
    """Log what makes the map doubtful, and what it holds beyond its resolution."""
    for k, maps in enumerate(outcome.classes, 1):
        if told := told_return(maps.fsc):
            which = f"class {k}: " if len(outcome.classes) > 1 else ""
            log.info(
                "%sbeyond the gap after %.2f Å the signal comes back, to %.2f Å: the map holds it",
                which, maps.fsc.resolution_0143, told["resolution"],
            )  # fmt: skip
    record, n = outcome.record, setup.partition.n
    unknown = poses_warning(record.spread_rotation, record.resolution, setup.options.ini_high, setup.group)
    for verdict in (unknown, views_warning(sampling, n), thickness_warning(kept_amplitude(setup, record.resolution))):
        if verdict is not None:
            log.warning("%s", verdict)
