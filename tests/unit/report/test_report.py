"""The HTML report: self-contained, complete, also of an unfinished run."""

import base64
import json
import re
import shutil

import numpy as np
import pytest

from pycryo.cli.main import main
from pycryo.maps.density import soft_sphere
from pycryo.maps.fsc import corrected_fsc
from pycryo.report import ranks, refine_sections, scores
from pycryo.report.fsc_files import read_fsc_star, write_fsc_star
from pycryo.report.page import build_report, warnings_of


@pytest.fixture(scope="module")
def folder(tiny_run, tmp_path_factory):
    """A copy, which tests change."""
    return shutil.copytree(tiny_run, tmp_path_factory.mktemp("report") / "run")


def pictures(text):
    """Bytes of all pictures of a page."""
    return [base64.b64decode(data) for data in re.findall(r'<img src="data:image/png;base64,([^"]+)"', text)]


def test_page_is_self_contained(folder):
    text = (folder / "report.html").read_text("utf-8")
    found = pictures(text)
    assert len(found) == text.count("<img") == 8
    assert all(data.startswith(b"\x89PNG") for data in found)
    assert re.findall(r'<(?:img|script|link|a)[^>]* (?:src|href)="(?!data:|#)', text) == []
    assert "http" not in re.sub(r"base64,[^\"]+|<script.*?</script>", "", text, flags=re.DOTALL)
    assert text.count(' alt="') == 8
    assert 'alt=""' not in text
    assert "{{" not in text


def test_page_has_the_figures(folder):
    run = json.loads((folder / "run.json").read_text("utf-8"))
    text = (folder / "report.html").read_text("utf-8")
    assert f"{run['resolution']:.2f} Å" in text
    for name in (*run["options"], *run["versions"], "solve", "insert"):
        assert f"<td>{name}</td>" in text or f"<th>{name}</th>" in text
    assert all(each["decision"].split(":")[0] in text for each in run["iterations"])


def test_defocus_is_shown_where_it_was_searched(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    run = json.loads((tmp_path / "run.json").read_text("utf-8"))
    figures = {"defocus_change": 200.0, "defocus_moved": 10.0, "spread_defocus": 30.0, "sigma_defocus": 350.0}
    run["iterations"][-1] |= figures
    (tmp_path / "run.json").write_text(json.dumps(run), "utf-8")
    text, before = build_report(tmp_path).read_text("utf-8"), (folder / "report.html").read_text("utf-8")
    assert len(pictures(text)) == len(pictures(before)) + 1
    assert "Defocus of the particles" in text
    assert "Defocus of the particles" not in before


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
    # That of the average of the half-maps lacks the second one.
    assert len(pictures(text)) == 6
    assert text.count("This cannot be shown") == 2


def test_report_of_an_unfinished_run_that_keeps_no_iterations(folder, tmp_path, caplog):
    run = json.loads((folder / "run.json").read_text())
    run["status"], run["options"]["keep_iterations"] = "running", "none"
    (tmp_path / "run.json").write_text(json.dumps(run))
    shutil.copy(folder / "run_fsc.star", tmp_path)
    text = build_report(tmp_path).read_text("utf-8")
    assert "keeps nothing of its iterations" in text
    assert not caplog.records


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
        "symmetry": "C1",
        "options": {"ini_high": 40.0},
        "iterations": [{"number": 1, "spread_rotation": 2.0}],
    }
    assert warnings_of(good) == []
    finding = {"severity": "warning", "code": "voltage", "text": "rlnVoltage is 30 kV"}
    assert warnings_of(good | {"findings": [finding]}) == ["Input: rlnVoltage is 30 kV."]
    assert "2 of 500" in warnings_of(good | {"particles": good["particles"] | {"left_out": ["a", "b"]}})[0]
    assert "unevenly" in warnings_of(good | {"sampling_factor": 0.4})[0]
    junk = good["particles"] | {"junk": 100}
    assert "20 %" in warnings_of(good | {"particles": junk})[0]
    assert warnings_of(good | {"particles": junk | {"junk": 25}}) == []
    few = good["particles"] | {"half_sets": [10, 10]}
    assert warnings_of(good | {"sampling_factor": 0.4, "particles": few}) == []
    assert "do not support" in warnings_of(good | {"iterations": [{"number": 1, "spread_rotation": 70.0}]})[0]
    assert "pixel size" in warnings_of(good | {"resolution": 4.1})[0]
    assert "not finished" in warnings_of(good | {"status": "running"})[0]
    calm, restless = with_load(2, idle=0.1), with_load(2, idle=0.3)
    assert warnings_of(good | {"iterations": [calm, calm, restless]}) == []
    assert "of the time for each other" in warnings_of(good | {"iterations": [calm, restless, restless]})[0]


