"""Command `postprocess`, run in this process on small half-maps and on the folder of a run."""

import json

import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile
from scattered import PIXEL, half_maps

from pycryo.cli.main import main
from pycryo.postprocessing.mtf import FREQUENCY, VALUE
from pycryo.postprocessing.process import PostprocessOptions, postprocess
from pycryo.postprocessing.sharpen import Filter


@pytest.fixture(scope="module")
def halves():
    return half_maps(noise=0.005)


@pytest.fixture
def folder(tmp_path, halves):
    for name, each in zip(("half1", "half2", "mask"), halves, strict=True):
        write(tmp_path / f"{name}.mrc", each.data)
    return tmp_path


def write(path, data, pixel_size=PIXEL):
    with mrcfile.new(path, np.asarray(data, np.float32), overwrite=True) as file:
        file.voxel_size = pixel_size
        file.header.origin = (10, 20, 30)


def run(folder, *words):
    """Exit code of ``pycryo postprocess`` with file names in `folder`."""
    ours = (".mrc", ".star", "out", "run")
    return main(
        ["postprocess", *(str(folder / word) if word.endswith(ours) and word[0] != "-" else word for word in words)]
    )


def read(path):
    with mrcfile.open(path) as file:
        return np.array(file.data)


def as_run(folder, classes=1, **told):
    """The half-maps as a finished run in `folder` / run."""
    place = folder / "run"
    place.mkdir()
    for k in range(1, classes + 1):
        for half in (1, 2):
            (place / f"run_half{half}_class{k:03d}_unfil.mrc").write_bytes((folder / f"half{half}.mrc").read_bytes())
        name = "run_mask.mrc" if k == 1 else f"run_mask_class{k:03d}.mrc"
        (place / name).write_bytes((folder / "mask.mrc").read_bytes())
    optics = pd.DataFrame({"rlnOpticsGroup": [1, 2], "rlnImagePixelSize": [PIXEL] * 2} | told.pop("optics", {}))
    particles = pd.DataFrame({"rlnImageName": ["1@a.mrcs", "2@a.mrcs"], "rlnOpticsGroup": [1, 2]})
    starfile.write({"optics": optics, "particles": particles}, place / "run_data.star")
    told = {"status": "done", "classes": classes, "symmetry": "C1", "inputs": {"particles": "a.star"}} | told
    (place / "run.json").write_text(json.dumps(told))
    return place


def test_half_maps(folder, halves, capsys):
    assert run(folder, "half1.mrc", "half2.mrc", "--mask", "mask.mrc", "--out", "out", "--fit-to", "3.2") == 0
    expected = postprocess(*halves, PostprocessOptions(Filter(fit_to=3.2)))
    printed = capsys.readouterr().out
    assert f"{expected.resolution:.2f} Å" in printed
    assert f"{expected.b_factor:.1f} Å²" in printed
    np.testing.assert_array_equal(read(folder / "out" / "postprocess.mrc"), expected.map.data)
    with mrcfile.open(folder / "out" / "postprocess.mrc") as file:
        assert file.header.origin.y == pytest.approx(20)
    assert starfile.read(folder / "out" / "postprocess.star")["general"]["rlnMaskName"] == str(folder / "mask.mrc")
    assert (folder / "out" / "RELION_JOB_EXIT_SUCCESS").exists()


def test_relions_spellings(folder, capsys):
    words = ("--adhoc_bfac", "-80", "--low_pass", "5", "--skip_fsc_weighting", "--angpix", "2.4", "--o", "out")
    assert run(folder, "half1.mrc", "half2.mrc", *words) == 0
    assert "-80.0 Å², as given" in capsys.readouterr().out
    with mrcfile.open(folder / "out" / "postprocess.mrc") as file:
        assert file.voxel_size.x == pytest.approx(2.4)
    assert (folder / "out" / "postprocess_mask.mrc").exists()


