"""Fixtures shared by all tests."""

import atexit
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("pycryo", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("pycryo")

if {"PMI_RANK", "OMPI_COMM_WORLD_RANK"} & set(os.environ):  # of MPICH's and of Open MPI's mpiexec
    # Ranks begin at once, and pytest's removal of old folders leaves a listing open if another process removes them
    # first: each gets a root of its own.
    _root = tempfile.TemporaryDirectory(prefix="pycryo-rank-")
    atexit.register(_root.cleanup)
    os.environ["PYTEST_DEBUG_TEMPROOT"] = _root.name


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip here, not by a mark or in a fixture: pytest would write a line for each test function."""
    if item.get_closest_marker("maintainers") and not SHARED.is_dir():
        pytest.skip("the maintainers' data folder is not here; data of our own were tested")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n``: the tests of a file stay together, and all those of several ranks, which begin first."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return "mpi" if "mpi" in file.split("/") else file

    return ByFile(config, log)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, new for each test."""
    return np.random.default_rng(20260101)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The maintainers' folder of test data beside the project, for tests with the mark `maintainers`.

    They are skipped in a user's clone. What they test is tested on data of our own as well, everywhere.
    """
    return SHARED


@pytest.fixture(scope="session")
def own_star() -> Path:
    """Folder of small STAR files of our own, in the forms of several programs and versions."""
    return Path(__file__).parent / "data" / "star"


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with 40 clear particles of 32 px: STAR files, stack, map.mrc, mask.mrc, init40A.mrc."""
    from pycryo.cli.main import main
    from pycryo.io.mrc import write_map
    from pycryo.maps.density import soft_sphere

    folder = tmp_path_factory.mktemp("tiny")
    blob = np.zeros((32, 32, 32), np.float32)
    for strength, radius, (z, y, x) in ((1, 4, (0, 0, -4)), (1.5, 3, (0, 5, 2)), (2, 2, (4, -3, 3))):
        blob += np.float32(strength) * np.roll(soft_sphere(32, radius, 2), (z, y, x), (0, 1, 2))
    write_map(folder / "model.mrc", blob, 4.0)
    words = [
        "simulate",
        str(folder / "model.mrc"),
        "--out",
        str(folder),
        "--n",
        "40",
        "--snr",
        "0.5",
        "--shift-sd",
        "1",
    ]
    assert main(words) == 0
    return folder


@pytest.fixture(scope="session")
def tiny_run(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a refinement of `tiny_set`, to be read only."""
    from pycryo.cli.main import main

    folder = tmp_path_factory.mktemp("tiny_run") / "run"
    words = ["refine", str(tiny_set / "particles.star"), "--ref", str(tiny_set / "init40A.mrc"), "--out", str(folder)]
    assert main([*words, "--max-iter", "2", "--quiet"]) == 0
    return folder
