"""A disc that is full in every kind of write: exit code 1, one sentence that names the file, an older one intact.

A limit on the size of files stands for the disc: the kernel refuses what goes beyond it in the midst of a write.
"""

import pytest
from small_disc import small_disc

from pycryo.cli.main import main


@pytest.fixture(scope="module")
def run(tiny_set, tmp_path_factory):
    """Folder of a refinement: maps and particles for the other commands; beside it a .cs file."""
    folder = tmp_path_factory.mktemp("full") / "run"
    assert main([*refine_words(tiny_set, folder), "--keep-iterations", "all"]) == 0
    assert main(["export", str(tiny_set / "truth.star"), "--cs", str(folder.parent / "p.cs")]) == 0
    return folder


def refine_words(data, out):
    names = ["refine", data / "particles.star", "--ref", data / "init40A.mrc", "--out", out]
    return [str(word) for word in (*names, "--max-iter", 1, "--threads", 1, "--quiet")]


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


COMMANDS = {
    "simulate": "simulate {data}/model.mrc --out {out} --n 20",
    "project": "project {data}/model.mrc --random 9 --out {out}/views",
    "reconstruct": "reconstruct {data}/truth.star --out {out}/map.mrc --half-maps --threads 1",
    "fsc": "fsc {run}/run_half1_class001_unfil.mrc {run}/run_half2_class001_unfil.mrc --out {out}/curve",
    "mask": "mask {run}/run_class001.mrc --out {out}/mask.mrc",
    "symmetry": "symmetry {run}/run_class001.mrc --sym C2 --min-correlation 0.01 --out {out}/turned.mrc --threads 1",
    "select": "select {run}/run_data.star --half 1 --out {out}/good.star --rejected {out}/bad.star",
    "export": "export {data}/truth.star --cs {out}/p.cs",
    "import": "import {run}/../p.cs --out {out}/p.star",
    "ctf-refine": "ctf-refine {data}/truth.star --map {data}/model.mrc --resolution 12 --out {out} --threads 1",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_file_of_each_command(command, tiny_set, run, tmp_path, capsys):
    """As often as the command writes files of different sizes, each time a bit less than one of them needs."""
    out = tmp_path / "out"
    out.mkdir()
    words = COMMANDS[command].format(data=tiny_set, run=run, out=out).split()
    assert main(words) == 0, capsys.readouterr().err
    written = files(out)
    assert written
    capsys.readouterr()
    for size in sorted({len(data) for data in written.values()} - {0}):
        before = files(out)
        with small_disc(size - 1):
            assert main(words) == 1
        (message,) = [each for each in capsys.readouterr().err.splitlines() if "overwritten" not in each]
        assert message.startswith(f"pycryo {command}: failed: cannot write ")
        (culprit,) = [path for path in written if f" {path}: " in message]
        assert len(written[culprit]) >= size
        after = files(out)
        assert after[culprit] == before[culprit]
        assert not [path for path in after if path.name.startswith(".")]


def test_files_of_a_refinement(tiny_set, run, tmp_path, capsys):
    """What grows beyond the limit at the start, after the start and at the end; with room for all it goes on."""
    out = tmp_path / "run"
    for name, limit in {"run.log": 100, "state.h5": 200_000, "report.html": report_size(run) - 10_000}.items():
        assert limit < next(run.rglob(name)).stat().st_size
        with small_disc(limit):
            assert main([*refine_words(tiny_set, out), *(["--continue"] if name == "report.html" else [])]) == 1
        assert_told(capsys, "refine", name)
        assert not list(out.rglob(".*"))
        assert [path.name for path in out.glob("RELION_JOB_EXIT_*")] == ["RELION_JOB_EXIT_FAILURE"]
        assert (out / "checkpoint" / "state.h5").exists() == (name != "run.log")  # that of the start is small
    assert (out / "run_class001.mrc").read_bytes() == (run / "run_class001.mrc").read_bytes()
    assert main([*refine_words(tiny_set, out), "--continue"]) == 0
    assert (out / "run_class001.mrc").read_bytes() == (run / "run_class001.mrc").read_bytes()
    assert (out / "report.html").is_file()


def report_size(folder):
    return (folder / "report.html").stat().st_size


def assert_told(capsys, command, name):
    (message,) = [each for each in capsys.readouterr().err.splitlines() if "WARNING" not in each]
    assert message.startswith(f"pycryo {command}: failed: cannot write ")
    assert f"/{name}: " in message


def test_initial_map(tiny_set, tmp_path, capsys):
    out = tmp_path / "run"
    words = ["abinitio", str(tiny_set / "particles.star"), "--out", str(out), "--tries", "1", "--max-images", "20"]
    with small_disc(100_000):
        assert main([*words, "--threads", "1", "--quiet"]) == 1
    assert_told(capsys, "abinitio", "initial_model.mrc")
    assert not list(out.rglob(".*"))


def test_report(run, capsys):
    before = (run / "report.html").read_bytes()
    with small_disc(len(before) - 10_000):
        assert main(["report", str(run)]) == 1
    assert_told(capsys, "report", "report.html")
    assert (run / "report.html").read_bytes() == before
