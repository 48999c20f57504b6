"""Tests for the same number of ranks run in one launch of mpiexec: Python starts once per rank, not once per test.

Works beside mpi-pytest, which splits tests by their numbers of ranks and would start mpiexec for each. The ranks write
what became of each test into a folder; pytest, which started them, waits for its tests one by one and reports them. A
test that fails ends its launch, for its ranks may be out of step; the next test begins another one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
from pytest_mpi.plugin import CHILD_PROCESS_FLAG, MPIImplementation, detect_mpi_implementation

from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.world import world
from pycryo.threads import available_cores

# Set for the ranks: the folder they write to.
FOLDER = "PYCRYO_TEST_RANKS_FOLDER"
# Seconds that the ranks have to end after the last test, and that others have to fail, too, after one has failed.
END, ALL_FAIL = 60.0, 10.0
# Seconds between two looks at the folder.
LOOK = 0.02

_launch: Launch | None = None


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of all ranks; pytest's own would be cleaned up by each while the others still read."""
    comm = world()
    path = on_root(comm, lambda: Path(tempfile.mkdtemp()))
    yield path
    comm.all_gather(None)
    if comm.rank == 0:
        shutil.rmtree(path)


def is_of_ranks(item: pytest.Item) -> bool:
    return item.path.parent == Path(__file__).parent


def count_of(item: pytest.Item) -> int:
    """Ranks that a test wants, as mpi-pytest has marked it."""
    found = (re.fullmatch(r"parallel\[(\d+)\]", mark.name) for mark in item.iter_markers())
    return next((int(match[1]) for match in found if match), 1)


def is_launched_here(item: pytest.Item) -> bool:
    """Whether a test wants ranks that nobody has started."""
    from mpi4py import MPI

    return count_of(item) > 1 and MPI.COMM_WORLD.size == 1


def told(folder: Path, rank: int) -> list[dict]:
    """What a rank has told: dictionaries with "test" and "when", and of the parts of a test "outcome" and "text"."""
    path = folder / f"rank{rank}"
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]  # the last one is being written


def tell(**words: str) -> None:
    from mpi4py import MPI

    with (Path(os.environ[FOLDER]) / f"rank{MPI.COMM_WORLD.rank}").open("a") as stream:
        stream.write(json.dumps(words) + "\n")


class Launch:
    """Ranks that run tests one after the other."""

    def __init__(self, config: pytest.Config, size: int, items: list[pytest.Item]) -> None:
        self.size, self.tests = size, [item.nodeid for item in items]
        self._folder = tempfile.TemporaryDirectory(prefix="pycryo-ranks-")
        self.folder = Path(self._folder.name)
        launcher = which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
        words = [launcher, "-n", str(size)]
        if detect_mpi_implementation() is MPIImplementation.OPENMPI:
            words.insert(1, "--oversubscribe")
        # As this pytest was started: `python -m` would find packages in the working folder.
        words += [sys.executable, *([sys.argv[0]] if Path(sys.argv[0]).name == "pytest" else ["-m", "pytest"])]
        # The tests are chosen already (-m ""), and who expects a failure is told of it.
        words += ["-q", "-m", "", "--runxfail", "-p", "no:cacheprovider"]
        words += [f"--rootdir={config.rootpath}", *(f"{item.path}::{item.nodeid.split('::', 1)[1]}" for item in items)]
        environment = os.environ | {CHILD_PROCESS_FLAG: "1", FOLDER: self._folder.name}
        if size > available_cores():  # as `yield_cores`, before which mpi-pytest has imported mpi4py
            environment.setdefault("MPIR_CVAR_ENABLE_HEAVY_YIELD", "1")
        self._output = (self.folder / "output").open("w")
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=environment,
        )

    def outcome(self, test: str) -> None:
        """Wait until a test is over on all ranks; fails or is skipped as the test did."""
        while True:
            has_ended = self._process.poll() is not None
            parts = [[each for each in told(self.folder, rank) if each["test"] == test] for rank in range(self.size)]
            is_over = all(any(each["when"] == "teardown" for each in mine) for mine in parts)
            if has_ended or (is_over and all(each["outcome"] != "failed" for mine in parts for each in mine)):
                break
            time.sleep(LOOK)
        texts = [
            f"rank {rank}, {each['when']}:\n{each['text']}"
            for rank, mine in enumerate(parts)
            for each in mine
            if each["outcome"] == "failed"
        ]
        if texts:
            pytest.fail("\n".join(texts), pytrace=False)
        if not is_over:
            pytest.fail(f"the ranks have ended before the test:\n{self._read_output()}", pytrace=False)
        if test == self.tests[-1] and self._process.wait(END) != 0:
            pytest.fail(f"the ranks did not end well:\n{self._read_output()}", pytrace=False)
        skipped = [each["text"] for mine in parts for each in mine if each["outcome"] == "skipped"]
        if skipped:
            pytest.skip(skipped[0])

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def has_begun(self, test: str) -> bool:
        return any(each["test"] == test for rank in range(self.size) for each in told(self.folder, rank))

    def close(self) -> None:
        if self.is_running:
            self._process.terminate()
        self._process.wait()
        self._output.close()
        self._folder.cleanup()

    def _read_output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")[-5000:]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests for the same number of ranks one after the other, those for one rank first."""
    places = [place for place, item in enumerate(items) if is_of_ranks(item)]
    ordered = sorted((items[place] for place in places), key=count_of)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    global _launch
    if FOLDER in os.environ or not is_launched_here(pyfuncitem):
        return None
    test = pyfuncitem.nodeid
    if _launch and (test not in _launch.tests or not (_launch.is_running or _launch.has_begun(test))):
        _launch.close()
        _launch = None
    if _launch is None:
        items, size = pyfuncitem.session.items, count_of(pyfuncitem)
        rest = [item for item in items[items.index(pyfuncitem) :] if is_of_ranks(item) and count_of(item) == size]
        _launch = Launch(pyfuncitem.config, size, rest)
    _launch.outcome(test)
    return True


def pytest_sessionfinish() -> None:
    global _launch
    if _launch:
        _launch.close()
        _launch = None


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In a rank: write how a part of a test went, and end all after a failure."""
    if FOLDER not in os.environ:
        return
    text = report.longreprtext
    if report.skipped and isinstance(report.longrepr, tuple):
        text = report.longrepr[2].removeprefix("Skipped: ")
    if report.failed:
        text = "\n".join([text, *(f"{title}\n{content}" for title, content in report.sections)])
    tell(test=report.nodeid, when=report.when, outcome=report.outcome, text=text)
    if report.failed:
        end_all(report.nodeid, report.when)


def end_all(test: str, when: str) -> None:
    """Once the other ranks are as far, or hang."""
    from mpi4py import MPI

    folder, end = Path(os.environ[FOLDER]), time.monotonic() + ALL_FAIL
    size = MPI.COMM_WORLD.size
    while time.monotonic() < end and not all(
        any((each["test"], each["when"]) == (test, when) or each["outcome"] == "failed" for each in told(folder, rank))
        for rank in range(size)
    ):
        time.sleep(LOOK)
    MPI.COMM_WORLD.Abort(1)
    os._exit(1)  # MPICH's Abort may return before mpiexec ends this rank
