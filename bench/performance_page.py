"""The table and the picture of docs/performance.md: the harness run with each instruction set of this machine.

``python bench/performance_page.py`` measures (some minutes) and writes the table between the marks of the page, and the
picture docs/images/roofline_SET.png. The page has a table for each kind of machine: SET is the largest instruction set.
``--twice`` measures all again afterwards, and tells below the table what differs. ``--record FOLDER`` keeps the records
there, ``--draw FOLDER`` makes table and picture again from them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pycryo.benchmark.page import write_between
from pycryo.benchmark.rows import si

ROOT = Path(__file__).resolve().parents[1]
PAGE, IMAGES = ROOT / "docs/performance.md", ROOT / "docs/images"
# Of the table, by the largest instruction set.
MARK = "measured {}"
SETS = ("avx512", "avx2", "baseline")
COLOURS = {"avx512": "#1b6ca8", "avx2": "#e07b39", "baseline": "#7a7a7a"}

AGAIN = "again"  # folder of the second measurement within that of the first
APART = 0.1  # of two measurements of a case: what is told

Record = dict[str, Any]


def available_sets() -> list[str]:
    """Instruction sets that this machine has, the largest first."""
    code = "from pycryo import _core; print(_core.isa())"
    found = []
    for name in SETS:
        environment = {**os.environ, "PYCRYO_ISA": name}
        told = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
        if told.stdout.strip() == name:
            found.append(name)
    return found


def measure(folder: Path, arguments: Sequence[str]) -> None:
    """Write a record of the harness for each instruction set."""
    for name in available_sets():
        print(f"PYCRYO_ISA={name}", flush=True)
        command = [sys.executable, "-m", "pycryo", "bench", "--json", str(folder / f"{name}.json"), *arguments]
        subprocess.run(command, check=True, env={**os.environ, "PYCRYO_ISA": name})


def read_records(folder: Path) -> dict[str, Record]:
    """Instruction set -> its record, of those that are in a folder."""
    files = {name: folder / f"{name}.json" for name in SETS}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}


def cell(row: Record) -> str:
    """Rate, share of the limit and error of a case."""
    parts = [si(row["rate"], row["unit"])]
    if row["ratio"] is not None:
        parts.append(f"{row['ratio']:.0%}" if row["ratio"] < 10 else f"{row['ratio']:.0f} ×")
    if row["error"] is not None:
        parts.append(f"{row['error']:.0e}")
    return ", ".join(parts)


def table(records: dict[str, Record]) -> str:
    """Markdown: the machine, a row for each case, and what was skipped."""
    first = next(iter(records.values()))
    machine = first["machine"]
    rows = {name: {row["name"]: row for row in record["results"]} for name, record in records.items()}
    names = list(dict.fromkeys(name for each in rows.values() for name in each))
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, "
        f"load {machine['load_average']:.1f} when it began; pycryo {machine['pycryo']}, NumPy {machine['numpy']}, "
        f"Python {machine['python']}; {machine['date'][:10]}.",
        "",
        "| case | held against | goal | " + " | ".join(records) + " |",
        "|---|---|---|" + "---|" * len(records),
    ]
    for name in names:
        some = next(each[name] for each in rows.values() if name in each)
        goal = "" if some["goal"] is None else f"{some['goal']:.0%}"
        cells = [cell(rows[each][name]) if name in rows[each] else "" for each in records]
        lines.append(f"| {name} | {some['limit'] or ''} | {goal} | " + " | ".join(cells) + " |")
    skipped = [f"{each['name']} ({each['reason']})" for each in first["skipped"]]
    return "\n".join([*lines, "", f"Not measured: {'; '.join(skipped)}." if skipped else "Nothing was left out."])


def agreement(records: dict[str, Record], again: dict[str, Record]) -> str:
    """One line: how many figures of a second measurement are those of the first, and which are not.

    The figure of a case is its share of the limit; of a case without a limit, its rate.
    """
    apart, number = [], 0
    for name, record in again.items():
        before = {row["name"]: row for row in records[name]["results"]}
        for row in record["results"]:
            if row["name"] not in before:  # skipped then
                continue
            old = before[row["name"]]
            ratio = row["rate"] / old["rate"] if row["ratio"] is None else row["ratio"] / old["ratio"]
            number += 1
            if not 1 / (1 + APART) <= ratio <= 1 + APART:
                apart.append((ratio, f"{row['name']} ({name}) {ratio:.2f}"))
    told = f"Measured twice, one after the other: {number - len(apart)} of {number} figures agree within {APART:.0%}."
    rest = ", ".join(text for _, text in sorted(apart))
    return f"{told} The second over the first of the others: {rest}." if apart else told


def draw(records: dict[str, Record], picture: Path) -> None:
    """The roofline: useful flop/s over flops per byte that must move, below bandwidth and matrix product."""
    import matplotlib as mpl
    import numpy as np

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    peak, bandwidth = best_limit(records, "sgemm_peak"), best_limit(records, "copy_bandwidth")
    figure, axes = plt.subplots(figsize=(8.5, 5.5), layout="constrained")
    intensity = np.geomspace(0.1, 5e3, 400)
    axes.plot(intensity, np.minimum(peak, bandwidth * intensity), color="black", linewidth=1.5)
    axes.text(intensity[-1], peak * 1.08, f"matrix product {si(peak, 'flop/s')}", ha="right")
    tops: dict[str, tuple[float, float]] = {}
    for name, record in records.items():
        rows = [row for row in record["results"] if row["flops"] and row["moved"]]
        points = [(row["flops"] / row["moved"], row["flops"] / row["seconds"]) for row in rows]
        axes.plot(*zip(*points, strict=True), "o", color=COLOURS[name], label=name)
        for row, point in zip(rows, points, strict=True):
            label = short(row["name"])
            tops[label] = max(point, tops.get(label, point))
    for i, (label, point) in enumerate(tops.items()):
        above = sum(is_near(other, point) for other in list(tops.values())[:i])
        side, (x, y) = ("right", (-6, -9)) if point[0] > 100 else ("left", (6, 4))
        at = {"xytext": (x, y - 10 * above), "textcoords": "offset points", "ha": side, "fontsize": 8}
        axes.annotate(label, point, **at)
    axes.set(xscale="log", yscale="log", xlabel="useful flops per byte that must move", ylabel="useful flop/s")
    axes.set_xlim(0.1, 5e3)
    axes.grid(alpha=0.3, which="major")
    axes.legend(loc="lower right", title="PYCRYO_ISA")
    figure.draw_without_rendering()  # only now is it known how steep the slope is
    (x, y), (right, top) = axes.transData.transform([(0.12, 0.12 * bandwidth), (0.24, 0.24 * bandwidth)])
    angle = float(np.degrees(np.arctan2(top - y, right - x)))
    at = {"xytext": (-4, 6), "textcoords": "offset points", "rotation": angle, "rotation_mode": "anchor"}
    axes.annotate(f"copy {si(bandwidth, 'B/s')}", (0.12, 0.12 * bandwidth), **at)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def is_near(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether labels of two points would be written over each other."""
    return all(2 / 3 < a / b < 3 / 2 for a, b in zip(one, other, strict=True))


