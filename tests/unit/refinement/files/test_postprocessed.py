"""The sharpened maps of a run as it ends."""

import json
import shutil

import numpy as np
import pytest
import starfile

from pycryo.io.mrc import read_map, read_mask
from pycryo.postprocessing.process import postprocess
from pycryo.refinement.files import postprocessed
from pycryo.refinement.files.finished_run import FinishedRun
from pycryo.refinement.files.postprocessed import keep_figures, mtf_of, postprocess_run


@pytest.fixture(scope="module")
def finished(tiny_run, tmp_path_factory):
    """A copy, which tests change."""
    return shutil.copytree(tiny_run, tmp_path_factory.mktemp("postprocessed") / "run")


def test_map_is_that_of_the_half_maps_and_the_mask(finished, tiny_run):
    halves = [read_map(finished / f"run_half{half}_class001_unfil.mrc") for half in (1, 2)]
    expected = postprocess(*halves, read_mask(finished / "run_mask.mrc"))
    np.testing.assert_array_equal(read_map(finished / "run_class001_postprocess.mrc").data, expected.map.data)
    told = json.loads((finished / "run.json").read_text("utf-8"))["postprocess"]
    assert told[0]["class"] == 1
    assert told[0]["resolution"] == pytest.approx(expected.resolution)
    general = starfile.read(finished / "run_class001_postprocess.star")["general"]
    assert general["rlnMaskName"] == str(tiny_run / "run_mask.mrc")
    assert general["rlnFinalResolution"] == pytest.approx(expected.resolution, abs=1e-5)


def test_report_tells_of_it(finished):
    assert "run_class001_postprocess.mrc" in (finished / "report.html").read_text("utf-8")


def test_without_memory_there_is_a_warning(finished, monkeypatch, caplog):
    (finished / "run_class001_postprocess.star").rename(finished / "kept.star")
    monkeypatch.setattr(postprocessed, "memory", lambda: (1000, 2000))
    postprocess_run(finished)
    assert "no sharpened map" in caplog.text
    assert not (finished / "run_class001_postprocess.star").exists()
    (finished / "kept.star").rename(finished / "run_class001_postprocess.star")


def test_no_mtf_in_the_optics_table(finished):
    assert mtf_of(FinishedRun.read(finished)) is None


def test_figures_are_added_to_run_json(tmp_path):
    (tmp_path / "run.json").write_text('{"box": 32, "postprocess": [1]}')
    keep_figures(tmp_path, [{"class": 1}])
    assert json.loads((tmp_path / "run.json").read_text()) == {"box": 32, "postprocess": [{"class": 1}]}
