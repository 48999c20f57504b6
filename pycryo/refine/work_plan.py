"""What a refinement will need: memory of a rank and amount of work, told before it begins."""

from __future__ import annotations

from math import ceil, pi

import numpy as np

from pycryo.pixels import half_plane
from pycryo.refine.dataset import batch_size
from pycryo.refine.plan import make_plan
from pycryo.refine.rounds import image_bytes
from pycryo.refine.state import Setup, State
from pycryo.threads import get_threads

# Bytes per voxel of the padded cube that solving for a map takes at its peak (counted in `gridding.solve`).
_SOLVE_BYTES = 45


def memory_plan(setup: Setup, state: State) -> dict[str, int]:
    """Bytes that the fullest rank needs for each purpose, about; the last iteration needs most.

    Parameters
    ----------
    setup : Setup
    state : State
        The first one.
    """
    share, box, padding = setup.share, setup.box, setup.options.padding
    radius = ceil(padding * box / 2) + 1
    half_volume = (2 * radius + 1) ** 2 * (radius + 1)
    held = 2 if share.comm.size == 1 else max(1, sum(share.holds(half) for half in (0, 1)))
    largest = int(share.particles.optics.box.max())
    per_rank = ceil((share.count(0) + share.count(1)) / share.comm.size)
    block = min(batch_size(share.particles), per_rank)
    plan = make_plan(setup, state)
    images = block * len(half_plane(largest, largest / 2)) * 12
    if plan.scan is not None:
        images = max(images, round(min(setup.memory, per_rank * image_bytes(setup, plan))))
    return {
        # Corners of the cube that no image reaches are never written.
        "Fourier sums": round(held * pi / 6 * half_volume * 24),
        "references": held * half_volume * 8,
        "solving for a map": (padding * box) ** 3 * _SOLVE_BYTES,
        "images kept in memory" if setup.options.preread else "images being read": (
            per_rank if setup.options.preread else 2 * block
        )
        * largest**2
        * 4,
        "images at work": images,
    }


def describe(setup: Setup, state: State) -> str:
    """The plan as text, a line per fact. Collective."""
    share = setup.share
    memory = memory_plan(setup, state)
    plan = make_plan(setup, state)
    total = max(share.comm.all_gather(sum(memory.values())))
    n = share.count(0) + share.count(1)
    stored = int((setup.look.count * np.square(share.particles.optics.box)).sum())
    n_group = int(np.count_nonzero(setup.look.count))
    lines = [
        f"particles            {n} ({share.count(0)} + {share.count(1)}), {len(setup.look.bad)} left out",
        f"images               {setup.box} px of {setup.pixel_size:.4g} Å in {n_group} optics group(s)",
        f"particle             diameter {setup.diameter:.0f} Å, symmetry {setup.group.name}",
        f"ranks × threads      {share.comm.size} × {get_threads()}",
        f"pixels per pass      {stored:.3g}, read {'once' if setup.options.preread else 'in each iteration'}",
    ]
    if plan.scan is not None:
        fit = min(max(1, int(setup.memory / image_bytes(setup, plan))), ceil(n / share.comm.size))
        lines.append(
            f"first global search  {len(plan.scan.rotations)} slices × {len(plan.scan.shifts)} shifts for each image, "
            f"to {setup.field_of_view / plan.scan.r_high:.1f} Å, {fit} images per rank at a time"
        )
    lines.append(f"memory per rank      about {_size(total)} at most")
    lines += [f"  {name:<24} {_size(value)}" for name, value in memory.items()]
    return "\n".join(lines)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.2f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"
