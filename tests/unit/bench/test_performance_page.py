"""The page of figures: its table and picture from records."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from PIL import Image

FILE = Path(__file__).resolve().parents[3] / "bench" / "performance_page.py"


@pytest.fixture
def page(tmp_path, monkeypatch):
    spec = spec_from_file_location("performance_page", FILE)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PAGE", tmp_path / "performance.md")
    monkeypatch.setattr(module, "PICTURE", tmp_path / "images" / "roofline.png")
    module.PAGE.write_text(f"before\n<!-- {module.MARK}: begin -->\nold\n<!-- {module.MARK}: end -->\nafter\n")
    return module


def record(rate):
    def row(name, unit, rate, **more):
        none = dict.fromkeys(("limit", "limit_rate", "ratio", "goal", "error", "flops", "moved"))
        return {"name": name, "unit": unit, "rate": rate, "seconds": 0.01, **none, **more}

    machine = {"processor": "one", "cores": 2, "threads": 1, "load_average": 0.25, "pycryo": "1", "numpy": "2"}
    rows = [
        row("limit sgemm_peak", "flop/s", 1e11),
        row("limit copy_bandwidth", "B/s", 1e10),
        row(
            "ctf",
            "B/s",
            rate,
            limit="copy_bandwidth",
            limit_rate=2e10,
            ratio=0.75,
            goal=0.7,
            error=4.4e-8,
            flops=1e7,
            moved=1e6,
        ),
    ]
    skipped = [{"name": "rival: one", "reason": "it is not on the PATH"}]
    return {"machine": {**machine, "python": "3", "date": "2026-11-30T12"}, "results": rows, "skipped": skipped}


def test_page_and_picture_of_records(page, tmp_path):
    for name, rate in (("avx2", 5e9), ("baseline", 2e9)):
        (tmp_path / f"{name}.json").write_text(json.dumps(record(rate)))
    assert page.main(["--draw", str(tmp_path)]) == 0
    text = page.PAGE.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| case | held against | goal | avx2 | baseline |" in text
    assert "| ctf | copy_bandwidth | 70% | 5 GB/s, 75%, 4e-08 | 2 GB/s, 75%, 4e-08 |" in text
    assert "Not measured: rival: one (it is not on the PATH)." in text
    assert page.best_limit(page.read_records(tmp_path), "copy_bandwidth") == 2e10
    with Image.open(page.PICTURE) as picture:
        assert picture.size[0] > 500
    assert page.main(["--draw", str(tmp_path)]) == 0
    assert page.PAGE.read_text() == text


def test_no_records(page, tmp_path, capsys):
    with pytest.raises(SystemExit):
        page.main(["--draw", str(tmp_path / "nothing")])
    assert "has no record" in capsys.readouterr().err


def test_each_instruction_set_is_measured(page, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(page, "available_sets", lambda: ["avx2", "baseline"])
    monkeypatch.setattr(
        page.subprocess, "run", lambda command, env, **_: calls.append((env["PYCRYO_ISA"], command[3], command[5:]))
    )
    page.measure(tmp_path, ["--repeat", "2"])
    assert calls == [
        (name, "bench", [str(tmp_path / f"{name}.json"), "--repeat", "2"]) for name in ("avx2", "baseline")
    ]
