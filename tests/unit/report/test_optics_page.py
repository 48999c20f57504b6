"""The page of ``pycryo ctf-refine``: a line for each part, a picture for each group."""

import json

import pytest

from pycryo.cli.main import main
from pycryo.errors import InputError
from pycryo.report.figures import one_axes, png
from pycryo.report.optics_page import build_optics_report


def told():
    tilt = {
        "added": [0.18, 0.629],
        "standard_error": [0.025, 0.025],
        "names": ["x", "y"],
        "unit": "mrad",
        "chi_square": 667.2,
    }
    trefoil = {"not_significant": [1.0, 2.0], "standard_error": [1.5, 1.5], "names": ["odd[2]", "odd[5]"]}
    trefoil |= {"unit": "rad Å³", "chi_square": 2.5}
    group = {"name": "a<1>", "particles": 406, "picture": "phases_a_1_.png"}
    return {"compared_to": 4.5, "groups": [group | {"found": {"beam tilt": tilt, "trefoil": trefoil}, "optics": {}}]}


def test_page(tmp_path, capsys):
    (tmp_path / "optics.json").write_text(json.dumps(told()), "utf-8")
    (tmp_path / "phases_a_1_.png").write_bytes(png(one_axes(2, 2)[0]))
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    for words in ("x 0.18 ± 0.025, y 0.629 ± 0.025", ">mrad</td>", "667", "added to the optics table", "4.50 Å"):
        assert words in text
    assert "odd[2] 1 ± 1.5" in text
    assert "not significant" in text
    assert "a&lt;1&gt;" in text
    assert "a<1>" not in text
    assert text.count("<img") == text.count("data:image/png;base64,iVBOR") == 1


def test_a_missing_picture_is_told_in_its_place(tmp_path):
    (tmp_path / "optics.json").write_text(json.dumps(told()), "utf-8")
    text = build_optics_report(tmp_path).read_text("utf-8")
    assert "This cannot be shown" in text
    assert "x 0.18" in text


def test_numbers_that_are_not_finite_are_dashes(tmp_path):
    """They are null in optics.json."""
    content = told()
    part = content["groups"][0]["found"]["trefoil"]
    part |= {"standard_error": [None, 1.5], "chi_square": None}
    (tmp_path / "optics.json").write_text(json.dumps(content), "utf-8")
    assert "odd[2] 1 ± –, odd[5] 2 ± 1.5" in build_optics_report(tmp_path).read_text("utf-8")


@pytest.mark.parametrize("change", [{"groups": [{}]}, {"groups": 7}, {"compared_to": "near"}])
def test_spoiled_numbers(tmp_path, change):
    (tmp_path / "optics.json").write_text(json.dumps(told() | change), "utf-8")
    with pytest.raises(InputError, match=r"optics\.json is not as pycryo writes it"):
        build_optics_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_no_optics(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*optics\.json"):
        build_optics_report(tmp_path)
