"""Sections stand alone: what fails in one is told in its place, and the others are there."""

import json
import logging
import shutil

import pytest

from pycryo.cli.main import main
from pycryo.errors import InputError, RunError
from pycryo.refinement.files.job import remove_results
from pycryo.report import page, refine_sections, sections
from pycryo.report.figures import one_axes
from pycryo.report.sections import Part, Section, draw, embedded


def failing(error):
    def make(files):
        raise error

    return make


def figure():
    return one_axes(2, 2)[0]


def test_sections_are_made_of_the_files_in_order():
    parts = [
        Part("First", lambda files: Section(f"of {files}", figure(), "a frame")),
        Part("Nothing", lambda files: None),
        Part("Second", lambda files: Section(figure=b"\x89PNG", html="<b>so</b>"), is_wide=True),
    ]
    first, second = draw(parts, "these")
    assert (first.title, first.text, first.alt, first.problem) == ("First", "of these", "a frame", "")
    assert not first.is_wide
    assert first.picture.startswith("data:image/png;base64,iVBORw0KGgo")
    assert (second.title, second.picture, second.html) == ("Second", sections.embedded(b"\x89PNG"), "<b>so</b>")
    assert second.is_wide


@pytest.mark.parametrize(
    "error, text, is_fault",
    [
        (InputError("there is no run.mrc"), "This cannot be shown: there is no run.mrc.", False),
        (RunError("the disc fails"), "This cannot be shown: the disc fails.", False),
        (PermissionError(13, "denied", "run.mrc"), "denied", False),
        (MemoryError(), "not enough memory", False),
        (KeyError("box"), "an error in pycryo that should not happen (KeyError: 'box'", True),
        (ValueError("no <b>"), "please report it", True),
    ],
)
def test_what_fails_is_told_in_its_place(error, text, is_fault, caplog):
    parts = [
        Part("Before", lambda files: Section("b")),
        Part("Broken", failing(error), is_wide=True),
        Part("After", lambda files: Section("a")),
    ]
    with caplog.at_level(logging.WARNING, "pycryo"):
        before, broken, after = draw(parts, None)
    assert (before.text, after.text) == ("b", "a")
    assert broken.title == "Broken"
    assert broken.is_wide
    assert text in broken.problem
    assert ("should not happen" in broken.problem) == is_fault
    assert "Broken" in caplog.text


def test_a_figure_that_cannot_be_drawn_is_a_fault():
    """What fails when the figure becomes a picture, after it was made."""
    broken = figure()
    broken.draw = None
    (found,) = draw([Part("Broken", lambda files: Section(figure=broken))], None)
    assert "TypeError" in found.problem


def test_a_bug_in_one_figure_leaves_the_page_intact(tiny_run, tmp_path, monkeypatch, caplog):
    shutil.copytree(tiny_run, tmp_path / "run")
    titles = [part.title for part in draw(refine_sections.PARTS, page.RunFiles.read(tiny_run))]

    def views(*_):
        return {}["a<bug>"]

    monkeypatch.setattr(refine_sections.figures, "views_figure", views)
    text = page.build_report(tmp_path / "run").read_text("utf-8")
    assert text.count("<img") == 7
    assert text.count("should not happen") == 1
    assert "KeyError: &#x27;a&lt;bug&gt;&#x27; in " in text
    assert "run.json" not in text.split("should not happen")[1][:200]
    assert "Directions of view: an error in pycryo that should not happen" in caplog.text
    for title in titles:
        assert f"<h2>{title}</h2>" in text


def test_a_missing_file_is_no_bug(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    (tmp_path / "run" / "run_fsc.star").unlink()
    text = page.build_report(tmp_path / "run").read_text("utf-8")
    assert text.count("This cannot be shown") == 1
    assert "run_fsc.star" in text
    assert "should not happen" not in text
    assert text.count("<img") == 7


def test_the_page_shows_what_localres_found(tiny_run, tmp_path):
    """Its own pictures and figures; a folder that is damaged is told, and a new run takes an old one's away."""
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    assert main(["localres", str(run), "--threads", "1", "--quiet"]) == 0
    files = page.RunFiles.read(run)
    part = [each for each in refine_sections.PARTS if each.title == "Local resolution"]
    (found,) = draw(part, files)
    told = json.loads((run / "localres" / "localres.json").read_text("utf-8"))
    assert f"{told['quantiles']['50']:.1f} Å in the median" in found.text
    assert "run_half1_class001_unfil.mrc" in found.text
    for name in ("localres.png", "localres_histogram.png"):
        assert embedded((run / "localres" / name).read_bytes()) in found.html
    (run / "localres" / "localres.png").unlink()
    assert "localres.png" in draw(part, files)[0].problem
    (run / "localres" / "localres.json").write_text("{}")
    assert "run `pycryo localres` again" in draw(part, files)[0].problem
    remove_results(run)
    assert not draw(part, files)
    assert [path.name for path in (run / "localres").iterdir()] == ["run.log"]


@pytest.mark.parametrize(
    "change",
    [
        {"box": "32"},
        {"sampling_factor": None},
        {"machine": {}},
        {"particles": {"total": 1, "half_sets": ["a"], "left_out": []}},
        {"iterations": [{"number": 1}]},
        {"iterations": [7]},
        {"pixel_size": -1.0},
    ],
)
def test_a_spoiled_run_json_is_told_as_such(tiny_run, tmp_path, change):
    shutil.copytree(tiny_run, tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    with pytest.raises(InputError, match=r"run\.json is not as pycryo writes it"):
        page.build_report(tmp_path / "run")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a < b & c", "a &lt; b &amp; c"),
        ("run `pycryo <x>`.", "run <code>pycryo &lt;x&gt;</code>."),
        ("one ` only", "one ` only"),
    ],
)
def test_words(text, expected):
    assert page.words(text) == expected


def test_further_classes_follow_the_classes(tiny_run):
    files = page.RunFiles.read(tiny_run)
    files.run["classes"] = 3
    titles = [part.title for part in refine_sections.parts_of(files)]
    place = titles.index("Classes")
    assert [title.split(":")[0] for title in titles[place + 1 : place + 6]] == ["Class 2"] * 2 + ["Class 3"] * 2 + [
        "Defocus of the particles"
    ]
