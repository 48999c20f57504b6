"""What becomes of the images of one half-set on a rank: posterior, noise statistics, insertion.

See docs/architecture.md, Floors and the road of data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.draws import Draws, uniform
from pycryo.filter.modes import Known
from pycryo.filter.proposals import Widths
from pycryo.filter.support import Posterior, Support, concatenate, is_broad
from pycryo.geometry.symmetry import Symmetry
from pycryo.kernels.projector import FourierVolume
from pycryo.model.insertion import Frame, Insertion
from pycryo.model.microscope import particle_ctf
from pycryo.refinement.data.keeper import Keeper
from pycryo.refinement.data.posteriors import moved
from pycryo.refinement.data.prepare import Target
from pycryo.refinement.expectation.defocus import DefocusSearch, search_defocus, with_changes
from pycryo.refinement.expectation.entries import (
    both_bands,
    dealt,
    on_both_surfaces,
    point_counts,
    posterior_entries,
    quanta,
)
from pycryo.refinement.expectation.overlap import Overlap, overlap
from pycryo.refinement.expectation.posterior import Comparison, LogPrior, sample_posterior
from pycryo.refinement.plan import Plan
from pycryo.refinement.rescans import TURNS
from pycryo.refinement.setup import Setup
from pycryo.refinement.state import State
from pycryo.timer import Timer

# Key of the draws of the images' turns.
_TURN_STREAM = 1 << 43


@dataclass(frozen=True, slots=True)
class HalfResult:
    """What a rank found for its particles of one half; `rows` are those of the other arrays, see `Overlap` for five.

    `scanned` are those that were compared with the shared slices. F and T of each class are still to be had from
    `insertions`, with the other ranks' part.
    """

    rows: NDArray[np.int64]
    scanned: NDArray[np.bool_]
    posterior: Posterior | None
    cross: NDArray[np.float64]
    model: NDArray[np.float64]
    residual: NDArray[np.float64]
    expected: NDArray[np.float64]
    excess: NDArray[np.float64]
    insertions: list[Insertion]


# Of the two halves; None of a half that a rank has nothing of.
Results = list[HalfResult | None]


@dataclass(slots=True)
class _Parts:
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    scanned: list[NDArray[np.bool_]] = field(default_factory=list)
    posteriors: list[Posterior] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)


class HalfPass:
    """One pass over this rank's images of a half, batch by batch. Made collectively by the ranks of the half.

    Parameters
    ----------
    setup : Setup
    plan : Plan
    half : int
    volumes : sequence of FourierVolume
        The reference of each class; one only where the classes begin with the same, and the images are dealt to them
        at random.
    state : State
        What the last iteration left; its posteriors are needed in the local stage.
    timer : Timer
    keeper : Keeper, optional

    Attributes
    ----------
    particles : Particles
        With the defocus that the last posteriors say.
    """

    def __init__(
        self,
        setup: Setup,
        plan: Plan,
        half: int,
        volumes: Sequence[FourierVolume],
        state: State,
        timer: Timer,
        keeper: Keeper | None = None,
    ) -> None:
        partition = setup.partition
        previous = None if state.schedule.is_new else state.posteriors[half]
        self.half, self.volumes = half, volumes
        self.particles = with_changes(partition.particles, previous)
        self._file_particles, self._group, self._prior = partition.particles, setup.group, setup.prior
        self._plan, self._timer = plan, timer
        self._insertion_weight = state.insertion_weight
        self._n_shell = plan.weighting.noise.shape[1]
        comm = partition.half_comm[half]
        assert comm is not None
        quantum = quanta(setup.statistics, plan.weighting, partition.count(half) * len(setup.group))
        frame = Frame(plan.box, plan.padding, plan.r_insert, quantum)
        self._insertions = [Insertion(comm, setup.owners[half], frame) for _ in plan.sampling.class_share]
        self._parts = _Parts()
        self._previous, self._place = None, np.empty(0, np.int64)
        if previous is not None:
            rows, self._previous = previous
            self._place = np.full(partition.particles.n, -1)
            self._place[rows] = np.arange(len(rows))
        self._keeper = keeper

    def scanned(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the particles `rows` are compared with the shared slices; the others are searched locally."""
        search = self._plan.search
        # Without images there is no posterior either.
        if search is None or not len(rows):
            return np.zeros(len(rows), bool)
        if search.rescans == "broad":
            assert self._previous is not None
            return is_broad(self._previous.spread_rotation[self._place[rows]])
        if search.rescans == "in turn":
            draw = uniform(self._plan.seed, _TURN_STREAM, rows, 1)[:, 0]
            return np.asarray((TURNS * draw).astype(np.int64) == self._plan.number % TURNS)
        return np.ones(len(rows), bool)

    def take(
        self,
        rows: NDArray[np.int64],
        target: Target,
        candidates: Support | None,
        bare: Target | None = None,
        n_score: NDArray[np.int64] | None = None,
    ) -> None:
        """Sample the posterior of a batch, from candidates, which cost `n_score` (n,), or from the last one; insert.

        Of the images weighted as if the CTF were 1, `bare`, their defocus is searched and both surfaces of the Ewald
        sphere are made, if the plan says so.
        """
        scale = self._plan.weighting.model_scale(self._file_particles, rows)
        with self._timer.phase("phases"):
            posterior = self._posterior(rows, target, candidates, scale)
        with self._timer.phase("defocus"):
            posterior = self._with_defocus(rows, bare, posterior, scale)
        if self._keeper is not None:
            self._keeper.add(rows, posterior, np.zeros(len(rows), np.int64) if n_score is None else n_score)
        self._insert(rows, target, bare, posterior, np.full(len(rows), candidates is not None))

    def take_kept(self, rows: NDArray[np.int64], target: Target, bare: Target | None = None) -> tuple[int, int]:
        """Insert a batch with the posteriors that the keeper has; how many images were scanned, and their scores."""
        assert self._keeper is not None
        kept = self._keeper.kept[self.half]
        assert kept is not None
        posterior, scanned = _rows_of(kept[1], np.searchsorted(kept[0], rows)), self.scanned(rows)
        self._insert(rows, target, bare, posterior, scanned)
        return int(np.count_nonzero(scanned)), int(self._keeper.n_score[rows].sum())

    def _insert(
        self,
        rows: NDArray[np.int64],
        target: Target,
        bare: Target | None,
        posterior: Posterior,
        scanned: NDArray[np.bool_],
    ) -> None:
        """What follows the posterior of a batch."""
        plan, timer, particles = self._plan, self._timer, self._file_particles
        n_class = len(plan.sampling.class_share)
        scale = plan.weighting.model_scale(particles, rows)
        with timer.phase("defocus"):
            if bare is not None and plan.sigma_defocus is not None:
                target = bare.with_ctf(particle_ctf(particles, rows, bare.pixels, change=posterior.defocus_change))
        with timer.phase("noise"):
            draws = self._draws(rows, 1)
            both = overlap(self.volumes, target, posterior, plan.r_high / scale, scale, draws, self._n_shell)
        if len(self.volumes) < n_class:
            posterior = dealt(posterior, rows, n_class, plan.seed)
        posterior = moved(posterior, plan.motions[self.half], particles.pixel_size[rows])
        with timer.phase("insert"):
            weight, draws = self._insertion_weight[rows], self._draws(rows, 2)
            n_point = np.full(len(rows), posterior.support.weight.shape[1])
            if not plan.final:
                n_point = point_counts(posterior, plan.r_high / scale, target.pixels.box)
            if plan.ewald is not None:
                assert bare is not None
                target = both_bands(bare, particles, rows, plan.ewald, posterior.defocus_change)
            entries = posterior_entries(
                plan.box, target, posterior.support, n_point, self._group, weight, scale, draws, n_class
            )
            if plan.ewald is not None:
                entries = [on_both_surfaces(each, particles, rows, plan.ewald) for each in entries]
            for insertion, of_class in zip(self._insertions, entries, strict=True):
                insertion.add(of_class)
        parts = self._parts
        parts.rows.append(rows)
        parts.scanned.append(scanned)
        parts.posteriors.append(posterior)
        parts.overlaps.append(both)

    def exchange(self) -> None:
        """Bring the images taken so far to the owners of F and T, and forget them. Collective over the half's ranks."""
        with self._timer.phase("insert"):
            for insertion in self._insertions:
                insertion.exchange()

    @property
    def idle(self) -> float:
        """Seconds for which this rank waited for others in `exchange`."""
        return sum(insertion.idle for insertion in self._insertions)

    def result(self) -> HalfResult:
        """All batches together."""
        parts = self._parts

        def joined(name: str) -> NDArray[np.float64]:
            return np.concatenate([np.empty((0, self._n_shell)), *(getattr(each, name) for each in parts.overlaps)])

        return HalfResult(
            np.concatenate([np.empty(0, np.int64), *parts.rows]),
            np.concatenate([np.empty(0, bool), *parts.scanned]),
            concatenate(parts.posteriors) if parts.posteriors else None,
            joined("cross"),
            joined("model"),
            joined("residual"),
            joined("expected"),
            np.concatenate([np.empty(0), *(each.excess for each in parts.overlaps)]),
            self._insertions,
        )

    def _posterior(
        self, rows: NDArray[np.int64], target: Target, candidates: Support | None, scale: float
    ) -> Posterior:
        plan, sampling = self._plan, self._plan.sampling
        pixel_size = float(self._file_particles.pixel_size[rows[0]])
        log_prior = LogPrior(
            sampling.sigma_shift / pixel_size,
            np.ones(1) if len(self.volumes) == 1 else sampling.class_share,
            None if self._prior is None else self._prior.of(rows),
            pixel_size,
        )
        known = self._known(rows, pixel_size)
        if candidates is not None:
            assert plan.search is not None
            candidates, known = _folded(candidates, known, self._group)
            guides = [each / scale for each in plan.search.guides]
            ratio = plan.pixel_size / pixel_size
            widths = self._widths(
                np.full(len(rows), 0.5 * plan.search.scan.step_rotation),
                np.full(len(rows), 0.5 * plan.search.scan.step_shift * ratio),
                pixel_size,
            )
        else:
            assert known is not None
            candidates, guides, widths = known.support, [], known.widths
        return sample_posterior(
            Comparison(self.volumes, target, scale, sampling.sharpness, log_prior),
            candidates,
            widths,
            Draws(plan.seed, plan.number, rows),
            sampling.settings,
            r_high=plan.r_high / scale,
            guides=guides,
            known=known,
        )

    def _widths(self, rotation: NDArray[np.float64], shift: NDArray[np.float64], pixel_size: float) -> Widths:
        """Of kernels, radians and px of images of `pixel_size` Å."""
        sampling = self._plan.sampling
        return Widths(rotation, shift, sampling.least_rotation, sampling.least_shift / pixel_size)

    def _known(self, rows: NDArray[np.int64], pixel_size: float) -> Known | None:
        """Where the last iteration left the images, of `pixel_size` Å."""
        if self._previous is None:
            return None
        sampling, previous = self._plan.sampling, _rows_of(self._previous, self._place[rows])
        least_shift, most_shift = sampling.least_shift / pixel_size, sampling.sigma_shift / pixel_size
        widths = self._widths(
            np.clip(sampling.widen * previous.spread_rotation, sampling.least_rotation, 0.2),
            np.clip(sampling.widen * previous.spread_shift, least_shift, most_shift),
            pixel_size,
        )
        return Known(previous.support, widths, ~is_broad(previous.spread_rotation))

    def _with_defocus(
        self, rows: NDArray[np.int64], bare: Target | None, posterior: Posterior, scale: float
    ) -> Posterior:
        """The posterior with the change of the defocus, searched or as the last iteration left it."""
        if self._previous is None:
            return posterior
        plan, previous = self._plan, _rows_of(self._previous, self._place[rows])
        change, spread = previous.defocus_change, previous.spread_defocus
        if bare is not None and plan.sigma_defocus is not None:
            search = DefocusSearch(self.volumes, self._file_particles, plan.r_high / scale, scale, plan.sigma_defocus)
            change, spread = search_defocus(search, bare, posterior.support, change, self._draws(rows, 3))
        return replace(posterior, defocus_change=change, spread_defocus=spread)

    def _draws(self, rows: NDArray[np.int64], purpose: int) -> Draws:
        """Of one purpose in this iteration; disjoint from the filter's streams."""
        return Draws(self._plan.seed, (1 << 48) + 16 * self._plan.number + purpose, rows)


def _folded(candidates: Support, known: Known | None, symmetry: Symmetry) -> tuple[Support, Known | None]:
    """The candidates, and what is known already, at those of their symmetry mates that are next to the best candidate.

    Poses near the border of the asymmetric unit would otherwise be points at several mates, and the spread as wide.
    """
    best = candidates.weight.argmax(axis=1)
    anchor = candidates.quaternion[np.arange(len(best)), best][:, None]

    def folded(support: Support) -> Support:
        return replace(support, quaternion=symmetry.nearest(support.quaternion, anchor))

    return folded(candidates), None if known is None else replace(known, support=folded(known.support))


def _rows_of(posterior: Posterior, index: NDArray[np.int64]) -> Posterior:
    support = Support(*(getattr(posterior.support, name)[index] for name in Support.__slots__))
    rest = (getattr(posterior, name)[index] for name in Posterior.__slots__[1:])
    return Posterior(support, *rest)
