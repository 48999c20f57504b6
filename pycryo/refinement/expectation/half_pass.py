"""What becomes of the images of one half-set on a rank: posterior, noise statistics, insertion (method.md §2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.modes import Known
from pycryo.filter.support import Posterior, Support, concatenate, is_broad
from pycryo.geometry.symmetry import Symmetry
from pycryo.kernels.projector import FourierVolume
from pycryo.model.insertion import Frame, Insertion
from pycryo.refinement.data.prepare import Target, model_scale, particle_ctf
from pycryo.refinement.expectation.defocus import search_defocus, with_changes
from pycryo.refinement.expectation.posterior import sample_posterior
from pycryo.refinement.maximization.drift import moved
from pycryo.refinement.maximization.entries import dealt, posterior_entries, quanta
from pycryo.refinement.maximization.noise import Overlap, overlap
from pycryo.refinement.plan import Plan
from pycryo.refinement.resources.timer import Timer
from pycryo.refinement.state import RowsPosterior, Setup


@dataclass(frozen=True, slots=True)
class HalfResult:
    """What a rank found for its particles of one half; `rows` are those of the other arrays, see `Overlap` for five.

    F and T of each class are still to be had from `insertions`, with the other ranks' part.
    """

    rows: NDArray[np.int64]
    posterior: Posterior | None
    cross: NDArray[np.float64]
    model: NDArray[np.float64]
    residual: NDArray[np.float64]
    expected: NDArray[np.float64]
    excess: NDArray[np.float64]
    insertions: list[Insertion]


@dataclass(slots=True)
class _Parts:
    rows: list[NDArray[np.int64]] = field(default_factory=list)
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
    previous : (rows, Posterior) or None
        Of the last iteration; needed in the local stage.
    insertion_weight : (n_all,) float64
        u_p of every particle.
    timer : Timer

    Attributes
    ----------
    particles : Particles
        With the defocus that `previous` says.
    """

    def __init__(
        self,
        setup: Setup,
        plan: Plan,
        half: int,
        volumes: Sequence[FourierVolume],
        previous: RowsPosterior | None,
        insertion_weight: NDArray[np.float64],
        timer: Timer,
    ) -> None:
        share = setup.share
        self.half, self.volumes = half, volumes
        self.particles = with_changes(share.particles, previous)
        self._setup, self._plan, self._timer = setup, plan, timer
        self._insertion_weight = insertion_weight
        self._n_shell = plan.noise.shape[1]
        comm = share.half_comm[half]
        assert comm is not None
        quantum = quanta(setup.look, plan, share.count(half) * len(setup.group))
        frame = Frame(plan.box, plan.padding, plan.r_insert, quantum)
        self._insertions = [Insertion(comm, setup.owners[half], frame) for _ in plan.class_share]
        self._parts = _Parts()
        self._previous, self._place = None, np.empty(0, np.int64)
        if previous is not None:
            rows, self._previous = previous
            self._place = np.full(share.particles.n, -1)
            self._place[rows] = np.arange(len(rows))

    def scanned(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the particles `rows` are compared with the shared slices; the others are searched locally."""
        # Without images there is no posterior either.
        if self._plan.scan is None or not len(rows):
            return np.zeros(len(rows), bool)
        if not self._plan.rescans:
            return np.ones(len(rows), bool)
        assert self._previous is not None
        return is_broad(self._previous.spread_rotation[self._place[rows]])

    def take(
        self, rows: NDArray[np.int64], target: Target, candidates: Support | None, bare: Target | None = None
    ) -> None:
        """Sample the posterior of a batch, from candidates or from the last posterior; insert.

        With the images weighted as if the CTF were 1, `bare`, their defocus is searched; they are inserted with it.
        """
        plan, timer, particles = self._plan, self._timer, self._setup.share.particles
        scale = model_scale(particles, plan, rows)
        with timer.phase("phases"):
            posterior = self._posterior(rows, target, candidates, scale)
        with timer.phase("defocus"):
            posterior = self._with_defocus(rows, bare, posterior, scale)
            if bare is not None:
                target = bare.with_ctf(particle_ctf(particles, rows, bare.pixels, change=posterior.defocus_change))
        with timer.phase("noise"):
            r_high = plan.r_high / scale
            both = overlap(
                self.volumes, target, posterior, r_high, scale, rows, plan.seed, _stream(plan, 1), self._n_shell
            )
        if len(self.volumes) < len(plan.class_share):
            posterior = dealt(posterior, rows, len(plan.class_share), plan.seed)
        posterior = moved(posterior, plan.motions[self.half], particles.pixel_size[rows])
        with timer.phase("insert"):
            entries = posterior_entries(
                plan.box,
                target,
                posterior.support,
                self._setup.group,
                self._insertion_weight[rows],
                scale,
                rows,
                plan.seed,
                _stream(plan, 2),
                len(plan.class_share),
            )
            for insertion, of_class in zip(self._insertions, entries, strict=True):
                insertion.add(of_class)
        parts = self._parts
        parts.rows.append(rows)
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
        plan, particles = self._plan, self._setup.share.particles
        pixel_size = float(particles.optics.pixel_size[particles.optics_group[rows[0]]])
        sigma_shift = plan.sigma_shift / pixel_size
        known = self._known(rows, pixel_size)
        if candidates is not None:
            assert plan.scan is not None
            candidates, known = _folded(candidates, known, self._setup.group)
            guides = [each / scale for each in plan.guides]
            ratio = plan.pixel_size / pixel_size
            scale_rotation = np.full(len(rows), 0.5 * plan.scan.step_rotation)
            scale_shift = np.full(len(rows), 0.5 * plan.scan.step_shift * ratio)
        else:
            assert known is not None
            candidates, guides = known.support, []
            scale_rotation, scale_shift = known.scale_rotation, known.scale_shift
        return sample_posterior(
            self.volumes,
            target,
            candidates,
            scale_rotation,
            scale_shift,
            r_high=plan.r_high / scale,
            guides=guides,
            sharpness=plan.sharpness,
            sigma_shift=sigma_shift,
            class_share=np.ones(1) if len(self.volumes) == 1 else plan.class_share,
            model_scale=scale,
            ids=rows,
            seed=plan.seed,
            stream=plan.number,
            settings=plan.settings,
            floor_rotation=plan.floor_rotation,
            floor_shift=plan.floor_shift / pixel_size,
            prior=None if self._setup.prior is None else self._setup.prior.of(rows),
            known=known,
            pixel_size=pixel_size,
        )

    def _known(self, rows: NDArray[np.int64], pixel_size: float) -> Known | None:
        """Where the last iteration left the images, of `pixel_size` Å."""
        if self._previous is None:
            return None
        plan, previous = self._plan, _rows_of(self._previous, self._place[rows])
        floor_shift, most_shift = plan.floor_shift / pixel_size, plan.sigma_shift / pixel_size
        return Known(
            previous.support,
            np.clip(plan.widen * previous.spread_rotation, plan.floor_rotation, 0.2),
            np.clip(plan.widen * previous.spread_shift, floor_shift, most_shift),
            ~is_broad(previous.spread_rotation),
        )

    def _with_defocus(
        self, rows: NDArray[np.int64], bare: Target | None, posterior: Posterior, scale: float
    ) -> Posterior:
        """The posterior with the change of the defocus, searched or as the last iteration left it."""
        if self._previous is None:
            return posterior
        plan, previous = self._plan, _rows_of(self._previous, self._place[rows])
        change, spread = previous.defocus_change, previous.spread_defocus
        if bare is not None:
            assert plan.sigma_defocus is not None
            change, spread = search_defocus(
                self.volumes,
                bare,
                self._setup.share.particles,
                rows,
                posterior.support,
                change,
                r_high=plan.r_high / scale,
                model_scale=scale,
                sigma=plan.sigma_defocus,
                seed=plan.seed,
                stream=_stream(plan, 3),
            )
        return replace(posterior, defocus_change=change, spread_defocus=spread)


def _stream(plan: Plan, purpose: int) -> int:
    """Key of the draws of one purpose in one iteration; disjoint from the filter's streams."""
    return (1 << 48) + 16 * plan.number + purpose


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
