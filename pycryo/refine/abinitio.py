"""An initial map from no reference: several random starts, the likeliest of them goes on (docs/method.md)."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.filter._sampling import uniform
from pycryo.fsc import resolution_at
from pycryo.geometry.symmetry import symmetry
from pycryo.io.particles import Particles
from pycryo.maps import Map
from pycryo.model.owners import halves_own
from pycryo.model.slab_map import SlabMap, gather, resample_grid
from pycryo.parallel.comm import Comm
from pycryo.parallel.world import as_comm
from pycryo.progress import track
from pycryo.refine.abinitio_options import AbinitioOptions
from pycryo.refine.dataset import FirstLook, Share, first_look, refuse_too_many_bad, without_defocus
from pycryo.refine.measure import gather_poses
from pycryo.refine.memory_plan import image_budget
from pycryo.refine.noise import first_noise
from pycryo.refine.particle_size import estimate_diameter
from pycryo.refine.schedule import Schedule
from pycryo.refine.small_images import read_small
from pycryo.refine.state import Poses, Setup, State
from pycryo.refine.stochastic import FIRST_SHIFT, Round, draw_batch, first_reference, log_evidence, run_round
from pycryo.refine.timer import Timer
from pycryo.refine.work_plan import measure_sizes
from pycryo.threads import set_threads

log = logging.getLogger(__name__)

_SUBSET_STREAM = 7 << 50
# Rounds of each leg; the likelier half of the tries goes on after the first and the second.
_LEGS = (10, 8, 8)
# Rounds at the first resolution, in which the tries find a shape.
_SHAPING = 6
# Images of a round: in the first, and in the last of the last leg. Few make the first rounds leave wrong shapes again.
_FIRST_BATCH, _LAST_BATCH = 50, 400
# Rounds of the best try on all images.
_FINAL = 3
# Images that the tries are compared by.
_JUDGES = 400
# Numbers of a try's rounds, which are the keys of their draws, begin with so many times its own; the comparisons of the
# tries and the batches of all images have those of the first try from here on.
_KEYS, _JUDGING, _FINAL_BATCH = 1000, 900, 800
# Pixel of the images in units of the last resolution: what is inserted reaches beyond what is compared.
_PIXEL = 1 / 3
# Least r_high, shells.
_LEAST_HIGH = 4.0


@dataclass(frozen=True, slots=True)
class Leg:
    """How the tries stood at the end of a leg.

    Attributes
    ----------
    resolution : float
        To which images were compared, Å.
    rounds : int
        Of each try so far.
    evidence : dict of int to float
        Mean log evidence per image of each try that took part, with the same noise.
    kept : list of int
        Tries that go on, the likeliest first.
    """

    resolution: float
    rounds: int
    evidence: dict[int, float]
    kept: list[int]


@dataclass(frozen=True, slots=True)
class InitialModel:
    """An initial map and how it was found; `map` and `poses` on rank 0 only (None elsewhere).

    Attributes
    ----------
    map : Map or None
        On the grid of the images and on their grey scale; coarser than `resolution` only.
    poses : Poses or None
        Of the images used.
    resolution : float
        FSC 0.143 of two halves of the images that had one reference, Å: an optimistic figure.
    diameter : float
        Of the particle, Å.
    legs : list of Leg
    used : (n,) int64
        Rows of the images used.
    left_out : (n_bad,) int64
        Rows of unusable images among those drawn.
    planes : SlabMap
        The map in planes.
    seconds : float
    """

    map: Map | None
    poses: Poses | None
    resolution: float
    diameter: float
    legs: list[Leg]
    used: NDArray[np.int64]
    left_out: NDArray[np.int64]
    planes: SlabMap
    seconds: float


def abinitio(
    particles: Particles,
    options: AbinitioOptions | None = None,
    *,
    comm: Any = None,
    gather_map: bool = True,
) -> InitialModel:
    """Find an initial map of particles without a reference. Collective.

    The hand is a matter of chance, and so is the position of the map about axes that its symmetry leaves free.

    Parameters
    ----------
    particles : Particles
        From `pycryo.read_particles`; the same on every rank.
    options : AbinitioOptions, optional
    comm : mpi4py communicator, optional
        Default: this process alone.
    gather_map : bool
        Bring the map to rank 0, which must have the memory for it.

    Returns
    -------
    InitialModel
        The same for any number of ranks and threads.

    Raises
    ------
    InputError
        If the particles cannot be used.
    """
    began = time.perf_counter()
    options = options or AbinitioOptions()
    if options.threads is not None:
        set_threads(options.threads)
    comm = as_comm(comm)
    setup, left_out = _set_up(comm, particles, options)
    contest = _Contest(setup, *_limits(setup, options))
    tries = [contest.start(number) for number in range(options.tries)]
    for leg in range(len(_LEGS)):
        tries = contest.run_leg(tries, leg)
    last = contest.finish(tries[0])
    figures = last.figures
    poses = gather_poses(setup, last.results, figures.score)
    reference = last.state.references[0]
    curve, points = last.curve, reference.box
    resolution = resolution_at(curve, points, setup.field_of_view / points, 0.143)
    planes = _on_image_grid(reference, setup, particles)
    seconds = time.perf_counter() - began
    log.info(
        "initial map: try %d, half-sets with one reference agree to %.1f Å, poses known to %.1f°, %.1f s",
        tries[0].number + 1,
        resolution,
        figures.spread_rotation,
        seconds,
    )
    log.debug("seconds: %s", {name: round(value, 1) for name, value in contest.timer.seconds.items()})
    used = np.flatnonzero(setup.share.half >= 0)
    found = gather(planes) if gather_map else None
    setup.free()
    return InitialModel(found, poses, resolution, setup.diameter, contest.legs, used, left_out, planes, seconds)


def _set_up(comm: Comm, particles: Particles, options: AbinitioOptions) -> tuple[Setup, NDArray[np.int64]]:
    """Read the images to be used and measure what is known before any map; rows of unusable ones. Collective."""
    usable = np.ones(particles.n, bool)
    if options.ctf:
        usable[without_defocus(particles)] = False
    rows = np.flatnonzero(usable).astype(np.int64)
    if len(rows) > options.max_images:
        draw = uniform(options.seed, _SUBSET_STREAM, rows, 1)[:, 0]
        rows = np.sort(rows[np.argsort(draw, kind="stable")[: options.max_images]])
        log.info("%d of %d particles are used, drawn at random", len(rows), particles.n)
    _, last = options.resolutions(options.diameter or 0.0)
    share, bad = read_small(comm, particles, rows, _PIXEL * last)
    refuse_too_many_bad(particles, bad, options.max_bad_fraction)
    if share.count(0) < 2:
        raise InputError(f"{share.count(0)} usable particles are too few: give at least two")
    diameter = options.diameter or estimate_diameter(share)
    look, _ = first_look(share, 0.5 * diameter, False)
    setup = _make_setup(share, options, diameter, look)
    if diameter > setup.field_of_view:
        raise InputError(
            f"the particle diameter {diameter:.0f} Å is larger than the images ({setup.field_of_view:.0f} Å): give a "
            "smaller --diameter"
        )
    return setup, bad


def _make_setup(share: Share, options: AbinitioOptions, diameter: float, look: FirstLook) -> Setup:
    """What the rounds need; the model's box is that of most images. Collective."""
    optics, group = share.particles.optics, share.particles.optics_group[share.half >= 0]
    geometry = np.stack([optics.box, optics.pixel_size], axis=1)[group]
    kinds, count = np.unique(geometry, axis=0, return_counts=True)
    box, pixel_size = int(kinds[count.argmax()][0]), float(kinds[count.argmax()][1])
    sizes, figures = measure_sizes(share, box, options.padding, options.model, single=False, preread=True)
    log.info(
        "%d particles on %d px of %.2f Å, diameter %.0f Å%s, symmetry %s",
        share.count(0),
        box,
        pixel_size,
        diameter,
        "" if options.diameter else " (from the images)",
        symmetry(options.symmetry).name,
    )
    return Setup(
        share,
        options.refine_options(),
        symmetry(options.symmetry),
        box,
        pixel_size,
        diameter,
        halves_own(share.comm, options.model),
        None,
        look,
        image_budget(sizes, options.memory, figures),
    )


