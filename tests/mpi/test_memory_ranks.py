"""Peak memory of the M-phase on real ranks against the memory plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pycryo.kernels.backprojector import new_accumulators
from pycryo.kernels.sphere import sphere, sphere_radius
from pycryo.model.solve import Solver
from pycryo.parallel.world import world
from pycryo.refinement.resources.memory_plan import Sizes, memory_plan
from pycryo.threads import get_threads, set_threads

BOX = 160


def status(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the system does not let a process reset its peak memory")


def solve_once(comm, box: int, model: str, seed: int) -> None:
    """F and T of random numbers, solved for a map."""
    n = 1 if model == "replicated" else comm.size
    bounds = sphere(sphere_radius(2, box / 2)).bounds(n)
    rank = comm.rank % n
    sums = new_accumulators(box, padding=2, r_high=box / 2, layers=(int(bounds[rank]), int(bounds[rank + 1])))
    rng = np.random.default_rng(seed)
    for values in (sums.re, sums.im, sums.weight):
        values[:] = 1 + rng.random(len(values))
    Solver(comm, sums, model=model).solve()


@pytest.mark.parallel([1, 2, 4])
@pytest.mark.parametrize("model", ["slab", "sharded"])
def test_solving_takes_what_the_plan_says(model):
    comm = world()
    before = get_threads()
    set_threads(1)
    try:
        solve_once(comm, 24, model, 1)  # libraries are loaded, pools made
        comm.barrier()
        base = status("VmRSS")
        forget_peak()
        solve_once(comm, BOX, model, 2)
        peak = status("VmHWM") - base
    finally:
        set_threads(before)
    sizes = Sizes(
        box=BOX,
        padding=2,
        image_box=BOX,
        n_particles=1,
        n_ranks=comm.size,
        node_ranks=comm.size,
        threads=1,
        model=model,
        single=False,
        images=0.0,
        batch=1,
        preread=False,
        halves=1,
    )
    phase = next(each for each in memory_plan(sizes) if each.name == "half-maps")
    planned = sum(phase.parts[name] for name in ("sums", "grid", "transform"))
    planned += 4 * BOX**3 // comm.size  # the map
    # What the allocator keeps, scratch of the thread: 40 MB, and a tenth for layers that do not divide evenly.
    assert 0.8 * planned < peak < 1.1 * planned + (40 << 20)
