"""Command `deposit` on the folder of a small refinement."""

import json
import shutil

import mrcfile
import pytest

from pycryo.cli.main import main


def deposit(folder, out, *words):
    return main(["deposit", str(folder), "--out", str(out), "--quiet", *map(str, words)])


def test_checklist_is_that_of_the_run(tiny_run, tmp_path, capsys):
    assert deposit(tiny_run, tmp_path / "emdb") == 0
    assert "contour level" in capsys.readouterr().out
    told = json.loads((tmp_path / "emdb" / "checklist.json").read_text("utf-8"))
    run = json.loads((tiny_run / "run.json").read_text("utf-8"))
    reconstruction, imaging = told["reconstruction"], told["imaging"]
    assert reconstruction["resolution"] == run["postprocess"][0]["resolution"]
    assert reconstruction["images_used"] == 40
    assert reconstruction["symmetry"] == "C1"
    assert (reconstruction["box"], reconstruction["pixel_size"]) == (32, pytest.approx(4.0))
    assert imaging["voltage_kV"] == 300
    assert imaging["spherical_aberration_mm"] == 2.7
    assert imaging["amplitude_contrast"] == 0.1
    with mrcfile.open(tmp_path / "emdb" / "primary_map.mrc") as file:
        assert told["map"]["maximum"] == pytest.approx(float(file.header.dmax))
    assert all(text for text in told["checks"].values())


def test_the_run_is_not_overwritten(tiny_run, capsys):
    assert deposit(tiny_run, tiny_run, "--overwrite") == 2
    assert "is the run itself" in capsys.readouterr().err
    assert not (tiny_run / "primary_map.mrc").exists()


def test_a_copy_of_a_run_has_a_mask_of_its_own(tiny_run, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(tiny_run, first)
    told = json.loads((first / "run_class001_postprocess.json").read_text("utf-8"))
    told["mask"] = str(first / "run_mask.mrc")
    (first / "run_class001_postprocess.json").write_text(json.dumps(told), "utf-8")
    shutil.copytree(first, second)
    (first / "run_mask.mrc").write_bytes((first / "run_class001.mrc").read_bytes())
    assert deposit(second, tmp_path / "emdb") == 0
    assert (tmp_path / "emdb" / "mask.mrc").read_bytes() == (second / "run_mask.mrc").read_bytes()


def test_map_of_postprocess_with_another_b_factor(tiny_run, tmp_path):
    words = ["postprocess", str(tiny_run), "--out", str(tmp_path / "sharp"), "--b-factor", "-100", "--quiet"]
    assert main(words) == 0
    assert deposit(tiny_run, tmp_path / "emdb", "--postprocessed", tmp_path / "sharp", "--mass", 30) == 0
    made, source = tmp_path / "emdb" / "primary_map.mrc", tmp_path / "sharp" / "postprocess.mrc"
    assert made.read_bytes() == source.read_bytes()
    told = json.loads((tmp_path / "emdb" / "checklist.json").read_text("utf-8"))
    assert told["map"]["sharpening"] == "B-factor -100.0 Å²"
    assert told["contour"]["enclosed_volume"] == pytest.approx(30e3 * 1.21)


def test_a_run_that_was_moved(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "moved")
    told = json.loads((tmp_path / "moved" / "run_class001_postprocess.json").read_text("utf-8"))
    told["mask"] = "/nowhere/run_mask.mrc"
    (tmp_path / "moved" / "run_class001_postprocess.json").write_text(json.dumps(told))
    assert deposit(tmp_path / "moved", tmp_path / "emdb") == 0


def test_results_are_not_overwritten(tiny_run, tmp_path, capsys):
    assert deposit(tiny_run, tmp_path / "emdb") == 0
    assert deposit(tiny_run, tmp_path / "emdb") == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        (("--class", 2), "--class"),
        (("--postprocessed", "none"), "postprocess.json"),
        (("--contour", 1e9), "--contour"),
        (("--mass", -3), "mass"),
    ],
)
def test_wrong_words(tiny_run, tmp_path, words, message, capsys):
    assert deposit(tiny_run, tmp_path / "emdb", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "emdb").exists()


def test_no_sharpened_map_no_run(tiny_run, tmp_path, capsys):
    shutil.copytree(tiny_run, tmp_path / "old")
    (tmp_path / "old" / "run_class001_postprocess.json").unlink()
    assert deposit(tmp_path / "old", tmp_path / "emdb") == 2
    assert "pycryo postprocess" in capsys.readouterr().err
    assert deposit(tmp_path / "nowhere", tmp_path / "emdb") == 2
    assert "run.json" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["deposit", "postprocess"])
def test_a_run_does_not_become_its_own_results(tiny_run, command, capsys):
    """Not even with --overwrite: its folder would have the marks and the log of another command."""
    before = sorted(path.name for path in tiny_run.iterdir())
    assert main([command, str(tiny_run), "--out", str(tiny_run), "--overwrite", "--quiet"]) == 2
    assert "is the run itself" in capsys.readouterr().err
    assert sorted(path.name for path in tiny_run.iterdir()) == before
