"""`refine --continue`: a run that was killed, by whatever signal, ends with the result of one that was not."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from pycryo.cli.main import main
from pycryo.io.mrc import read_map

RESULTS = ("run_class001.mrc", "run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc")
ITERATIONS = 5


def words(data, out, *more):
    names = ["refine", data / "particles.star", "--ref", data / "init40A.mrc", "--out", out]
    return [str(word) for word in (*names, "--max-iter", ITERATIONS, *more)]


@pytest.fixture(scope="module")
def uninterrupted(tiny_set, tmp_path_factory):
    """Folder of a run on two threads, with its last checkpoint."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main(words(tiny_set, folder, "--threads", "2", "--quiet", "--keep-iterations", "all")) == 0
    return folder


def iterations_saved(folder):
    """Iterations in the checkpoint of a run; -1 if there is none."""
    path = folder / "checkpoint" / "state.h5"
    if not path.exists():
        return -1
    with h5py.File(path, locking=False) as file:
        return json.loads(file["header"][()])["number"]


def kill_after(iteration, number, data, out):
    """Start a run on one thread and send a signal when this iteration is saved; returns exit code and stderr."""
    command = [sys.executable, "-m", "pycryo.cli.main", *words(data, out, "--threads", "1")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 60
        while iterations_saved(out) < iteration and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(number)
        _, message = process.communicate(timeout=60)
    return process.returncode, message


def assert_same_results(folder, expected):
    for name in RESULTS:
        np.testing.assert_array_equal(read_map(folder / name).data, read_map(expected / name).data)
    assert (folder / "run_data.star").read_bytes() == (expected / "run_data.star").read_bytes()
    runs = [json.loads((each / "run.json").read_text("utf-8")) for each in (folder, expected)]
    numbers = [[{**record, "seconds": None, "load": None} for record in run["iterations"]] for run in runs]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) == ITERATIONS


@pytest.mark.parametrize(
    "iteration, number, code",
    [(0, signal.SIGINT, 130), (1, signal.SIGTERM, 143), (2, signal.SIGKILL, -signal.SIGKILL)],
)
def test_killed_and_continued(tiny_set, uninterrupted, tmp_path, iteration, number, code):
    out = tmp_path / "run"
    returned, message = kill_after(iteration, number, tiny_set, out)
    assert returned == code, message
    done = iterations_saved(out)
    assert iteration <= done < ITERATIONS
    if number != signal.SIGKILL:
        assert [path.name for path in out.glob("RELION_JOB_EXIT_*")] == ["RELION_JOB_EXIT_ABORTED"]
        assert "--continue" in message
        assert sorted(path.name for path in (out / "checkpoint").iterdir()) == ["images.h5", "state.h5"]
    assert main(words(tiny_set, out, "--threads", "2", "--continue")) == 0
    assert [path.name for path in out.glob("RELION_JOB_EXIT_*")] == ["RELION_JOB_EXIT_SUCCESS"]
    assert_same_results(out, uninterrupted)
    # Files of the last two iterations are left, and no state.
    assert {path.name[:9] for path in out.glob("run_it*")} == {"run_it004", "run_it005"}
    assert not (out / "checkpoint").exists()


# Waits for its end when the first posteriors of its second iteration are on disc.
SLOW = """
import sys, time
from pycryo.cli.main import main
from pycryo.refinement.data import partition
from pycryo.refinement.files.saved import unfinished

partition._BATCH_PIXELS, unfinished.SAVE_SECONDS = 1, 0.0
add = unfinished.Unfinished.add

def add_slowly(keeper, *found):
    add(keeper, *found)
    if keeper.path.name == "iteration0002":
        time.sleep(60)

unfinished.Unfinished.add = add_slowly
main(sys.argv[1:])
"""


def test_killed_within_an_iteration(tiny_set, uninterrupted, tmp_path):
    """What was found before is not searched again; the end is the same, figures of the scan included."""
    out = tmp_path / "run"
    found = out / "checkpoint" / "iteration0002" / "00000-00000.h5"
    with subprocess.Popen([sys.executable, "-c", SLOW, *words(tiny_set, out, "--threads", "1", "--quiet")]) as process:
        end = time.monotonic() + 60
        while not found.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        process.kill()
    with h5py.File(found) as file:
        n_found = len(file["rows"])
    assert 0 < n_found < 40
    assert main(words(tiny_set, out, "--threads", "1", "--continue")) == 0
    text = (out / "run.log").read_text("utf-8")
    assert f"iteration 2 goes on: the posteriors of {n_found} of 40 images are there" in text
    assert_same_results(out, uninterrupted)
    assert not (out / "checkpoint").exists()


def snapshot(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file() and path.name != "run.log"}


def test_a_finished_run_stays_as_it_is(tiny_set, uninterrupted, capsys):
    before = snapshot(uninterrupted)
    assert main(words(tiny_set, uninterrupted, "--continue")) == 0
    assert "nothing to continue" in capsys.readouterr().err
    assert snapshot(uninterrupted) == before


@pytest.mark.parametrize("value", ["run_it002_optimiser.star", "checkpoint/state.h5"])
def test_relions_value_is_accepted(tiny_set, uninterrupted, value):
    assert main(words(tiny_set, uninterrupted, "--continue", uninterrupted / value, "--quiet")) == 0


def test_value_elsewhere(tiny_set, uninterrupted, capsys):
    assert main(words(tiny_set, uninterrupted, "--continue", "other/run_it002_optimiser.star")) == 2
    assert "--continue other/run_it002_optimiser.star: a run is continued from" in capsys.readouterr().err


def test_particles_behind_the_flag(tiny_set, uninterrupted):
    star, *rest = words(tiny_set, uninterrupted, "--quiet")[1:]
    assert main(["refine", "--continue", star, *rest]) == 0


def test_nothing_to_continue(tiny_set, tmp_path, capsys):
    assert main(words(tiny_set, tmp_path / "new" / "run", "--continue", "--quiet")) == 2
    assert "there is no checkpoint" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_other_options(tiny_set, uninterrupted, tmp_path, capsys):
    out = tmp_path / "run"
    (out / "checkpoint").mkdir(parents=True)
    (out / "checkpoint" / "state.h5").write_bytes((uninterrupted / "checkpoint" / "state.h5").read_bytes())
    before = snapshot(out)
    assert main(words(tiny_set, out, "--continue", "--quiet", "--seed", "3", "--sym", "C2")) == 2
    assert "symmetry (was C1, is C2), option seed (was 1, is 3)" in capsys.readouterr().err
    assert snapshot(out) == before
