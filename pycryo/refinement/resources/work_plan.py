"""What a refinement will need: memory of a rank and amount of work, told before it begins."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np

from pycryo.memory import memory
from pycryo.model.owners import Model
from pycryo.refinement.data.partition import Partition, batch_size
from pycryo.refinement.expectation.rounds import image_bytes
from pycryo.refinement.options import RefineOptions
from pycryo.refinement.plan import make_plan
from pycryo.refinement.resources.folder_plan import folder_plan, tell_folder
from pycryo.refinement.resources.memory_plan import Sizes, check, describe, memory_plan, peak, size
from pycryo.refinement.setup import Setup
from pycryo.refinement.state import State
from pycryo.threads import get_threads


def measure_sizes(
    partition: Partition,
    box: int,
    padding: int,
    model: Model,
    single: bool,
    *,
    preread: bool = False,
    halves: int = 2,
    classes: int = 1,
) -> tuple[Sizes, tuple[int, int] | None]:
    """What the memory of a run depends on, without its images; bytes free and in all on a node. Collective."""
    node = partition.comm.node()
    mine = (node.size, memory())
    node.free()
    ranks = partition.comm.all_gather(mine)
    node_ranks = max(count for count, _ in ranks)
    known = [figures for _, figures in ranks if figures is not None]
    figures = (min(free for free, _ in known), min(total for _, total in known)) if known else None
    usable = max(1, partition.n)
    sizes = Sizes(
        box=box,
        padding=padding,
        image_box=int(partition.particles.optics.box.max()),
        n_particles=usable,
        n_ranks=partition.comm.size,
        node_ranks=node_ranks,
        threads=get_threads(),
        model=model,
        single=single,
        images=0.0,
        batch=min(batch_size(partition.particles), ceil(usable / partition.comm.size)),
        preread=preread,
        halves=halves,
        classes=classes,
    )
    return sizes, figures


def refine_sizes(partition: Partition, box: int, options: RefineOptions) -> tuple[Sizes, tuple[int, int] | None]:
    """`measure_sizes` of a refinement. Collective."""
    return measure_sizes(
        partition,
        box,
        options.padding,
        options.model,
        options.single,
        preread=options.preread,
        classes=options.classes,
    )


def tell(setup: Setup, state: State) -> str:
    """The plan as text, a line per fact. Collective.

    Raises
    ------
    InputError
        On every rank, if the memory of a node will not do.
    """
    partition, options = setup.partition, setup.options
    plan = make_plan(setup, state)
    n = partition.n
    stored = int((setup.statistics.count * np.square(partition.particles.optics.box)).sum())
    n_group = int(np.count_nonzero(setup.statistics.count))
    lines = [
        f"particles            {n} ({partition.count(0)} + {partition.count(1)}), {len(setup.statistics.bad)} left out",
        f"images               {setup.box} px of {setup.pixel_size:.4g} Å in {n_group} optics group(s)",
        f"particle             diameter {setup.diameter:.0f} Å, symmetry {setup.group.name}",
        f"classes              {options.classes}",
        f"ranks × threads      {partition.comm.size} × {get_threads()}",
        f"pixels per pass      {stored:.3g}, read {'once' if options.preread else 'in each iteration'}",
    ]
    per_rank = ceil(n / partition.comm.size)
    images = 12 * np.pi / 8 * setup.box**2 * per_rank
    if plan.search is not None:
        scan, each = plan.search.scan, image_bytes(partition, plan)
        images = max(images, each * per_rank)
        fit = min(max(1, int(setup.memory / each)), per_rank)
        lines.append(
            f"first global search  {len(scan.rotations)} slices × {len(scan.shifts)} shifts for each image, "
            f"to {setup.field_of_view / scan.r_high:.1f} Å, {fit} images per rank at a time"
        )
    sizes, figures = refine_sizes(partition, setup.box, options)
    sizes = replace(sizes, images=min(setup.memory, images))
    phases = memory_plan(sizes)
    lines.append(f"memory per rank      about {size(peak(phases).total)} at most ({options.model} model)")
    lines += describe(phases)
    lines.append(f"files                {tell_folder(folder_plan(setup))}")
    warning = check(sizes, phases, figures)
    if warning is not None:
        lines.append(f"warning: {warning}")
    return "\n".join(lines)