def _limits(setup: Setup, options: AbinitioOptions) -> tuple[float, float]:
    """First and last r_high, shells."""
    first, last = (setup.field_of_view / each for each in options.resolutions(setup.diameter))
    most = setup.box / 2 - 1
    return min(max(first, _LEAST_HIGH), most), min(max(last, _LEAST_HIGH), most)


@dataclass(frozen=True, slots=True)
class _Try:
    """A try: its number and what it knows."""

    number: int
    state: State


@dataclass(slots=True)
class _Contest:
    """The tries and their rounds. All methods are collective.

    Attributes
    ----------
    setup : Setup
        Of all images used.
    r_first, r_last : float
        Limits of the comparison in the first and in the last round, shells.
    """

    setup: Setup
    r_first: float
    r_last: float
    legs: list[Leg] = field(default_factory=list)
    timer: Timer = field(default_factory=Timer)

    def start(self, number: int) -> _Try:
        """A try with a map of images at random orientations."""
        setup, optics = self.setup, self.setup.share.particles.optics
        state = State(
            number=_KEYS * number,
            schedule=Schedule("global", self.r_first),
            references=(None, None),  # type: ignore[arg-type]
            noise=first_noise(setup.look, setup.share.particles),
            scale=np.asarray(setup.pixel_size / optics.pixel_size, np.float64),
            sigma_shift=FIRST_SHIFT * setup.field_of_view,
            sigma_defocus=None,
            posteriors=(None, None),
            insertion_weight=np.ones(setup.share.particles.n),
        )
        reference = first_reference(draw_batch(setup, _FIRST_BATCH, state.number), state)
        return _Try(number, replace(state, references=(reference, reference)))

    def run_leg(self, tries: list[_Try], leg: int) -> list[_Try]:
        """Some rounds of each try, then the likelier half of them, the likeliest first; one after the last leg."""
        rounds = range(sum(_LEGS[:leg]), sum(_LEGS[: leg + 1]))
        for k in track(rounds, len(rounds), f"leg {leg + 1} of {len(_LEGS)}, {len(tries)} tries"):
            tries = [replace(each, state=self._round(each, k).state) for each in tries]
        r_high, keep = r_high_of(rounds[-1], self.r_first, self.r_last), -(-len(tries) // 2)
        evidence = self._judge(tries, leg, r_high)
        order = np.argsort([-value for value in evidence], kind="stable")
        kept = [tries[i] for i in order[: 1 if leg == len(_LEGS) - 1 else keep]]
        found = {each.number: value for each, value in zip(tries, evidence, strict=True)}
        self.legs.append(Leg(self.setup.field_of_view / r_high, rounds[-1] + 1, found, [each.number for each in kept]))
        log.info("%s", describe(self.legs[-1]))
        return kept

    def _round(self, each: _Try, k: int) -> Round:
        setup = draw_batch(self.setup, batch_size_of(k), _KEYS * each.number + k)
        r_high = r_high_of(k, self.r_first, self.r_last)
        return run_round(setup, each.state, _KEYS * each.number + k, r_high, self.timer)

    def _judge(self, tries: list[_Try], leg: int, r_high: float) -> list[float]:
        """Mean log evidence of the same images for each try, with the mean of their noise spectra."""
        noise = np.mean([each.state.noise for each in tries], axis=0)
        sigma_shift = float(np.mean([each.state.sigma_shift for each in tries]))
        setup = draw_batch(self.setup, _JUDGES, _JUDGING + leg)
        states = [replace(each.state, noise=noise, sigma_shift=sigma_shift) for each in tries]
        # With the same draws for all.
        return [log_evidence(setup, state, _JUDGING + leg, r_high, self.timer) for state in states]

    def finish(self, best: _Try) -> Round:
        """Rounds of one try on all images."""
        state = best.state
        for k in track(range(_FINAL), _FINAL, "all images"):
            setup = draw_batch(self.setup, self.setup.share.particles.n, _FINAL_BATCH + k)
            found = run_round(setup, state, _KEYS * best.number + sum(_LEGS) + k, self.r_last, self.timer)
            state = found.state
        return found


def r_high_of(k: int, first: float, last: float) -> float:
    """Limit of the comparison in round `k` of a try: constant at first, then rising evenly to the last one."""
    return first + (last - first) * min(1.0, max(0, k - _SHAPING + 1) / (sum(_LEGS) - _SHAPING))


def batch_size_of(k: int) -> int:
    """Images of round `k` of a try, growing by the same factor from round to round."""
    growth: float = (_LAST_BATCH / _FIRST_BATCH) ** (k / (sum(_LEGS) - 1))
    return round(_FIRST_BATCH * growth)


def describe(leg: Leg) -> str:
    """A leg in a line."""
    shown = ", ".join(f"try {number + 1} {value:.2f}" for number, value in sorted(leg.evidence.items()))
    kept = ", ".join(str(number + 1) for number in leg.kept)
    return f"after {leg.rounds} rounds, to {leg.resolution:.1f} Å: log evidence per image {shown}; kept: {kept}"


def _on_image_grid(reference: SlabMap, setup: Setup, particles: Particles) -> SlabMap:
    """The map on the grid of most images, with their grey values. Collective."""
    group = particles.optics_group[setup.share.half >= 0]
    fields = (particles.optics.box * particles.optics.pixel_size)[group]
    boxes = particles.optics.box[group][np.isclose(fields, setup.field_of_view)]
    kinds, count = np.unique(boxes, return_counts=True)
    box = int(kinds[count.argmax()])
    found = resample_grid(reference, box)
    # A line through the map has so many more voxels.
    return replace(found, data=found.data * np.float32(setup.box / box))
