"""The global search against scores computed one by one in float64, on ranks that are threads."""

from __future__ import annotations

import numpy as np
import pytest
from thread_comm import run_ranks

from pycryo.geometry.grids import local_order, rotation_grid, shift_grid
from pycryo.geometry.rotations import angle_between, multiply, quaternion_to_matrix
from pycryo.geometry.symmetry import symmetry
from pycryo.kernels.compare import CELL_SLICES, NO_MARGIN, BestPoses, compare, new_best, pack_images
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.projector import fourier_volume
from pycryo.kernels.reference import compare as compare_twin
from pycryo.kernels.reference import projector as projector_twin
from pycryo.kernels.reference import shift as shift_twin
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.conveyor import WAYS, Link
from pycryo.refinement.data.prepare import Target
from pycryo.refinement.expectation.panels import HalfSearch
from pycryo.refinement.expectation.pruning import KEPT_MARGIN, find_neighbours, nest, survivors
from pycryo.refinement.expectation.scan import make_scan
from pycryo.refinement.expectation.search import Effort, Policy, global_search
from pycryo.refinement.expectation.slice_sharing import Rates, choose_way

BOX, R_HIGH, SIGMA = 24, 9.0, 1.5
TURN = np.array([0.8, 0.2, -0.4, 0.4])


def volume(seed):
    """A lump without symmetry, of width 2 px and more."""
    rng = np.random.default_rng(seed)
    line = np.arange(BOX) - BOX // 2
    grid = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1)
    centres, widths = rng.uniform(-4, 4, (6, 3)), rng.uniform(1.0, 1.6, 6)
    distance = np.square(grid[..., None, :] - centres).sum(-1)
    return fourier_volume(np.exp(-0.5 * distance / widths**2).sum(-1).astype(np.float32))


def complex_of(source):
    return source.data[..., 0] + 1j * source.data[..., 1].astype(float)