def test_folder_with_results_is_kept(folder, capsys):
    words = ("half1.mrc", "half2.mrc", "--mask", "mask.mrc", "--out", "out")
    assert run(folder, *words) == 0
    before = (folder / "out" / "postprocess.mrc").stat().st_mtime_ns
    assert run(folder, *words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (folder / "out" / "postprocess.mrc").stat().st_mtime_ns == before
    assert run(folder, *words, "--overwrite") == 0


def test_a_run_that_is_in_doubt(folder, capsys):
    as_run(folder, resolution=40.0, options={"ini_high": 40.0}, iterations=[{"spread_rotation": 42.0}])
    assert run(folder, "run") == 0
    assert "The data do not support a map beyond 40 Å" in capsys.readouterr().err
    assert main(["localres", str(folder / "run"), "--threads", "1"]) == 0
    assert "The data do not support a map beyond 40 Å" in capsys.readouterr().err


def test_a_run_is_not_overwritten(folder, capsys):
    place = as_run(folder)
    assert run(folder, "run", "--out", "run", "--overwrite") == 2
    assert "is the run itself" in capsys.readouterr().err
    assert not (place / "postprocess.mrc").exists()


def test_a_run_with_the_mtf_of_its_particles(folder, halves, capsys):
    starfile.write(pd.DataFrame({FREQUENCY: [0.0, 0.5], VALUE: [1.0, 0.3]}), folder / "mtf.star")
    optics = {"rlnMtfFileName": [str(folder / "mtf.star")] * 2, "rlnMicrographOriginalPixelSize": [0.6, 0.6]}
    place = as_run(folder, optics=optics)
    assert run(folder, "run") == 0
    told = json.loads((place / "postprocess" / "postprocess.json").read_text("utf-8"))
    assert told["has_mtf"] is True
    assert run(folder, "run", "--mtf", "mtf.star", "--mtf-pixel-size", "0.6", "--out", "out") == 0
    np.testing.assert_array_equal(
        read(folder / "out" / "postprocess.mrc"), read(place / "postprocess" / "postprocess.mrc")
    )


@pytest.mark.parametrize(
    "optics, words",
    [
        ({"rlnMtfFileName": ["none.star"] * 2, "rlnMicrographOriginalPixelSize": [0.6, 0.6]}, "is not there"),
        ({"rlnMtfFileName": ["a.star", "b.star"], "rlnMicrographOriginalPixelSize": [0.6, 0.6]}, "different MTFs"),
        ({"rlnMtfFileName": ["a.star", "None"], "rlnMicrographOriginalPixelSize": [0.6, 0.6]}, "or some have none"),
        ({"rlnMtfFileName": ["a.star"] * 2}, "rlnMicrographOriginalPixelSize"),
    ],
)
def test_an_mtf_that_cannot_be_used_is_told(folder, optics, words, capsys):
    place = as_run(folder, optics=optics)
    assert run(folder, "run") == 0
    assert words in capsys.readouterr().err
    assert json.loads((place / "postprocess" / "postprocess.json").read_text("utf-8"))["has_mtf"] is False


def test_each_class_of_a_run(folder, capsys):
    place = as_run(folder, classes=2)
    assert run(folder, "run") == 0
    assert "class 2" in capsys.readouterr().out
    assert {"postprocess.mrc", "postprocess_class002.mrc"} <= {path.name for path in (place / "postprocess").iterdir()}


@pytest.mark.parametrize(
    "words, message",
    [
        (("half1.mrc", "half2.mrc"), "--out"),
        (("half1.mrc", "--out", "out"), "other one"),
        (("half1.mrc", "half2.mrc", "mask.mrc", "--out", "out"), "two half-maps"),
        (("none.mrc", "half2.mrc", "--out", "out"), "none.mrc"),
        (("none", "--out", "out"), "run.json"),
        (("half1.mrc", "half2.mrc", "--out", "out", "--no-fsc-weighting"), "--low-pass"),
        (("half1.mrc", "half2.mrc", "--out", "out", "--mtf-pixel-size", "1"), "--mtf"),
        (("half1.mrc", "half2.mrc", "--out", "out", "--mtf", "half1.mrc"), "half1.mrc"),
        (("half1.mrc", "half2.mrc", "--out", "out", "--sym", "X3"), "X3"),
        (("half1.mrc", "half2.mrc", "--out", "out", "--b-factor", "nan"), "B-factor"),
        (("half1.mrc", "half2.mrc", "--out", "out", "--seed", "-1"), "seed"),
        (("half1.mrc", "half2.mrc", "--out", "out", "--mask", "half1.mrc"), "half1.mrc"),
    ],
)
def test_wrong_words(folder, words, message, capsys):
    assert run(folder, *words) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "out").exists() or not list((folder / "out").glob("postprocess*"))


def test_run_and_half_maps_options_do_not_mix(folder, capsys):
    as_run(folder)
    assert run(folder, "run", "--pixel-size", "2") == 2
    assert "a run tells its own" in capsys.readouterr().err
