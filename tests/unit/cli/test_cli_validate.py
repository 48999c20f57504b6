"""`pycryo validate` on a small run."""

import json
import shutil

import numpy as np
import pytest

from pycryo.cli.main import main
from pycryo.io.particles import read_particles
from pycryo.refinement.files.lock import FolderLock


@pytest.fixture(scope="module")
def finished(tiny_set, tmp_path_factory):
    folder = tmp_path_factory.mktemp("validate") / "run"
    words = ["refine", tiny_set / "particles.star", "--ref", tiny_set / "init40A.mrc", "--out", folder]
    assert main([str(word) for word in (*words, "--max-iter", "2", "--threads", "1", "--quiet")]) == 0
    return folder


def validate(source, out, *more):
    return main([str(word) for word in ("validate", source, "--noise-substitution", "--out", out, *more)])


def test_the_run_is_made_again_with_noise(finished, tmp_path, capsys):
    out = tmp_path / "out"
    assert validate(finished, out, "--beyond", "20", "--threads", "1", "--quiet", "--keep-images") == 0
    printed = capsys.readouterr().out
    assert "noise beyond 20.00 Å" in printed
    told, before, after = (
        json.loads((folder / name).read_text("utf-8"))
        for folder, name in ((out, "noise_substitution.json"), (finished, "run.json"), (out, "run.json"))
    )
    assert told["beyond"] == 20
    assert told["resolution"] == pytest.approx(before["resolution"], abs=0.05)
    same = {name: value for name, value in before["options"].items() if name not in ("threads", "mask", "diameter")}
    assert {name: after["options"][name] for name in same} == same
    assert (out / "noise_substitution.png").read_bytes()[1:4] == b"PNG"
    curves = (out / "noise_substitution.star").read_text()
    assert "_pycryoFscTrue" in curves
    one, other = (read_particles(folder / "run_data.star") for folder in (finished, out))
    np.testing.assert_array_equal(one.random_subset, other.random_subset)
    assert (out / "images").is_dir()
    assert validate(finished, out, "--quiet") == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert validate(finished, out, "--beyond", "20", "--threads", "1", "--quiet", "--overwrite") == 0
    assert not (out / "images").exists()


@pytest.mark.parametrize(
    "change, more, words",
    [
        (lambda run: run.update(status="running"), (), "has not ended"),
        (lambda run: run.update(classes=2), (), "has 2 classes"),
        (lambda run: run.update(inputs=[]), (), "is not as pycryo writes it"),
        (lambda run: run.pop("pixel_size"), (), "is not as pycryo writes it (KeyError: 'pixel_size')"),
        (lambda run: run["inputs"].pop("particles"), (), "is not as pycryo writes it"),
        (None, ("--beyond", "1"), "--beyond is 1.0 Å, it must be between"),
        (None, ("--seed", "-1"), "--seed must be 0 or more"),
    ],
)
def test_what_cannot_be_validated(finished, tmp_path, capsys, change, more, words):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    told = json.loads((folder / "run.json").read_text("utf-8"))
    if change is not None:
        change(told)
    (folder / "run.json").write_text(json.dumps(told))
    assert validate(folder, tmp_path / "out", *more) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "run.json").exists()


def test_folders_that_hold_no_run(finished, tmp_path, capsys):
    assert validate(tmp_path, tmp_path / "out") == 2
    assert "give the folder of a finished refinement" in capsys.readouterr().err
    assert validate(finished, finished) == 2
    assert "is the run itself" in capsys.readouterr().err


def test_a_folder_in_use_is_left_alone(finished, tmp_path, capsys):
    """Before an image is written, and free again afterwards."""
    out = tmp_path / "out"
    out.mkdir()
    lock = FolderLock.take(out)
    assert validate(finished, out, "--beyond", "20") == 2
    assert "another run works in" in capsys.readouterr().err
    assert not (out / "images").exists()
    lock.release()
    FolderLock.take(out).release()
