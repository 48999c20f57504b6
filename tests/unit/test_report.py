"""The HTML report: self-contained, complete, also of an unfinished run."""

import base64
import json
import re
import shutil

import numpy as np
import pytest

from pycryo.cli.main import main
from pycryo.fsc import corrected_fsc
from pycryo.maps import soft_sphere
from pycryo.report.fsc_files import read_fsc_star, write_fsc_star
from pycryo.report.page import build_report, warnings_of


@pytest.fixture(scope="module")
def folder(tiny_set, tmp_path_factory):
    """Folder of a run of two iterations."""
    folder = tmp_path_factory.mktemp("report")
    words = ["refine", str(tiny_set / "particles.star"), "--ref", str(tiny_set / "init40A.mrc"), "--out", str(folder)]
    assert main([*words, "--max-iter", "2", "--quiet"]) == 0
    return folder


def pictures(text):
    """Bytes of all pictures of a page."""
    return [base64.b64decode(data) for data in re.findall(r'<img src="data:image/png;base64,([^"]+)"', text)]


def test_page_is_self_contained(folder):
    text = (folder / "report.html").read_text("utf-8")
    found = pictures(text)
    assert len(found) == text.count("<img") == 6
    assert all(data.startswith(b"\x89PNG") for data in found)
    assert "http" not in re.sub(r"base64,[^\"]+", "", text)
    assert "{{" not in text


def test_page_has_the_figures(folder):
    run = json.loads((folder / "run.json").read_text("utf-8"))
    text = (folder / "report.html").read_text("utf-8")
    assert f"{run['resolution']:.2f} Å" in text
    for name in (*run["options"], *run["versions"], "solve", "insert"):
        assert f"<td>{name}</td>" in text or f"<th>{name}</th>" in text
    assert all(each["decision"].split(":")[0] in text for each in run["iterations"])


def test_command_builds_it_again(folder, capsys):
    (folder / "report.html").unlink()
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert (folder / "report.html").stat().st_size > 50_000


def test_report_of_an_unfinished_run(folder, tmp_path):
    run = json.loads((folder / "run.json").read_text("utf-8"))
    run |= {"status": "running", "iterations": run["iterations"][:1]}
    (tmp_path / "run.json").write_text(json.dumps(run), "utf-8")
    for name in ("run_fsc.star", "run_it001_data.star", "run_it001_half1_class001.mrc"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    text = build_report(tmp_path).read_text("utf-8")
    assert "not finished" in text
    assert len(pictures(text)) == 6


@pytest.mark.parametrize("content", [None, "{", "{}", '{"iterations": []}'])
def test_no_run_in_the_folder(tmp_path, content, capsys):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    assert main(["report", str(tmp_path)]) == 2
    assert "run.json" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_names_are_escaped(folder, tmp_path):
    hostile = tmp_path / "a<b>&"
    shutil.copytree(folder, hostile)
    text = build_report(hostile).read_text("utf-8")
    assert "a<b>" not in text
    assert "a&lt;b&gt;&amp;" in text


def test_warnings():
    good = {
        "status": "done",
        "particles": {"left_out": [], "total": 500, "half_sets": [250, 250]},
        "sampling_factor": 0.95,
        "resolution": 8.0,
        "pixel_size": 2.0,
    }
    assert warnings_of(good) == []
    assert "2 of 500" in warnings_of(good | {"particles": good["particles"] | {"left_out": ["a", "b"]}})[0]
    assert "unevenly" in warnings_of(good | {"sampling_factor": 0.4})[0]
    few = good["particles"] | {"half_sets": [10, 10]}
    assert warnings_of(good | {"sampling_factor": 0.4, "particles": few}) == []
    assert "pixel size" in warnings_of(good | {"resolution": 4.1})[0]
    assert "not finished" in warnings_of(good | {"status": "running"})[0]


def test_fsc_star_round_trip(tmp_path, rng):
    ball = soft_sphere(24, 6, 2)
    halves = [ball + np.float32(0.3) * rng.standard_normal(ball.shape, dtype=np.float32) for _ in "12"]
    curves = corrected_fsc(*halves, 3.0, soft_sphere(24, 8, 3))
    write_fsc_star(tmp_path / "fsc.star", curves)
    found = read_fsc_star(tmp_path / "fsc.star", 48, 1.5)
    # Six decimals are written.
    for name in ("unmasked", "masked", "randomised", "corrected", "frequency"):
        np.testing.assert_allclose(getattr(found, name), getattr(curves, name), atol=1e-6)
    assert found.randomised_from == curves.randomised_from
    assert found.resolution_0143 == pytest.approx(curves.resolution_0143, rel=1e-4)
