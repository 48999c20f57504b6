"""The plan of the folder agrees with the files of a run."""

import re

import pytest

from pycryo import RefineOptions, read_particles
from pycryo.cli.main import main
from pycryo.io.mrc import read_map
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.resources.folder_plan import FolderPlan, folder_plan, tell_folder
from pycryo.refinement.start.first_setup import set_up


def plan_of(tiny_set, keep):
    options = RefineOptions(keep_iterations=keep, diameter=90, threads=1)
    particles, reference = read_particles(tiny_set / "particles.star"), read_map(tiny_set / "init40A.mrc")
    return folder_plan(set_up(SerialComm(), particles, reference, None, options)[0])


@pytest.fixture(scope="module")
def finished(tiny_set, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan") / "run"
    words = ["refine", str(tiny_set / "particles.star"), "--ref", str(tiny_set / "init40A.mrc"), "--out", str(folder)]
    more = ["--max-iter", "3", "--diameter", "90", "--quiet", "--threads", "1", "--keep-iterations", "all"]
    assert main([*words, *more]) == 0
    return folder


def total(paths):
    return sum(path.stat().st_size for path in paths if path.is_file())


def test_plan_and_files(tiny_set, finished):
    """What `last` and `none` leave is a part of what `all` does."""
    iteration = total(finished.glob("run_it003_*"))
    result = total(path for path in finished.iterdir() if not path.name.startswith("run_it"))
    plans = {keep: plan_of(tiny_set, keep) for keep in ("none", "last", "all")}
    assert {plan.iteration for plan in plans.values()} == {plans["all"].iteration}
    assert plans["all"].iteration == pytest.approx(iteration, rel=0.1)
    # A map is small here, beside the report of 3 MB for which there are 4 MiB.
    for keep, count in (("none", 0), ("last", 2)):
        assert result + count * iteration <= plans[keep].end <= result + count * iteration + (3 << 19)
        assert plans[keep].most >= plans[keep].end
    checkpoint = total((finished / "checkpoint").iterdir())
    assert 0 < plans["all"].end - plans["none"].end - checkpoint < 1 << 18
    assert plans["none"].most - plans["none"].end >= checkpoint


def test_words():
    plan = FolderPlan("all", 3 << 20, 5 << 20, 2 << 20)
    assert (
        tell_folder(plan)
        == "about 3 MiB at the end, 5 MiB at most and 2 MiB for each iteration (--keep-iterations all)"
    )
    assert re.fullmatch(
        r"about 3 MiB at the end, 5 MiB at most \(.*last\)", tell_folder(FolderPlan("last", 3 << 20, 5 << 20, 1))
    )
