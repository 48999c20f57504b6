"""The refinement: iterations of expectation and maximization until nothing improves.

See docs/architecture.md, Floors and the road of data.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from pycryo.arguments import flag, instance, path
from pycryo.errors import InputError
from pycryo.io.aberrations import parse_kinds
from pycryo.io.mrc import read_mask
from pycryo.io.particles import Particles
from pycryo.io.sources.scratch import on_scratch
from pycryo.maps.density import Map
from pycryo.maps.slab_map import gather, resample_grid
from pycryo.option_fields import given_or_default
from pycryo.parallel.collective_errors import on_all, on_root
from pycryo.parallel.comm import Comm
from pycryo.parallel.world import as_comm
from pycryo.progress import Progress, check_listener, raise_held, told_to
from pycryo.refinement.data.figure_of_merit import describe as describe_quality
from pycryo.refinement.files.saved.checkpoint import check, checkpoint_file, load, save
from pycryo.refinement.files.saved.measured import Measured
from pycryo.refinement.files.saved.unfinished import Unfinished
from pycryo.refinement.optics.during import is_time, with_optics
from pycryo.refinement.options import RefineOptions
from pycryo.refinement.outcome import ClassMaps, Observer, Outcome, Record
from pycryo.refinement.resources.balance import balance, describe
from pycryo.refinement.resources.work_plan import tell
from pycryo.refinement.result import ClassResult, Result
from pycryo.refinement.setup import Setup
from pycryo.refinement.start.first_setup import set_up
from pycryo.refinement.start.first_state import first_state
from pycryo.refinement.state import State
from pycryo.refinement.step import iterate
from pycryo.threads import set_threads

log = logging.getLogger(__name__)


def refine(
    particles: Particles,
    reference: Map | Sequence[Map] | None,
    options: RefineOptions | None = None,
    *,
    comm: Any = None,
    mask: Map | None = None,
    observer: Observer | None = None,
    progress: Progress | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> Result:
    """Determine a structure: orientations of all particles and the map. Collective.

    Parameters
    ----------
    particles : Particles
        From `pycryo.read_particles`; the same on every rank.
    reference : Map, or sequence of Map
        Start, or that of each class; any box and pixel size. Needed on rank 0 only; not with ``options.local``, where
        it can be made of the particles' poses.
    options : RefineOptions, optional
    comm : mpi4py communicator, optional
        Default: this process alone.
    mask : Map, optional
        Soft mask of the molecule, in place of the file ``options.mask``. Rank 0's counts.
    observer : callable, optional
        Called on every rank after each iteration with the `Setup`, the `Outcome` and the records so far;
        `pycryo.half_maps` brings its maps to rank 0. If it returns True on rank 0, the run ends with one more iteration
        and the final one. examples/observer.py draws and ends a run so. An exception on one rank ends the run on all.
    progress : callable, optional
        Called on rank 0 with the fraction done, 0 to 1, and the name of the phase, such as "iteration 3, scan": often,
        and at the beginning and end of each phase. It changes nothing. An exception ends the run on all ranks, among
        several ones after the iteration.
    checkpoint : path, optional
        Folder for the state of the run, written before the first iteration and after each but the final one; what an
        iteration of many minutes has found is written during it, too.
    resume : bool
        Go on from the state in `checkpoint`. The result is that of an uninterrupted run, whatever the number of ranks
        and threads.

    Returns
    -------
    Result
        Its maps on rank 0, which must have the memory for them; `refine_slabs` leaves them dealt to the ranks.

    Raises
    ------
    InputError
        If particles, reference or mask cannot be used, or the checkpoint is missing or of another run.
    RunError
        If the checkpoint cannot be written.

    Examples
    --------
    >>> start = pycryo.resample(pycryo.read_map(pycryo.betagal() / "reference_40A.mrc"), 24, 13.66)
    >>> particles = pycryo.simulate(start, n=40, snr=1.0, shift_sd=0.5)
    >>> result = pycryo.refine(particles, start, pycryo.RefineOptions(symmetry="D2", max_iter=1))
    >>> result.map.box, [record.stage for record in result.history]
    (24, ['global', 'final'])
    """
    instance("particles", particles, Particles, "from read_particles")
    check_listener(progress)
    comm = as_comm(comm)
    with told_to(progress if comm.rank == 0 else None, holds_errors=comm.size > 1):
        found = refine_slabs(
            particles, reference, options, comm=comm, mask=mask, observer=observer, checkpoint=checkpoint, resume=resume
        )
    shares = [each.share for each in found.classes]
    maps = zip(found.outcome.classes, shares, strict=True)
    return replace(found, classes=tuple(_gathered(found.setup, *each) for each in maps))


def refine_slabs(
    particles: Particles,
    reference: Map | Sequence[Map] | None,
    options: RefineOptions | None = None,
    *,
    comm: Any = None,
    mask: Map | None = None,
    observer: Observer | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> Result:
    """`refine` whose maps stay dealt to the ranks, in `Result.outcome`; those of the classes are None. Collective."""
    options = given_or_default(RefineOptions, options)
    if observer is not None and not callable(observer):
        raise InputError(f"observer: expected a callable or None, got {type(observer).__name__}")
    if mask is not None:
        instance("mask", mask, Map, "from read_map")
    resume = flag("resume", resume)
    if checkpoint is not None:
        path("checkpoint", checkpoint)
    if options.threads is not None:
        set_threads(options.threads)
    if resume and checkpoint is None:
        raise InputError("resume needs the folder of the checkpoint")
    comm = as_comm(comm)
    _refuse_ignored(particles, options)
    if mask is None and options.mask is not None:
        mask = _read_mask(comm, options.mask)
    if resume and checkpoint is not None:
        check(comm, particles, options, checkpoint)
    measured = None if checkpoint is None else Measured(Path(checkpoint), resume)
    with on_scratch(comm, particles, options.scratch) as copied:
        setup, starts = set_up(comm, copied, reference, mask, options, measured)
        try:
            on_all(comm, raise_held)
            outcome, history = _iterations(setup, starts, observer, checkpoint, resume=resume)
        finally:
            setup.background.close()
    shares = outcome.record.class_share
    dealt = zip(outcome.classes, shares, strict=True)
    classes = tuple(ClassResult(None, None, maps.fsc, share) for maps, share in dealt)
    return Result(classes, outcome.poses, outcome.record.resolution, history, setup, outcome)


def _refuse_ignored(particles: Particles, options: RefineOptions) -> None:
    """Raise InputError if the particles were read with corrections that the options are to go without."""
    ignored = set(parse_kinds(options.ignore_optics)) & particles.optics.kinds
    if ignored:
        raise InputError(
            f"ignore_optics: these particles have {', '.join(sorted(ignored))}: give ignore_optics to read_particles, "
            "which leaves it out"
        )


def _read_mask(comm: Comm, path: str) -> Map | None:
    """The mask, on rank 0 only. Collective."""
    found: list[Map] = []
    on_root(comm, lambda: found.append(read_mask(path)))
    return found[0] if found else None


def _iterations(
    setup: Setup,
    starts: list[Map],
    observer: Observer | None,
    checkpoint: str | os.PathLike[str] | None,
    *,
    resume: bool,
) -> tuple[Outcome, list[Record]]:
    """All of them, or those after the state in `checkpoint`, as `refine`. Collective."""
    history: list[Record] = []
    unfinished = None if checkpoint is None else Unfinished(Path(checkpoint))
    if resume and checkpoint is not None and unfinished is not None:
        state, history = load(setup, checkpoint)
        log.info("continued after iteration %d, from %s", state.number, checkpoint_file(checkpoint))
        unfinished.resume(setup, state)
    else:
        state = first_state(setup, starts)
        if checkpoint is not None and unfinished is not None:
            unfinished.clear(setup.partition.comm)
            unfinished.begin(setup, state, save(setup, state, history, checkpoint, setup.background.add))
            setup.background.start()
    for line in tell(setup, state).splitlines():
        log.log(_level(line), "%s", line)

    def after_iteration(setup: Setup, outcome: Outcome, history: list[Record]) -> bool:
        wants_end = on_all(setup.partition.comm, lambda: _observed(observer, setup, outcome, history))
        if checkpoint is None or unfinished is None:
            return wants_end
        final = outcome.record.stage == "final"
        mark = "" if final else save(setup, outcome.state, history, checkpoint, setup.background.add)
        unfinished.end(setup.background)
        if not final:
            unfinished.begin(setup, outcome.state, mark)
        return wants_end

    return run(setup, state, after_iteration, history, unfinished)


def _observed(observer: Observer | None, setup: Setup, outcome: Outcome, history: list[Record]) -> bool:
    """What the user's observer says, after what the user's progress callback has raised."""
    raise_held()
    return observer is not None and observer(setup, outcome, history) is True


def _gathered(setup: Setup, maps: ClassMaps, share: float) -> ClassResult:
    """Maps of a class on rank 0. Collective."""
    assert maps.map is not None
    final, first, second = (gather(resample_grid(each, setup.box)) for each in (maps.map, *maps.half_maps))
    half_maps = None if first is None or second is None else (first, second)
    return ClassResult(final, half_maps, maps.fsc, share)


def run(
    setup: Setup,
    state: State,
    observer: Observer | None = None,
    history: Sequence[Record] = (),
    unfinished: Unfinished | None = None,
) -> tuple[Outcome, list[Record]]:
    """Iterate from `state`, which the iterations in `history` led to, until the final one is done. Collective.

    The communicators of `setup` are given back. `unfinished` is that of `state`; the observer sees to it after each
    iteration. The files of an iteration are there, or have failed, when the next one
    is done.
    """
    history = list(history)
    while True:
        final = state.schedule.stage == "final"
        # A part of the images takes too short a time to tell the load, and so do those whose posteriors were there.
        tells_load = state.schedule.part == 0 and (unfinished is None or not unfinished.n_kept)
        with nullcontext() if unfinished is None else unfinished:
            outcome = iterate(setup, state, unfinished)
        setup.background.settle(setup.partition.comm)
        record = outcome.record
        history.append(record)
        found = ""
        if is_time(setup, outcome):
            outcome, found = with_optics(setup, outcome)
        log.info("%s", in_a_line(record))
        for line in _details(setup, record):
            log.debug("%s", line)
        if found:
            log.info("%s", found)
        if final:
            quality = describe_quality(record.n_junk, sum(record.load.particles), record.score_threshold)
            log.info(
                "%s%s", quality, "; they hardly enter the map, pycryo select leaves them out" * (record.n_junk > 0)
            )
        wants_end = observer is not None and observer(setup, outcome, history) is True
        setup.background.start()
        if final:
            setup.free()
            return outcome, history
        state = outcome.state
        if setup.partition.comm.broadcast(wants_end) and state.schedule.stage != "final":
            log.info("the observer ends the run: one more iteration, and the final one")
            setup = replace(setup, options=replace(setup.options, max_iter=record.number + 2))
        if tells_load:
            setup, state = balance(setup, state, record.load)


def in_a_line(record: Record) -> str:
    """An iteration as the log tells it: what was reached, how sure the poses are, and what follows.

    It begins as RELION's line does, which scripts look for.
    """
    what = "final iteration" if record.stage == "final" else f"{record.stage} search"
    shares = record.class_share
    classes = (
        f", classes with {' : '.join(f'{100 * each:.0f}' for each in shares)} % of them" if len(shares) > 1 else ""
    )
    follows = "" if record.stage == "final" else f"; {record.decision.partition(':')[0]}"
    return (
        f"Auto-refine: Resolution= {record.resolution:.5g} Å in iteration {record.number} ({what}), orientations "
        f"known to {record.spread_rotation:.2g}°, shifts to {record.spread_shift:.2g} Å{classes}, "
        f"{record.seconds['total']:.1f} s{follows}"
    )


def _details(setup: Setup, record: Record) -> Iterator[str]:
    """The figures of an iteration, lines of run.log."""
    moved = f", poses moved {record.pose_change:.2f}°" if math.isfinite(record.pose_change) else ""
    yield (
        f"iteration {record.number} ({record.stage}): r_high {setup.field_of_view / record.r_high:.1f} Å, resolution "
        f"{record.resolution:.2f} Å, spread {record.spread_rotation:.2f}° {record.spread_shift:.2f} Å{moved}"
    )
    if record.stage != "final":
        yield describe_quality(record.n_junk, sum(record.load.particles), record.score_threshold)
    if len(record.class_share) > 1:
        yield describe_classes(record)
    yield f"decision: {record.decision}"
    if setup.partition.comm.size > 1:
        yield describe(record.load)


def _level(line: str) -> int:
    """What of the plan is told at once: warnings, and what a rank and the folder take."""
    if line.startswith("warning"):
        return logging.WARNING
    return logging.INFO if line.startswith(("memory per rank", "files")) else logging.DEBUG


def describe_classes(record: Record) -> str:
    """The classes of an iteration in a line."""
    each = zip(record.class_share, record.class_resolution, strict=True)
    parts = (f"{k} {100 * share:.1f} % {resolution:.2f} Å" for k, (share, resolution) in enumerate(each, 1))
    return f"classes: {', '.join(parts)}; {100 * record.class_change:.1f} % of the images changed theirs"