def images(volumes, n, noise, seed):
    """n images of each volume at random poses: `Target`, class, quaternions, shifts."""
    rng = np.random.default_rng(seed)
    pixels = half_plane(BOX, R_HIGH)
    kind = np.repeat(np.arange(len(volumes)), n)
    quaternions = rng.standard_normal((len(kind), 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    shifts = rng.uniform(-1.5, 1.5, (len(kind), 2))
    samples = np.empty((len(kind), 2, len(pixels)))
    for i, k in enumerate(kind):
        source = volumes[k]
        turn = quaternion_to_matrix(quaternions[i : i + 1])
        samples[i] = projector_twin.project_slices(complex_of(source), turn, pixels.kx, pixels.ky, 2.0)[0]
    samples = shift_twin.shift(samples, pixels.kx, pixels.ky, -shifts[:, None], BOX)[:, 0]
    samples += noise * rng.standard_normal(samples.shape)
    weights = np.full((len(kind), len(pixels)), noise**-2, np.float32)
    target = Target(pixels, (samples * noise**-2).astype(np.float32), weights)
    return target, kind, quaternions, shifts


def part_of(target, rows):
    return Target(target.pixels, target.images[rows], target.weights[rows])


def scans(count, symmetry_name="C1"):
    group = symmetry(symmetry_name)
    fine = make_scan(count, group, TURN, shift_grid(2.0, 0.7), 0.7, R_HIGH)
    coarse = make_scan(count // 4, group, TURN, shift_grid(2.0, 1.1), 1.1, 0.6 * R_HIGH)
    return fine, coarse


def half_search(comm, volumes, targets, fine, coarse=None):
    return HalfSearch(comm, 1.0, volumes, targets, fine, coarse, BOX, 1.0, SIGMA)


def search(comm, volumes, targets, fine, coarse=None, way=None, ring_size=None):
    effort = Effort()
    (found,) = global_search(
        [half_search(comm, volumes, targets, fine, coarse)],
        None if coarse is None else find_neighbours(coarse, fine, symmetry("C1")),
        Policy(way, ring_size, np.inf),
        [None],
        effort,
        threads=1,
    )
    return found, effort


def all_scores(volumes, target, scan):
    """(n, n_shift, n_item) log posteriors in float64."""
    near = target.between(1, scan.r_high)
    pixels = near.pixels
    matrices = quaternion_to_matrix(scan.rotations)
    slices = np.concatenate(
        [projector_twin.project_slices(complex_of(each), matrices, pixels.kx, pixels.ky, 2.0) for each in volumes]
    )
    moves = np.broadcast_to(scan.shifts, (len(near), *scan.shifts.shape))
    moved = shift_twin.shift(near.images.astype(float), pixels.kx, pixels.ky, moves, BOX)
    prior = np.broadcast_to(-0.5 * np.square(scan.shifts).sum(1) / SIGMA**2, moves.shape[:2])
    return compare_twin.scores(moved, near.weights.astype(float), slices, prior)


def test_candidates_are_the_best_of_all_poses_and_classes():
    volumes = [volume(1), volume(2)]
    target, *_ = images(volumes, 4, 20.0, 5)
    fine, _ = scans(150)
    (found,), effort = search(SerialComm(), volumes, [target], fine)
    scores = all_scores(volumes, target, fine)
    n_item = 2 * len(fine.rotations)
    assert effort.n_score == effort.n_score_all == len(target) * len(fine.shifts) * n_item
    _, index = compare_twin.best_poses(scores, 1)
    item, shift = np.divmod(index[:, 0], len(fine.shifts))
    np.testing.assert_array_equal(found.quaternion[:, 0], fine.rotations[item % len(fine.rotations)])
    np.testing.assert_array_equal(found.shift[:, 0], fine.shifts[shift])
    np.testing.assert_allclose(found.weight.sum(axis=1), 1)
    assert (np.diff(found.weight, axis=1) <= 1e-12).all()


def test_scores_of_each_image_are_counted():
    """What a coarse scan leaves of an image depends on nothing but the image."""
    volumes = [volume(1)]
    target, *_ = images(volumes, 9, 20.0, 6)
    fine, coarse = scans(300)
    _, effort = search(SerialComm(), volumes, [target], fine, coarse)
    ((counts,),) = effort.n_scores
    assert 0 < counts.sum() == effort.n_score < effort.n_score_all
    rows = np.arange(9)
    _, effort = search(SerialComm(), volumes, [part_of(target, rows[5:]), part_of(target, rows[:5])], fine, coarse)
    ((last, first),) = effort.n_scores
    np.testing.assert_array_equal(np.concatenate([first, last]), counts)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("way, ring_size", [*((way, None) for way in WAYS), ("conveyor", 2), (None, None)])
def test_ranks_and_ways_change_no_bit(size, way, ring_size):
    """Nine images on up to eight ranks, some of which have none."""
    volumes = [volume(1)]
    target, *_ = images(volumes, 9, 20.0, 6)
    fine, coarse = scans(300)
    expected, _ = search(SerialComm(), volumes, [target], fine, coarse)
    bounds = np.minimum(np.arange(size + 1) * -(-9 // size), 9)

    def work(comm):
        rows = np.arange(bounds[comm.rank], bounds[comm.rank + 1])
        targets = [part_of(target, rows)] if len(rows) else []
        return search(comm, volumes, targets, fine, coarse, way, ring_size)

    results = run_ranks(size, work)
    for name in ("quaternion", "shift", "weight"):
        together = np.concatenate([getattr(support, name) for found, _ in results for support in found])
        np.testing.assert_array_equal(together, getattr(expected[0], name))
    made = [effort.traffic.n_made for _, effort in results]
    n_item = len(fine.rotations) + len(coarse.rotations)
    if way in ("conveyor", "allgather") and ring_size is None:
        assert sum(made) == n_item
    if way == "local":
        assert made == [n_item] * size


def test_every_coarse_rotation_leaves_a_fine_one():
    """Grids so small that some coarse rotations are the next one of no fine one."""
    group = symmetry("D3")
    shifts = np.zeros((1, 2))
    for size in range(36, 44):
        coarse, fine = (make_scan(n, group, TURN, shifts, 1.0, 5.0) for n in (size, size + 10))
        nesting = nest(find_neighbours(coarse, fine, group), coarse, fine)
        n = len(coarse.rotations)
        # Each coarse rotation in turn is the only survivor; a list of one would count as cut off, and everything stay.
        score = np.tile(np.float32([1, -99]), (n, 1))
        best = BestPoses(score, np.tile(np.arange(n)[:, None], 2), score[:, 0].astype(float), np.zeros(n))
        assert survivors(best, nesting, 1).cells.any(axis=1).all()


def test_cells_of_survivors_hold_their_fine_rotations(rng):
    """Of two classes and 21 images, one of which needs everything; cells across the border of the classes."""
    group, n, n_class, n_place = symmetry("C1"), 21, 2, 30
    turn, shifts = np.array([1.0, 0, 0, 0]), np.array([[0.0, 0], [1, 0], [0, 1]])
    coarse, fine = (make_scan(count, group, turn, shifts, 1.0, 5.0) for count in (40, 333))
    nesting = nest(find_neighbours(coarse, fine, group), coarse, fine)
    n_coarse, n_fine = len(coarse.rotations), len(fine.rotations)
    score = -np.sort(rng.exponential(20, (n, n_place)), axis=1).astype(np.float32)
    score[0] = 1
    index = rng.integers(0, n_class * n_coarse * len(shifts), (n, n_place))
    needed = survivors(BestPoses(score, index, score[:, 0].astype(float), np.zeros(n)), nesting, n_class)
    assert needed.cells[0].all()
    assert needed.shifts[0].all()
    for image in range(1, n):
        items = set()
        for item in index[image, score[image] >= score[image, 0] - 12.25 - 0.1 * max(score[image, 0], 0)] // len(
            shifts
        ):
            number, rotation = divmod(int(item), n_coarse)
            near = {*np.flatnonzero(nesting.neighbours.nearest == rotation), nesting.neighbours.child[rotation]}
            items |= {number * n_fine + int(each) for each in near}
        assert set(np.flatnonzero(needed.cells[image])) == {item // CELL_SLICES for item in items}


@pytest.mark.parametrize("level", [-500.0, 0.0, 500.0])
def test_survivors_are_the_same_with_a_margin(level, rng):
    """The coarse scan leaves out poses that no image needs, whatever the size of the scores and the calls."""
    group, n, n_shift = symmetry("C1"), 12, 3
    shifts = np.array([[0.0, 0], [1, 0], [0, 1]])
    coarse, fine = (make_scan(count, group, TURN, shifts, 1.0, 5.0) for count in (160, 640))
    nesting = nest(find_neighbours(coarse, fine, group), coarse, fine)
    n_coarse = len(coarse.rotations)
    images = rng.standard_normal((n, n_shift, 2, 10)).astype(np.float32)
    # From images whose best poses stand out to those that tell nothing.
    images *= np.linspace(0.1, 30, n, dtype=np.float32)[:, None, None, None]
    slices = rng.standard_normal((n_coarse, 2, 10)).astype(np.float32)
    panel = pack_images(images, np.zeros((n, 10), np.float32))
    found = []
    for margin, split in ((NO_MARGIN, n_coarse), (KEPT_MARGIN, n_coarse), (KEPT_MARGIN, 32), (KEPT_MARGIN, 7)):
        best = new_best(n, 200, margin)
        for first in range(0, n_coarse, split):
            part = slices[first : first + split]
            prior = np.full(len(part), level, np.float32)
            compare(panel, part, best, slice_offset=first, log_prior_slice=prior)
        found.append((survivors(best, nesting, 1), (best.index >= 0).sum(axis=1)))
    (expected, n_kept), *others = found
    assert (n_kept == 200).all()
    for needed, n_left in others:
        np.testing.assert_array_equal(needed.cells, expected.cells)
        np.testing.assert_array_equal(needed.shifts, expected.shifts)
        # Some images tell so little that their lists are full in the end, others so much that they are not.
        assert (n_left < 200).any()
    assert expected.cells[0].all()
    assert not expected.cells[-1].all()


def test_coarse_to_fine_loses_nothing_and_saves_scores():
    """Clear images: what the coarse scan leaves holds the best pose of all."""
    volumes = [volume(1), volume(3)]
    target, _, quaternions, _ = images(volumes, 20, 9.0, 7)
    fine, coarse = scans(9000)
    (whole,), full = search(SerialComm(), volumes, [target], fine)
    (found,), few = search(SerialComm(), volumes, [target], fine, coarse)
    np.testing.assert_array_equal(found.quaternion[:, 0], whole.quaternion[:, 0])
    np.testing.assert_array_equal(found.shift[:, 0], whole.shift[:, 0])
    assert full.n_score == full.n_score_all == few.n_score_all
    assert few.n_score < 0.3 * full.n_score
    # The grid's points are 12° apart; lumps of 4 px within 9 shells tell poses no better than that.
    error = np.degrees(angle_between(found.quaternion[:, 0], quaternions))
    assert np.median(error) < 15


def test_images_that_tell_nothing_are_compared_with_everything():
    volumes = [volume(1)]
    target, *_ = images(volumes, 5, 1e4, 8)
    fine, coarse = scans(2000)
    (found,), effort = search(SerialComm(), volumes, [target], fine, coarse)
    (whole,), _ = search(SerialComm(), volumes, [target], fine)
    assert effort.n_score == effort.n_score_all
    np.testing.assert_array_equal(found.quaternion[:, 0], whole.quaternion[:, 0])


@pytest.mark.parametrize("name", ["C1", "C4", "D3"])
def test_every_fine_pose_belongs_to_the_next_coarse_one(name):
    group = symmetry(name)
    fine, coarse = scans(3000 // len(group), name)
    nesting = nest(find_neighbours(coarse, fine, group), coarse, fine)
    mates = np.stack(
        [multiply(coarse.rotations, np.broadcast_to(q, coarse.rotations.shape)) for q in group.quaternions]
    )
    cosine = np.abs(np.einsum("fi,gci->gcf", fine.rotations, mates)).max(axis=0)
    chosen = cosine[nesting.neighbours.nearest, np.arange(len(fine.rotations))]
    np.testing.assert_allclose(chosen, cosine.max(axis=0), atol=1e-12)
    assert nesting.shifts.any(axis=0).all()


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 1000])
def test_local_order(n):
    rotations = rotation_grid(max(n, 1), symmetry("C1"))[:n]
    order = local_order(rotations, 32)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    if n == 1000:
        cells = rotations[order][: 32 * 31].reshape(31, 32, 4)
        cosine = np.abs(np.einsum("cij,ckj->cik", cells, cells))
        # 31 cells of SO(3), of volume π²: cubes of this edge; an unordered cell spans all 180°.
        edge = np.degrees((8 * np.pi**2 / 31) ** (1 / 3))
        assert np.median(np.degrees(2 * np.arccos(np.clip(cosine, 0, 1))).max(axis=(1, 2))) < 2 * edge


RATES = Rates(make=1e-8, score=1e-10, link=Link(1e-5, 1e10))


def test_the_fastest_way_is_chosen():
    few = choose_way(16, 20_000, 400, 100 * 20_000, RATES)
    assert few.way == "conveyor"
    assert few.seconds["conveyor"] < few.seconds["allgather"] < few.seconds["local"]
    # The comparison of many images makes sampling a trifle.
    assert choose_way(16, 20_000, 400, 1e5 * 20_000, RATES).way == "local"
    assert choose_way(1, 20_000, 400, 100 * 20_000, RATES).way == "local"
    slow = Rates(1e-8, 1e-10, Link(1e-3, 1e7))
    assert choose_way(16, 20_000, 400, 100 * 20_000, slow).way == "local"
    for way in WAYS:
        assert choose_way(16, 20_000, 400, 100 * 20_000, slow, way=way).way == way
    assert choose_way(16, 20_000, 400, 100 * 20_000, RATES, ring_size=4).ring_size == 4
    # Gathered slices must fit into a quarter of the memory: 64 MB.
    assert "allgather" not in choose_way(16, 20_000, 400, 100 * 20_000, RATES, memory=2e8).seconds
    long_ring = choose_way(1024, 20_000, 400, 20 * 20_000, Rates(1e-8, 1e-10, Link(1e-4, 1e10)))
    assert 1 < long_ring.ring_size < 1024
