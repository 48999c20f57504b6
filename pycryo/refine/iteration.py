"""One pass over the images of a half-set: posterior, insertion, noise statistics (method.md §2)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pycryo.backprojector import Accumulators, insert, new_accumulators, quantum_for
from pycryo.filter._sampling import systematic_resample, uniform
from pycryo.filter.support import Posterior, Support, concatenate
from pycryo.geometry.rotations import multiply, quaternion_to_matrix
from pycryo.geometry.symmetry import Symmetry
from pycryo.pixels import half_plane
from pycryo.progress import track
from pycryo.projector import FourierVolume
from pycryo.refine.dataset import FirstLook, Share
from pycryo.refine.expectation import Scan, global_search, sample_posterior
from pycryo.refine.noise import overlap
from pycryo.refine.plan import Plan
from pycryo.refine.prepare import Target, particle_ctf, transform, weigh
from pycryo.refine.state import RowsPosterior, Setup


class Timer:
    """Seconds spent in named phases."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class HalfResult:
    """What a rank found for its particles of one half; `rows` are those of the other arrays."""

    rows: NDArray[np.int64]
    posterior: Posterior | None
    cross: NDArray[np.float64]
    model: NDArray[np.float64]
    accumulators: Accumulators


@dataclass(slots=True)
class _Parts:
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    posteriors: list[Posterior] = field(default_factory=list)
    cross: list[NDArray[np.float64]] = field(default_factory=list)
    model: list[NDArray[np.float64]] = field(default_factory=list)


def quanta(look: FirstLook, plan: Plan, n_slices: int) -> tuple[float, float]:
    """Quanta of F and T with which the insertion of `n_slices` is exact (`pycryo.backprojector.insert`).

    A slice is an image at one symmetry mate, all its support points together. A voxel, the origin above all, collects
    at most the trilinear weights of the samples next to it, below 8 per slice.
    """
    value = np.abs(plan.scale)[:, None] * look.amplitude / plan.noise
    weight = np.square(plan.scale)[:, None] / plan.noise
    # CTF factors (rlnCtfScalefactor) above 1 are allowed for.
    bound = 8.0 * 4.0 * max(1, n_slices)
    return quantum_for(bound * max(float(value.max()), 1e-300)), quantum_for(bound * float(weight.max()))


def batch_target(
    share: Share, plan: Plan, rows: NDArray[np.int64], images: NDArray[np.float32], r_high: float
) -> Target:
    """Weighted samples below `r_high` (Fourier px of the model) of a batch."""
    particles = share.particles
    group = particles.optics_group[rows]
    box = images.shape[-1]
    radius = plan.background_radius / particles.optics.pixel_size[group[0]]
    pixels = half_plane(box, min(r_high / model_scale(share, plan, rows), box / 2))
    samples = pixels.take(transform(images, radius))
    if plan.sign < 0:
        samples *= -1
    transfer = particle_ctf(particles, rows, pixels) if plan.use_ctf else None
    return weigh(samples, pixels, transfer, plan.noise[group], plan.scale[group])


def model_scale(share: Share, plan: Plan, rows: NDArray[np.int64]) -> float:
    """Fourier px of the model per Fourier px of the images `rows` (of one geometry)."""
    optics, group = share.particles.optics, share.particles.optics_group[rows[0]]
    return float(plan.box * plan.pixel_size / (optics.box[group] * optics.pixel_size[group]))


def run_half(
    setup: Setup,
    plan: Plan,
    half: int,
    volume: FourierVolume,
    previous: RowsPosterior | None,
    insertion_weight: NDArray[np.float64],
    timer: Timer,
) -> HalfResult:
    """Posterior of this rank's images of one half, and their insertion. Not collective.

    Parameters
    ----------
    volume : FourierVolume
        The reference.
    previous : (rows, Posterior) or None
        Of the last iteration; needed in the local stage.
    insertion_weight : (n_all,) float64
        u_p of every particle.
    """
    share, symmetry = setup.share, setup.group
    parts = _Parts()
    n_shell = plan.noise.shape[1]
    accumulators = new_accumulators(plan.box, padding=plan.padding, r_high=plan.r_insert)
    quantum = quanta(setup.look, plan, share.count(half) * len(symmetry))
    place = np.empty(0, np.int64)
    if previous is not None:
        place = np.full(share.particles.n, -1)
        place[previous[0]] = np.arange(len(previous[0]))
    for batch in track(share.batches(half), None, f"iteration {plan.number}, half {half + 1}"):
        rows = batch.rows
        with timer.phase("prepare"):
            target = batch_target(share, plan, rows, batch.images, plan.r_insert)
        start = None if previous is None else _rows_of(previous[1], place[rows])
        posterior = _posterior(share, plan, rows, target, volume, symmetry, start, timer)
        with timer.phase("noise"):
            scale = model_scale(share, plan, rows)
            both = overlap(
                volume, target, posterior, plan.r_high / scale, scale, rows, plan.seed, _stream(plan, 1), n_shell
            )
        with timer.phase("insert"):
            insert_posterior(
                accumulators,
                target,
                posterior.support,
                symmetry,
                insertion_weight[rows],
                scale,
                quantum,
                rows,
                plan.seed,
                _stream(plan, 2),
            )
        parts.rows.append(rows)
        parts.posteriors.append(posterior)
        parts.cross.append(both.cross)
        parts.model.append(both.model)
    return HalfResult(
        np.concatenate([np.empty(0, np.int64), *parts.rows]),
        concatenate(parts.posteriors) if parts.posteriors else None,
        np.concatenate([np.empty((0, n_shell)), *parts.cross]),
        np.concatenate([np.empty((0, n_shell)), *parts.model]),
        accumulators,
    )


