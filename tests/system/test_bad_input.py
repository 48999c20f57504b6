"""Bad input of `refine`: exit code 2, one sentence that names the culprit, nothing written."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from pycryo.cli.main import main
from pycryo.io.mrc import read_map, write_map
from pycryo.io.star import read_star


@pytest.fixture
def data(tiny_set, tmp_path):
    """A copy of the small data set that a test may spoil."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("particles.star", "particles.mrcs", "init40A.mrc", "mask.mrc"):
        shutil.copy(tiny_set / name, folder)
    return folder


def words(data, *more, out=None):
    out = out or data.parent / "new" / "run"
    names = ["refine", data / "particles.star", "--ref", data / "init40A.mrc", "--out", out, "--max-iter", 1, *more]
    return [str(word) for word in names]


def snapshot(folder):
    """Path -> content of all files, and the names of all folders."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def replace(path, old, new, count=1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def change_map(path, change):
    source = read_map(path)
    data = np.array(source.data)
    write_map(path, np.ascontiguousarray(change(data)), source.pixel_size)


def with_nan(data):
    data[3, 4, 5] = np.nan
    return data


def change_header(path, **values):
    with mrcfile.open(path, "r+", permissive=True) as file:
        for name, value in values.items():
            file.header[name] = value


def empty_table(data):
    path = data / "particles.star"
    text = path.read_text()
    path.write_text(text[: text.index("000001@")])


def without_optics_columns(data):
    replace(data / "particles.star", "_rlnVoltage", "_rlnNothing")


CASES = {
    "missing STAR": (lambda d: (d / "particles.star").unlink(), (), "particles.star"),
    "missing stack": (lambda d: (d / "particles.mrcs").unlink(), (), "particles.mrcs"),
    "missing reference": (lambda d: (d / "init40A.mrc").unlink(), (), "init40A.mrc"),
    "missing mask": (lambda d: None, ("--mask", "nowhere.mrc"), "nowhere.mrc"),
    "index beyond the stack": (lambda d: replace(d / "particles.star", "000040@", "000041@"), (), "41"),
    "index 0": (lambda d: replace(d / "particles.star", "000040@", "000000@"), (), "000000@"),
    "other box than the stack": (lambda d: change_box(d), (), "rlnImageSize"),
    "truncated stack": (lambda d: cut(d / "particles.mrcs"), (), "particles.mrcs"),
    "unsupported mode": (lambda d: change_header(d / "particles.mrcs", mode=4), (), "mode 4"),
    "NaN in the reference": (lambda d: change_map(d / "init40A.mrc", with_nan), (), "init40A.mrc"),
    "reference of zeros": (lambda d: change_map(d / "init40A.mrc", np.zeros_like), (), "init40A.mrc"),
    "reference not a cube": (lambda d: change_map(d / "init40A.mrc", lambda v: v[:20]), (), "init40A.mrc"),
    "mask beyond 1": (lambda d: change_map(d / "mask.mrc", lambda v: 3 * v), ("--mask", "mask.mrc"), "between 0 and 1"),
    "empty table": (empty_table, (), "no particles"),
    "not STAR": (lambda d: (d / "particles.star").write_bytes(b"MZ\0\0"), (), "particles.star"),
    "no CTF columns": (without_optics_columns, (), "rlnVoltage"),
    "unknown symmetry": (lambda d: None, ("--sym", "Q7"), "Q7"),
    "diameter of the whole box": (lambda d: None, ("--diameter", "500"), "--diameter"),
    "no particle twice": (lambda d: None, ("--i", "other.star"), "once"),
    "threads 0": (lambda d: None, ("--threads", "0"), "threads is 0"),
    "stage unknown": (lambda d: None, ("--stages", "global,orbital"), "stages"),
    "all images bad": (lambda d: spoil(d, range(40)), (), "40 of 40 images"),
    "too many images bad": (lambda d: spoil(d, range(3)), (), "--max-bad-fraction"),
}


def change_box(data):
    text = (data / "particles.star").read_text()
    (data / "particles.star").write_text(text.replace("          32 ", "          36 "))
    assert (data / "particles.star").read_text() != text


def cut(path):
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 5000)


def spoil(data, rows):
    """Images become NaN and constant in turn."""
    with mrcfile.mmap(data / "particles.mrcs", "r+", permissive=True) as file:
        for row in rows:
            file.data[row] = np.nan if row % 2 else 7.0


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_and_nothing_written(data, name, capsys):
    change, more, culprit = CASES[name]
    change(data)
    more = [str(data / word) if word.endswith("mask.mrc") else word for word in more]
    before = snapshot(data.parent)
    assert main(words(data, *more, "--quiet")) == 2
    printed = capsys.readouterr().err
    errors = [line for line in printed.splitlines() if "WARNING" not in line]
    assert len(errors) == 1, printed
    assert errors[0].startswith("pycryo refine: error: ")
    assert culprit in errors[0]
    assert snapshot(data.parent) == before


def test_no_permission_to_write(data, capsys):
    """A path below a file, and a read-only folder where the tests do not run as root."""
    places = [data / "particles.star" / "run", Path("/proc/pycryo/run")]
    if os.geteuid() != 0:
        closed = data.parent / "closed"
        closed.mkdir(mode=0o500)
        places.append(closed / "run")
    before = snapshot(data.parent)
    for out in places:
        assert main(words(data, "--quiet", out=out)) == 2
        printed = capsys.readouterr().err
        assert printed.count("\n") == 1
        assert str(out) in printed
    assert snapshot(data.parent) == before


def test_an_existing_folder_stays_as_it_was(data, capsys):
    out = data.parent / "old"
    out.mkdir()
    for name in ("run.json", "RELION_JOB_EXIT_SUCCESS", "notes.txt"):
        (out / name).write_text(name)
    spoil(data, range(3))
    before = {path.name for path in out.iterdir()}
    assert main(words(data, "--quiet", out=out)) == 2
    assert {path.name for path in out.iterdir()} == before
    assert (out / "run.json").read_text() == "run.json"


def test_bad_images_are_listed_and_left_out(data, capsys):
    spoil(data, (4, 9))
    out = data.parent / "run"
    assert main(words(data, "--quiet", out=out)) == 0
    assert "left out 2 images: 1 with constant pixels, 1 with NaN or infinite pixels" in capsys.readouterr().err
    rejected = read_star(out / "run_rejected.star")["particles"]
    assert list(rejected["rlnImageName"]) == [f"{row:06d}@{data}/particles.mrcs" for row in (5, 10)]
    kept = read_star(out / "run_data.star")["particles"]
    assert len(kept) == 38
    assert not set(rejected["rlnImageName"]) & set(kept["rlnImageName"])
    left_out = json.loads((out / "run.json").read_text())["particles"]["left_out"]
    assert [name.split("@")[0] for name in left_out] == ["5", "10"]
    assert "left out" in (out / "report.html").read_text()


def test_a_later_run_without_bad_images_has_no_rejected_file(data):
    out = data.parent / "run"
    out.mkdir()
    (out / "run_rejected.star").write_text("old")
    assert main(words(data, "--quiet", out=out)) == 0
    assert not (out / "run_rejected.star").exists()


@pytest.mark.parametrize("more", [("--sym", "Q7"), ("--diameter", "500")])
def test_rank_0_alone_tells_it(data, more):
    """Found by one rank, and by all ranks."""
    mpiexec = Path(sys.executable).with_name("mpiexec")
    if not mpiexec.is_file():
        pytest.skip("no mpiexec beside this Python")
    pytest.importorskip("mpi4py")
    line = [str(mpiexec), "-n", "2", sys.executable, "-m", "pycryo.cli.main", *words(data, "--quiet", *more)]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("pycryo refine: error: ") == 1
    assert len(ended.stderr.splitlines()) == 1
    assert not (data.parent / "new").exists()


def test_all_errors_at_once(data, capsys):
    """Three files are wrong: a user who mends one hears of all of them."""
    without_optics_columns(data)
    change_map(data / "init40A.mrc", with_nan)
    change_map(data / "mask.mrc", lambda v: 3 * v)
    before = snapshot(data.parent)
    assert main(words(data, "--mask", str(data / "mask.mrc"), "--quiet")) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "pycryo refine: error: 3 errors in the input"
    assert ["rlnVoltage" in lines[1], "init40A.mrc" in lines[2], "mask.mrc" in lines[3]] == [True] * 3
    assert len(lines) == 4
    assert snapshot(data.parent) == before


def test_warnings_are_in_log_json_and_report(data):
    replace(data / "particles.star", " 300.000000 ", " 30.000000 ")
    out = data.parent / "run"
    assert main(words(data, "--scratch", str(data.parent / "fast"), out=out)) == 0
    (finding,) = json.loads((out / "run.json").read_text())["findings"]
    assert (finding["severity"], finding["code"]) == ("warning", "voltage")
    assert "rlnVoltage is 30 kV, which is unusual" in finding["text"]
    assert finding["text"] in (out / "run.log").read_text()
    assert "Input: " in (out / "report.html").read_text()
    # Stacks were copied for the time of the run, and no file names the copies.
    assert not list((data.parent / "fast").iterdir())
    assert "pycryo-scratch" not in (out / "run_data.star").read_text()


def test_the_last_resolution_is_the_verdict(data):
    """Of images of noise: the start's resolution at best, as the warning says."""
    with mrcfile.open(data / "particles.mrcs", "r+") as file:
        file.set_data(np.random.default_rng(1).normal(size=file.data.shape).astype(np.float32))
    out = data.parent / "run"
    assert main(words(data, "--diameter", "90", out=out)) == 0
    log = (out / "run.log").read_text()
    last = float(re.findall(r"Auto-refine: Resolution= (\S+)", log)[-1])
    said = float(re.search(r"do not support a map beyond (\d+) Å", log)[1])
    assert last >= 40
    assert said == round(last)
    assert json.loads((out / "run.json").read_text())["resolution"] == pytest.approx(last, rel=1e-4)
