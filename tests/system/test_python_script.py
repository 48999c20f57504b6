"""The script of docs/api/refinement.md (On several ranks), as it stands there, on two ranks."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pycryo

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api" / "refinement.md"


@pytest.fixture
def mpiexec():
    pytest.importorskip("mpi4py")
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.is_file() else shutil.which("mpiexec")
    if found is None:
        pytest.skip("there is no mpiexec")
    return found


def start(mpiexec, script, folder):
    command = [mpiexec, "-n", "2", sys.executable, "-m", "mpi4py", script.name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_the_script_of_the_page(mpiexec, tmp_path):
    if not PAGE.is_file():
        pytest.skip("the pages are not here")
    found = re.search(r"## On several ranks.*?```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    script = tmp_path / "script.py"
    script.write_text(found[1], encoding="utf-8")
    reference = pycryo.resample(pycryo.read_map(pycryo.betagal() / "reference_40A.mrc"), 24, 13.66)
    pycryo.write_map(tmp_path / "ref.mrc", reference)
    pycryo.write_particles(tmp_path / "particles.star", pycryo.simulate(reference, n=40, snr=1.0, shift_sd=0.5))
    done = start(mpiexec, script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^[\d.]+ Map\(24 px", done.stdout, re.MULTILINE)) == 1
    assert (tmp_path / "ranks_run" / "report.html").is_file()


def test_an_error_of_the_script_on_one_rank_ends_all(mpiexec, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from mpi4py import MPI\n"
        "if MPI.COMM_WORLD.rank == 0:\n"
        "    raise ValueError('a mistake of the script')\n"
        "MPI.COMM_WORLD.barrier()\n",
        encoding="utf-8",
    )
    done = start(mpiexec, script, tmp_path)
    assert done.returncode != 0
    assert "a mistake of the script" in done.stderr
