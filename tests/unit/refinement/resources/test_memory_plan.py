"""The memory plan: its formulas against what is allocated, its advice."""

from dataclasses import replace

import pytest

from pycryo.errors import InputError
from pycryo.kernels.sphere import sphere, sphere_radius
from pycryo.model.solve import grid_box
from pycryo.refinement.resources.memory_plan import (
    Sizes,
    advice,
    check,
    describe,
    half_voxels,
    image_budget,
    memory_plan,
    peak,
    size,
)

GIB = 1 << 30
SIZES = Sizes(
    box=256,
    padding=2,
    image_box=256,
    n_particles=100_000,
    n_ranks=8,
    node_ranks=8,
    threads=1,
    model="slab",
    single=False,
    images=1.0 * GIB,
    batch=64,
    preread=False,
)


def part(sizes, phase, name):
    return next(each for each in memory_plan(sizes) if each.name == phase).parts[name]


@pytest.mark.parametrize("radius", [10, 33, 129])
def test_voxels_without_a_table(radius):
    assert half_voxels(radius) == pytest.approx(sphere(radius).n_voxel, rel=0.01)


def test_models_divide_what_they_say():
    """4/n of a model in slabs, (n + 3)/n sharded, 4 replicated; F 16, T 8, W 8 bytes packed, C 16 bytes per voxel."""
    voxels = half_voxels(sphere_radius(2, 128))
    n = 2 * grid_box(256, 128)
    grid = 16 * n * n * (n // 2 + 1)
    for model, owned, held in (("slab", 4, 4), ("sharded", 4, 1), ("replicated", 1, 1)):
        sizes = replace(SIZES, model=model)
        assert part(sizes, "half-maps", "sums") == pytest.approx(24 * voxels / owned, rel=1e-6)
        assert part(sizes, "half-maps", "grid") == grid / held
    assert part(replace(SIZES, single=True), "half-maps", "grid") == grid / 8
    two = replace(SIZES, classes=2)
    for phase, name in (("half-maps", "sums"), ("search", "references"), ("search", "padded references")):
        assert part(two, phase, name) == pytest.approx(2 * part(SIZES, phase, name), rel=1e-6)
    # A rank alone owns both halves, but solves them one after the other.
    alone = replace(SIZES, n_ranks=1, node_ranks=1)
    assert part(alone, "half-maps", "sums") == pytest.approx(48 * voxels, rel=1e-6)
    assert part(alone, "half-maps", "grid") == grid


def test_memory_falls_with_ranks_and_rises_with_particles_only_by_their_table():
    more = [peak(memory_plan(replace(SIZES, n_ranks=n, node_ranks=1))).total for n in (2, 4, 8, 64)]
    assert more == sorted(more, reverse=True)
    table = memory_plan(replace(SIZES, n_particles=10**6))[0].total - memory_plan(SIZES)[0].total
    assert table == 900_000 * (1000 + 2500 / 8)


def test_beyond_32_bits():
    huge = replace(SIZES, box=1400, image_box=1400, n_particles=10**7)
    assert part(huge, "half-maps", "grid") > 2**33
    assert all(size(phase.total).endswith("GiB") for phase in memory_plan(huge))
    assert len(describe(memory_plan(huge))) == len(memory_plan(huge))


def test_images_get_what_the_model_leaves():
    assert image_budget(SIZES, 2.5, None) == 2.5 * GIB
    assert image_budget(SIZES, None, None) == 2 * GIB
    # Plenty: half of what is free. Little: what remains, and never nothing.
    assert image_budget(SIZES, None, (800 * GIB, 900 * GIB)) == 50 * GIB
    model = max(phase.total for phase in memory_plan(replace(SIZES, images=0.0)) if "images" in phase.parts)
    assert image_budget(SIZES, None, (12 * model, 900 * GIB)) == pytest.approx(0.2 * model)
    assert image_budget(SIZES, None, (8 * model, 900 * GIB)) == 64 << 20


def test_what_does_not_fit_is_told_with_what_would():
    plan = memory_plan(SIZES)
    needed = 8 * peak(plan).total
    assert check(SIZES, plan, None) is None
    assert check(SIZES, plan, (needed, needed)) is None
    warning = check(SIZES, plan, (needed - 1, needed + 1))
    assert size(needed) in warning
    with pytest.raises(InputError, match="what would help: "):
        check(SIZES, plan, (needed - 1, needed - 1))


@pytest.mark.parametrize(
    "change, free, expected",
    [
        ({"preread": True}, 30, "leave out --preread"),
        ({}, 12, "--memory 0.12"),
        ({"model": "replicated", "images": 1e8}, 14, "--model slab"),
        ({"box": 448, "image_box": 448, "images": 8.0}, 21, "--single"),
        ({"box": 1400, "image_box": 1400}, 300, "nodes"),
        ({"box": 1400, "image_box": 1400}, 1, "smaller images"),
    ],
)
def test_advice_is_the_least_change_that_fits(change, free, expected):
    assert expected in advice(replace(SIZES, **change), free * GIB)
