"""``pycryo info``: its report, the launcher check, the memory plan."""

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from pycryo import _core
from pycryo.cli.commands import info
from pycryo.cli.main import main
from pycryo.errors import RunError
from pycryo.parallel import mpi_library as library
from pycryo.parallel.mpi_library import family, inspect_mpi


def rows(text):
    """Report as name -> text."""
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in text.splitlines() if line[:1] != " "}


def test_report(capsys):
    assert main(["info"]) == 0
    report = rows(capsys.readouterr().out)
    assert report["instruction set"].startswith(_core.isa())
    assert "of" in report["memory"]
    assert f"numpy {np.__version__}" in report["versions"]
    assert report["launcher check"].startswith(("ok: ", "no: "))
    assert "ranks" not in report
    assert "memory plan" not in report


@pytest.mark.parametrize("machine, name", [("aarch64", "NEON"), ("x86_64", "SSE2"), ("riscv64", None)])
def test_instruction_sets_of_other_processors(machine, name, monkeypatch, capsys):
    monkeypatch.setattr(info.platform, "machine", lambda: machine)
    assert main(["info"]) == 0
    report = rows(capsys.readouterr().out)["instruction set"]
    assert report.endswith(f" (baseline is {name})") == (name is not None)
    if machine != "x86_64":
        assert info.available_isas() == ["baseline"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags are those of x86-64")
def test_available_instruction_sets(tmp_path):
    assert _core.isa() in info.available_isas()
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse2 avx avx2 fma avx512f\n")
    assert info.available_isas(cpuinfo) == ["baseline", "avx2"]
    assert info.available_isas(tmp_path / "none") == [_core.isa()]


def test_ranks_of_nodes():
    assert info._ranks([("a", 8, 8)]) == []
    lines = info._ranks([("a", 8, 4), ("a", 8, 4), ("b", 2, 2)])
    assert lines == [
        "ranks:            2 × 4 threads on a, each may use 8 cores",
        "ranks:            1 × 2 threads on b, each may use 2 cores",
    ]


def test_launcher_of_another_library_is_told_once(monkeypatch, capsys):
    def alone():
        raise RunError("mpiexec started 3 processes, but each is alone: ...")

    monkeypatch.setattr(info, "world", alone)
    for rank, code in (("0", 1), ("2", 1)):
        monkeypatch.setenv("PMI_RANK", rank)
        assert main(["info"]) == code
        captured = capsys.readouterr()
        assert bool(captured.out) == ("each is alone" in captured.err) == (rank == "0")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("MPICH Version:      5.0.2", "MPICH"),
        ("HYDRA build details:\n    Version: 4.2", "MPICH"),
        ("Open MPI v5.0.3, package: ...", "Open MPI"),
        ("mpiexec (OpenRTE) 4.1.4", "Open MPI"),
        ("prterun (PRRTE) 3.0", "Open MPI"),
        ("Intel(R) MPI Library 2021.10 for Linux* OS", "Intel MPI"),
        ("something else", ""),
    ],
)
def test_family(text, expected):
    assert family(text) == expected


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """An environment with its own mpiexec, and another launcher."""
    for folder, words in (("own/bin", "HYDRA build details:"), ("system", "mpiexec (OpenRTE) 4.1.4")):
        (tmp_path / folder).mkdir(parents=True)
        path = tmp_path / folder / "mpiexec"
        path.write_text(f"#!/bin/sh\necho '{words}'\n")
        path.chmod(0o755)
    monkeypatch.setattr(library, "sys", SimpleNamespace(prefix=str(tmp_path / "own")))
    monkeypatch.setattr(library, "_library", lambda: ("4.1", "MPICH Version: 5.0", True))
    monkeypatch.setattr(library, "launched_size", lambda: None)
    return tmp_path


@pytest.mark.parametrize(
    "path, works, advice",
    [
        ("own/bin", True, "are both MPICH"),
        ("system", False, "is of Open MPI, but mpi4py uses MPICH: each of its processes would run alone; start"),
        ("nothing", False, "mpiexec is not on the PATH; activate the environment"),
    ],
)
def test_launcher_check(environment, monkeypatch, path, works, advice):
    monkeypatch.setenv("PATH", os.pathsep.join([str(environment / path), "/bin"]) if path != "nothing" else "/nowhere")
    report = inspect_mpi()
    assert report.works == works
    assert advice in report.advice


def test_launcher_check_without_the_environments_own(environment, monkeypatch):
    (environment / "own/bin/mpiexec").unlink()
    monkeypatch.setenv("PATH", "/nowhere")
    assert "there is no mpiexec" in inspect_mpi().advice
    monkeypatch.setattr(library, "_library", lambda: ("4.1", "cannot load libmpi.so", False))
    assert "cannot load an MPI library" in inspect_mpi().advice
    monkeypatch.setattr(library, "_library", lambda: ("", "", False))
    report = inspect_mpi()
    assert (report.works, report.mpi4py) == (False, "")
    assert "runs as one process" in report.advice


def test_second_launcher_of_the_same_family(environment, monkeypatch):
    (environment / "system/mpiexec").write_text("#!/bin/sh\necho HYDRA\n")
    monkeypatch.setenv("PATH", os.pathsep.join([str(environment / "system"), "/bin"]))
    report = inspect_mpi()
    assert report.works
    assert "comes before the environment's" in report.advice


def test_mpi_is_not_started_by_looking():
    pytest.importorskip("mpi4py")
    code = (
        "import mpi4py; from pycryo.parallel.mpi_library import inspect_mpi; inspect_mpi(); "
        "from mpi4py import MPI; print(MPI.Is_initialized(), mpi4py.rc.initialize)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]


def test_memory_plan_of_the_command(capsys):
    words = ["--box", "300", "--particles", "5000", "--ranks", "4", "--pad", "1", "--model", "sharded", "--preread"]
    assert main(["info", *words]) == 0
    printed = capsys.readouterr().out
    assert "300 px, 5000 particles, 4 ranks, padding 1, sharded model: about " in printed
    assert "images kept" in printed


@pytest.mark.parametrize("word", ["--box", "--particles", "--ranks", "--padding"])
def test_impossible_plan(word, capsys):
    assert main(["info", "--box", "64", word, "0"]) == 2
    captured = capsys.readouterr()
    assert f"{word[2:]} is 0, it must be at least 1" in captured.err
    assert not captured.out


def test_the_process_ends_without_a_search_for_cycles():
    """Exit functions run in reverse order: this one sees what `main` has had done before the interpreter collects."""
    code = (
        "import atexit, gc\n"
        "atexit.register(lambda: print('frozen', gc.get_freeze_count() > 1000))\n"
        "from pycryo.cli.main import main\n"
        "main(['info'])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split("\n")[-2] == "frozen True"
