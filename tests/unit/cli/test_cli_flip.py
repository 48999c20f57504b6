"""`pycryo flip` and `pycryo symmetry` of particles: what stays to the letter, and what is refused."""

import json

import numpy as np
import pytest

from pycryo.cli.main import main
from pycryo.io.mrc import write_map
from pycryo.io.star import read_tables
from pycryo.maps.density import soft_sphere

TEXT = """# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnImagePixelSize #2
_rlnImageSize #3
1 2.0 16

data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnAngleRot #3
_rlnAngleTilt #4
_rlnAnglePsi #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
_rlnAngleTiltPrior #8
_rlnAnglePsiPrior #9
_someText #10
1@a.mrcs 1 10.000000 20.000000 30.000000 1.5 -2.50 21 31 'a b'
2@a.mrcs 1 -170.000000 0.000000 179.000000 0 0 1 -5 c

data_extra

loop_
_a #1
1
"""


@pytest.fixture
def star(tmp_path):
    (tmp_path / "p.star").write_text(TEXT)
    return tmp_path / "p.star"


def columns(path, *names):
    found = read_tables(path)["particles"].values(texts=names)
    return [list(found[name]) for name in names]


def test_angles_and_priors_are_mirrored_and_nothing_else(star):
    out = star.parent / "out.star"
    assert main(["flip", str(star), "--out", str(out)]) == 0
    labels = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnAngleTiltPrior", "rlnAnglePsiPrior")
    found = read_tables(out)["particles"].values(labels)
    expected = [[-170, 10], [20, 0], [-150, -1], [21, 1], [-149, 175]]
    np.testing.assert_allclose([found[label] for label in labels], expected, atol=1e-6)
    rest = ("rlnImageName", "rlnOriginXAngst", "rlnOriginYAngst", "someText")
    assert columns(out, *rest) == columns(star, *rest)
    assert read_tables(out)["extra"].body == read_tables(star)["extra"].body


def test_priors_that_cannot_be_turned_are_left_out(star, capsys, caplog):
    write_map(star.parent / "map.mrc", soft_sphere(24, 4, 2) + np.roll(soft_sphere(24, 3, 2), 6, 1), 2.0)
    words = ["--sym", "C1", "--out", str(star.parent / "out.mrc"), "--particles", str(star)]
    assert main(["symmetry", str(star.parent / "map.mrc"), *words]) == 2  # C1 has no axes
    words[1] = "C2"
    assert main(["symmetry", str(star.parent / "map.mrc"), *words, "--min-correlation", "-1"]) == 0
    assert "rlnAngleTiltPrior, rlnAnglePsiPrior left out" in capsys.readouterr().err + caplog.text
    table = read_tables(star.parent / "out.star")["particles"]
    assert "rlnAngleTiltPrior" not in table.columns
    assert columns(star.parent / "out.star", "someText") == columns(star, "someText")


def test_expanded_rows_keep_all_else(star, caplog):
    out = star.parent / "out.star"
    assert main(["symmetry", str(star), "--expand", "--sym", "C4", "--out", str(out)]) == 0
    assert columns(out, "someText") == [["a b"] * 4 + ["c"] * 4]
    rot = np.sort(read_tables(out)["particles"].values(["rlnAngleRot"])["rlnAngleRot"][:4])
    np.testing.assert_allclose(rot, [-170, -80, 10, 100], atol=1e-5)
    assert "rlnAngleTiltPrior, rlnAnglePsiPrior left out" in caplog.text


def test_refused(star, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    write_map(tmp_path / "map.mrc", soft_sphere(16, 4, 2), 2.0)
    (run / "run.json").write_text(json.dumps({"status": "done", "symmetry": "T"}))
    bare = tmp_path / "bare.star"
    bare.write_text("data_particles\n\nloop_\n_rlnImageName #1\n1@a.mrcs\n")
    out = str(tmp_path / "out")
    volumes = tmp_path / "volumes.star"
    volumes.write_text(TEXT.replace("_someText", "_rlnOriginZAngst").replace("'a b'", "1").replace(" c\n", " 2\n"))
    cases = [
        (["flip", str(volumes), "--out", out + ".star"], "of sub-tomograms"),
        (["symmetry", str(volumes), "--sym", "C2", "--expand", "--out", out + ".star"], "of sub-tomograms"),
        (["flip", str(run), "--out", out, "--axis", "z"], "give --axis x"),
        (["flip", str(run), "--out", str(run)], "is the run itself"),
        (["flip", str(run), "--out", out, "--pixel-size", "1"], "a run tells its own"),
        (["flip", str(star), "--out", out + ".star", "--pixel-size", "1"], "that of a map"),
        (["flip", str(star), "--out", str(star)], "would be overwritten"),
        (["flip", str(bare), "--out", out + ".star"], "has no rlnAngleRot"),
        (["flip", str(tmp_path / "gone.mrc"), "--out", out + ".mrc"], "gone.mrc"),
        (["symmetry", str(star), "--sym", "C2", "--out", out + ".star"], "--expand takes particles"),
        (["symmetry", str(tmp_path / "map.mrc"), "--sym", "C2", "--expand", "--out", out], "--expand takes particles"),
        (["symmetry", str(run), "--sym", "C2", "--out", out, "--particles", str(star)], "a run has its own"),
        (["symmetry", str(bare), "--sym", "C2", "--expand", "--out", out + ".star"], "has no rlnAngleRot"),
    ]
    for words, message in cases:
        assert main(words) == 2, words
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [["flip"], ["symmetry", "--sym", "C2", "--min-correlation", "-1"]])
def test_a_run_of_classes_in_the_folder_of_an_earlier_one(star, command):
    """The curves of all classes come along; nothing of what was there before is left beside the new maps."""
    run, out = star.parent / "run", star.parent / "out"
    for folder in (run, out):
        folder.mkdir()
    particle = soft_sphere(24, 4, 2) + np.roll(soft_sphere(24, 3, 2), 6, 1)
    for k in (1, 2):
        for name in (f"run_class{k:03d}", f"run_half1_class{k:03d}_unfil", f"run_half2_class{k:03d}_unfil"):
            write_map(run / f"{name}.mrc", particle, 2.0)
    (run / "run_data.star").write_text(TEXT)
    (run / "run.json").write_text(json.dumps({"status": "done", "classes": 2, "postprocess": [{"class": 1}]}))
    curves = ["run_fsc.star", "run_fsc.xml", "run_fsc_class002.star", "run_fsc_class002.xml", "run_phases_1.png"]
    for name in curves:
        (run / name).write_text(name)
    (out / "localres").mkdir()
    old = [out / "run_class001_postprocess.json", out / "run_class003.mrc", out / "localres" / "localres.mrc"]
    for path in old:
        path.write_text("")
    assert main([command[0], str(run), "--out", str(out), "--overwrite", *command[1:]]) == 0
    assert [(out / name).read_text() for name in curves] == curves
    assert not [path for path in old if path.exists()]
    assert "postprocess" not in json.loads((out / "run.json").read_text())  # the sharpened maps stay with the run