def _stream(plan: Plan, purpose: int) -> int:
    """Key of the draws of one purpose in one iteration; disjoint from the filter's streams."""
    return (1 << 48) + 16 * plan.number + purpose


def _rows_of(posterior: Posterior, index: NDArray[np.int64]) -> Posterior:
    support = Support(*(getattr(posterior.support, name)[index] for name in ("quaternion", "shift", "weight")))
    rest = (getattr(posterior, name)[index] for name in Posterior.__slots__[1:])
    return Posterior(support, *rest)


def _posterior(
    share: Share,
    plan: Plan,
    rows: NDArray[np.int64],
    target: Target,
    volume: FourierVolume,
    symmetry: Symmetry,
    previous: Posterior | None,
    timer: Timer,
) -> Posterior:
    """Global: scan, then phases. Local: phases from the last support points."""
    scale = model_scale(share, plan, rows)
    pixel_size = float(share.particles.optics.pixel_size[share.particles.optics_group[rows[0]]])
    sigma_shift = plan.sigma_shift / pixel_size
    n = len(rows)
    if plan.scan is not None:
        ratio = plan.pixel_size / pixel_size
        scan = Scan(
            plan.scan.rotations,
            plan.scan.shifts * ratio,
            plan.scan.step_rotation,
            plan.scan.step_shift * ratio,
            plan.scan.r_high / scale,
        )
        with timer.phase("scan"):
            start = global_search(volume, target, scan, sigma_shift, scale)
        scale_rotation = np.full(n, 0.5 * scan.step_rotation)
        scale_shift = np.full(n, 0.5 * scan.step_shift)
    else:
        assert previous is not None
        start = previous.support
        scale_rotation = np.clip(plan.widen * previous.spread_rotation, plan.floor_rotation, 0.2)
        scale_shift = np.clip(plan.widen * previous.spread_shift, plan.floor_shift / pixel_size, sigma_shift)
    with timer.phase("phases"):
        return sample_posterior(
            volume,
            target,
            start,
            scale_rotation,
            scale_shift,
            r_high=plan.r_high / scale,
            sigma_shift=sigma_shift,
            model_scale=scale,
            ids=rows,
            seed=plan.seed,
            stream=plan.number,
            settings=plan.settings,
            floor_rotation=plan.floor_rotation,
            floor_shift=plan.floor_shift / pixel_size,
        )


def insert_posterior(
    accumulators: Accumulators,
    target: Target,
    support: Support,
    symmetry: Symmetry,
    insertion_weight: NDArray[np.float64],
    scale: float,
    quantum: tuple[float, float],
    ids: NDArray[np.int64],
    seed: int,
    stream: int,
) -> None:
    """Insert images at their support points and symmetry mates.

    Each mate gets its own systematic sample of the support points, together as many as there are points, so that the
    work does not grow with the order of the group while every mate holds every image with full weight.
    """
    n_mate = len(symmetry)
    per_mate = -(-support.weight.shape[1] // n_mate)
    offset = np.ascontiguousarray(uniform(seed, stream, ids, 1)[:, 0])
    pick = systematic_resample(support.weight, offset, per_mate * n_mate)
    mate = np.arange(per_mate * n_mate) % n_mate
    image = np.repeat(np.arange(len(target)), pick.shape[1])
    key = (image * support.weight.shape[1] + pick.ravel()) * n_mate + np.tile(mate, len(target))
    key, count = np.unique(key, return_counts=True)
    image, rest = np.divmod(key, support.weight.shape[1] * n_mate)
    point, which = np.divmod(rest, n_mate)
    rotations = quaternion_to_matrix(multiply(support.quaternion[image, point], symmetry.quaternions[which]))
    weight = count / per_mate * insertion_weight[image]
    # The kernel's ramp is in units of the model's box.
    shifts = support.shift[image, point] * (accumulators.box / target.pixels.box)
    insert(
        accumulators,
        target.images,
        target.weights,
        image,
        rotations,
        shifts,
        weight,
        target.pixels.kx,
        target.pixels.ky,
        scale=scale,
        quantum_value=quantum[0],
        quantum_weight=quantum[1],
    )