def best_limit(records: dict[str, Record], name: str) -> float:
    """The highest rate of a limit in all records: no instruction set of ours changes it, a busy machine does."""
    rows = [row for record in records.values() for row in record["results"]]
    own = [row["rate"] for row in rows if row["name"] == f"limit {name}"]
    return max([*own, *(row["limit_rate"] for row in rows if row["limit"] == name)])


def short(name: str) -> str:
    """Name of a case as the picture has it."""
    return name.replace(" bytes", "").replace(" posterior", "").replace(" pixels", " px")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, unless records are given, and write page and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="keep the records in this folder")
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="do not measure: take the records of this folder")
    parser.add_argument("--twice", action="store_true", help="measure a second time, and tell what differs")
    parser.add_argument("--force", action="store_true", help="measure even on a machine that is busy")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions of each case (default 5)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.draw or args.record or Path(temporary)
        if args.draw is None:
            for each in (folder, *([folder / AGAIN] if args.twice else [])):
                each.mkdir(parents=True, exist_ok=True)
                measure(each, ["--repeat", str(args.repeat), *(["--force"] if args.force else [])])
        records = read_records(folder)
        again = read_records(folder / AGAIN) if args.twice or args.draw else {}
        if not records:
            parser.error(f"{folder} has no record, such as avx2.json")
    largest = next(iter(records))
    text = table(records) + (f"\n\n{agreement(records, again)}" if again else "")
    mark = MARK.format(largest)
    if f"<!-- {mark}: begin -->" in PAGE.read_text(encoding="utf-8"):
        write_between(PAGE, mark, text)
    else:
        print(f"{PAGE} has no place for this machine's table:\n\n{text}")
    draw(records, IMAGES / f"roofline_{largest}.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