@pytest.mark.parametrize("threshold", [-3.0, 0.4, 3.0])
@pytest.mark.parametrize("n", [1, 2, 501])
def test_scores_are_counted_on_both_sides_of_the_threshold(rng, n, threshold):
    score = rng.normal(0.8, 0.4, n)
    axes = scores.scores_figure(score, threshold).axes[0]
    kept, below = (sum(bar.get_height() for bar in bars) for bars in axes.containers)
    assert (kept, below) == ((score >= threshold).sum(), (score < threshold).sum())


@pytest.mark.parametrize("junk, text", [(0, "no second kind"), (7, "7 of 40")])
def test_sentence_of_the_scores(junk, text):
    assert text in scores.scores_text({"particles": {"junk": junk, "half_sets": [20, 20]}})


def test_report_of_a_run_without_scores(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    run = json.loads((folder / "run.json").read_text("utf-8"))
    del run["particles"]["suggested_threshold"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(run), "utf-8")
    assert len(pictures(build_report(tmp_path / "run").read_text("utf-8"))) == 7


def with_load(n_rank, idle, *, number=1, seconds=60.0, way="conveyor", hidden=0.9):
    """An iteration in which ranks, some a second faster than others, waited for a share `idle` of 50 s."""
    ahead = np.linspace(-1, 1, n_rank)
    busy, waiting = ((1 - idle) * 50.0 - 1 - ahead).tolist(), (idle * 50.0 + ahead).tolist()
    load = {"busy": busy, "idle": waiting, "exposed": [1.0] * n_rank, "way": way, "ring_size": 4, "hidden": hidden}
    stage = "global" if way else "local"
    return {"number": number, "stage": stage, "spread_rotation": 2.0, "seconds": {"total": seconds}, "load": load}


@pytest.mark.parametrize("n_rank", [2, 9, 64, 65, 500])
def test_ranks(n_rank):
    iterations = [
        with_load(n_rank, 0.1 * number, number=number, seconds=50.0 + number, hidden=0.5 + 0.1 * number)
        for number in (1, 2, 3)
    ]
    iterations.append(with_load(n_rank, 0.4, number=4, way="", hidden=None))
    assert ranks.with_ranks(iterations) == iterations
    np.testing.assert_allclose(ranks.idle_share(iterations), [0.1, 0.2, 0.3, 0.4], rtol=1e-12)  # sums of doubles
    assert ranks.longest(iterations)["number"] == 4
    text = ranks.ranks_text(iterations[:3])
    assert text.startswith(f"Iteration 3, which took longest: the {n_rank} ranks worked for 33–35 s")
    assert "waited 14–16 s for each other" in text
    assert "rings of 4 ranks (conveyor)" in text
    assert "20 % of the time for each other, and 70 % of the communication" in text
    assert "communication" not in ranks.ranks_text(iterations[3:])
    figure = ranks.ranks_figure(iterations)
    bars, shares = figure.axes
    assert bars.get_xlabel() == ("rank" if n_rank <= 64 else "seconds")
    idle, hidden = (line.get_ydata() for line in shares.get_lines())
    np.testing.assert_allclose(idle, [10, 20, 30, 40], rtol=1e-12)
    np.testing.assert_allclose(hidden, [60, 70, 80, np.nan], rtol=1e-12)
    # Without communication there is nothing to hide.
    assert len(ranks.ranks_figure(iterations[3:]).axes[1].get_lines()) == 1


def test_one_rank_or_an_old_file_has_no_section(folder, tmp_path, monkeypatch):
    some = [part for part in refine_sections.PARTS if part.title in ("Resolution by iteration", "Classes", "Ranks")]
    monkeypatch.setattr(refine_sections, "PARTS", some)
    assert ranks.with_ranks([with_load(1, 0.0), {"number": 2}]) == []
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    run = json.loads(path.read_text("utf-8"))

    def page(loads):
        for each, load in zip(run["iterations"], loads, strict=True):
            each.pop("load", None)
            each |= load
        path.write_text(json.dumps(run), "utf-8")
        return build_report(tmp_path / "run").read_text("utf-8")

    assert [each["load"]["particles"] for each in run["iterations"]] == [[40], [40]]
    one, old = page([{"load": each["load"]} for each in run["iterations"]]), page([{}, {}])
    three = page([{"load": with_load(3, idle)["load"]} for idle in (0.25, 0.35)])
    for text in (one, old):
        assert "<h2>Ranks</h2>" not in text
        assert len(pictures(text)) == 1
    assert "<h2>Ranks</h2>" in three
    assert "The ranks waited 30 % of the time" in three
    assert len(pictures(three)) == 2


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
