"""The order of particles: it depends on the names of their images only."""

import numpy as np
import pytest

from pycryo.io.mrc_stacks import write_stack
from pycryo.io.particles import read_particles, write_particles
from pycryo.io.star import read_star

NAMES = ("000002@b/x.mrcs", "1@b/x.mrcs", "1@a/x.mrcs", "000003@a/x.mrcs", "1@a/w.mrcs", "2@./c/a.mrcs")
SORTED = ("2@c/a.mrcs", "1@a/w.mrcs", "1@a/x.mrcs", "3@a/x.mrcs", "1@b/x.mrcs", "2@b/x.mrcs")


def written(folder, names, prefix="", extra=()):
    """STAR file of images with these names, in this order; the column `tag` counts the names of `NAMES`."""
    for name in ("a/x", "a/w", "b/x", "c/a"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_stack(folder / f"{name}.mrcs", [np.random.default_rng(1).normal(size=(3, 8, 8))], (8, 8), 1.5)
    rows = [f"{at.replace('@', '@' + prefix)} {NAMES.index(at)} {' '.join(map(str, more))}"
            for at, more in zip(names, extra or [(0, 0)] * len(names), strict=True)]  # fmt: skip
    labels = "_rlnImageName\n_tag\n_rlnAnglePsi\n_rlnRandomSubset\n"
    (folder / "in.star").write_text(f"data_particles\nloop_\n{labels}" + "\n".join(rows) + "\n")
    return folder / "in.star"


def shown(particles):
    return [
        f"{index + 1}@{particles.stacks[stack].parent.name}/{particles.stacks[stack].name}"
        for index, stack in zip(particles.image_index, particles.stack, strict=True)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_order_of_the_rows_and_the_folder_make_no_difference(tmp_path, seed):
    names = np.random.default_rng(seed).permutation(NAMES).tolist()
    prefix = f"{tmp_path}/" if seed % 2 else ""
    particles = read_particles(written(tmp_path, names, prefix))
    assert shown(particles) == list(SORTED)
    assert [names[row] for row in particles.rows] == [NAMES[i] for i in (5, 4, 2, 3, 1, 0)]
    # Another pass through a file keeps the order of its rows.
    write_particles(tmp_path / "out.star", particles.subset([4, 0, 2]), {"rlnAnglePsi": np.array([4.0, 0.0, 2.0])})
    table = read_star(tmp_path / "out.star")["particles"]
    kept = sorted((4, 0, 2), key=lambda place: particles.rows[place])
    assert table["rlnAnglePsi"].astype(float).tolist() == kept
    assert table["tag"].tolist() == [str(NAMES.index(names[particles.rows[place]])) for place in kept]


def test_rows_of_one_image_by_pose(tmp_path, rng):
    copies = [(NAMES[0], 30.0, 1), (NAMES[0], -20.0, 2), (NAMES[0], 30.0, 2), (NAMES[1], 50.0, 1)]
    for order in (rng.permutation(4) for _ in range(5)):
        names, *extra = zip(*(copies[place] for place in order), strict=True)
        particles = read_particles(written(tmp_path, names, extra=list(zip(*extra, strict=True))))
        assert particles.psi.tolist() == [50.0, -20.0, 30.0, 30.0]
        assert particles.random_subset.tolist() == [1, 2, 1, 2]


def test_files_that_are_not_checked_keep_their_order(tmp_path):
    assert read_particles(written(tmp_path, NAMES), validate=False).rows.tolist() == list(range(6))
