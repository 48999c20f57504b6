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
    monkeypatch.setattr(module, "IMAGES", tmp_path / "images")
    blocks = (f"<!-- measured {name}: begin -->\nold {name}\n<!-- measured {name}: end -->" for name in module.SETS)
    module.PAGE.write_text("\n".join(["before", *blocks, "after\n"]))
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
    assert "old avx512" in text  # of another machine
    assert "old avx2" not in text
    assert "Measured twice" not in text
    assert "| case | held against | goal | avx2 | baseline |" in text
    assert "| ctf | copy_bandwidth | 70% | 5 GB/s, 75%, 4e-08 | 2 GB/s, 75%, 4e-08 |" in text
    assert "Not measured: rival: one (it is not on the PATH)." in text
    assert page.best_limit(page.read_records(tmp_path), "copy_bandwidth") == 2e10
    with Image.open(tmp_path / "images" / "roofline_avx2.png") as picture:
        assert picture.size[0] > 500
    assert page.main(["--draw", str(tmp_path)]) == 0
    assert page.PAGE.read_text() == text


def test_a_machine_that_the_page_has_no_place_for(page, tmp_path, capsys):
    page.PAGE.write_text("nothing\n")
    (tmp_path / "baseline.json").write_text(json.dumps(record(2e9)))
    assert page.main(["--draw", str(tmp_path)]) == 0
    assert page.PAGE.read_text() == "nothing\n"
    assert "| ctf | copy_bandwidth |" in capsys.readouterr().out


def test_two_measurements(page, tmp_path):
    (tmp_path / page.AGAIN).mkdir()
    for name in ("avx2", "baseline"):
        first, second = record(5e9), record(4e9)  # slower with its limit: the share is the same
        second["results"][0]["rate"] *= {"avx2": 1.09, "baseline": 0.8}[name]
        second["results"].append({**second["results"][0], "name": "rival: only now"})
        (tmp_path / f"{name}.json").write_text(json.dumps(first))
        (tmp_path / page.AGAIN / f"{name}.json").write_text(json.dumps(second))
    assert page.main(["--draw", str(tmp_path)]) == 0
    line = page.PAGE.read_text().split("Measured twice")[1].splitlines()[0]
    assert "5 of 6 figures agree within 10%." in line
    assert line.endswith("of the others: limit sgemm_peak (baseline) 0.80.")


def test_both_measurements_are_made(page, tmp_path, monkeypatch):
    folders = []
    monkeypatch.setattr(
        page,
        "measure",
        lambda folder, _: (folders.append(folder), (folder / "avx2.json").write_text(json.dumps(record(5e9)))),
    )
    assert page.main(["--record", str(tmp_path / "kept"), "--twice"]) == 0
    assert folders == [tmp_path / "kept", tmp_path / "kept" / page.AGAIN]
    assert "3 of 3 figures agree" in page.PAGE.read_text()
    assert page.main(["--record", str(tmp_path / "kept")]) == 0
    assert "figures agree" not in page.PAGE.read_text()  # with a second measurement of another day


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
