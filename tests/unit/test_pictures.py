"""The figures of docs/parallel.md and docs/conventions.md show what the package does."""

import sys
from pathlib import Path

import numpy as np
import pytest

from pycryo.kernels.backprojector import insert, new_accumulators
from pycryo.kernels.sphere import sphere, sphere_radius

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import conventions_pictures as conventions  # noqa: E402
import parallel_pictures as parallel  # noqa: E402


@pytest.mark.parametrize("title", conventions.POSES)
def test_balls_are_where_the_formulas_put_them(title):
    angles, origin = conventions.POSES[title]
    image = conventions.image_of(angles, origin)
    row, column = np.indices(image.shape) - conventions.BOX // 2
    for x, y in conventions.expected(angles, origin).values():
        near = np.hypot(column - x, row - y) < 4
        total = image[near].sum()
        # Truncation at 4 px and pixels cut by the circle move a centre by less than a fifth of a pixel.
        assert (image[near] * column[near]).sum() / total == pytest.approx(x, abs=0.2)
        assert (image[near] * row[near]).sum() / total == pytest.approx(y, abs=0.2)


def test_sums_of_a_quantum_do_not_depend_on_the_order():
    found = parallel.sums(n_term=200, n_order=50)
    assert len(np.unique(found["quantum"])) == 1
    assert len(np.unique(found["plain"])) > 5
    assert found["quantum"][0] == pytest.approx(found["plain"][0], rel=1e-12)


def test_traffic_is_that_of_the_exchange():
    box, n_rank, ball = 16, 4, sphere(sphere_radius(2, 8))
    sizes = parallel.traffic(ball, box, (3,), n_rank)
    sums = new_accumulators(box, padding=2, r_high=box / 2)
    insert(sums, parallel.random_entries(3, box))
    # A voxel that is touched has a weight, unless the quantum rounds it to nothing.
    assert sizes["key-values"] == [pytest.approx(32 * np.count_nonzero(sums.weight) * 3 / 4 / 1e6, rel=0.01)]
    assert sizes["slabs"] == [pytest.approx(24 * ball.n_voxel * 3 / 4 / 1e6)]


def test_all_are_drawn_and_in_the_pages(tmp_path):
    parallel.main(tmp_path)
    conventions.main(tmp_path)
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert len(drawn) == len(parallel.PICTURES) + 2
    pages = "".join((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("parallel", "conventions"))
    assert not [name for name in drawn if f"images/{name}" not in pages]
