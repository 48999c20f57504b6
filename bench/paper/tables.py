"""The tables of docs/parallel.md, from what figures.py recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _head(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield "|---" * len(names) + "|"


def real(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Runs on ranks that have a core each."""
    yield from _head(
        "ranks", "way", "measured / s", "simulated / s", "error", "sampling / s", "idle / s", "exposed / s", "hidden"
    )
    for row in rows:
        if row["timed"] and (row["ranks"] > 1 or row["way"] == "local"):
            times = [f"{row[name]:.3f}" for name in ("measured", "simulated")]
            parts = [f"{row[name]:.3f}" for name in ("making", "idle", "exposed")]
            hidden = "" if row["hidden"] is None or row["way"] != "conveyor" else f"{row['hidden']:.0%}"
            yield _row(str(row["ranks"]), row["way"], *times, f"{row['error']:+.1%}", *parts, hidden)


def traffic(rows: list[dict[str, Any]]) -> Iterator[str]:
    """What the busiest rank does, whatever its core does besides."""
    yield from _head("ranks", "slices sampled", "messages", "MB sent")
    for row in rows:
        if row["way"] == "conveyor":
            yield _row(str(row["ranks"]), str(row["n_made"]), str(row["n_message"]), f"{row['n_byte'] / 1e6:.1f}")


def memory(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Peak memory beyond what a rank had before, MB."""
    yield from _head("slices", "all of them / MB", "conveyor / MB", "allgather / MB", "serial / MB")
    for n in sorted({row["slices"] for row in rows}):
        of_ways = {row["way"]: row for row in rows if row["slices"] == n}
        whole = of_ways["local"]["all_slices_bytes"]
        peaks = [of_ways[way]["peak_bytes"] for way in ("conveyor", "allgather", "local")]
        yield _row(str(n), *(f"{size / 1e6:.0f}" for size in (whole, *peaks)))


def scale(points: list[dict[str, Any]], nodes: tuple[int, ...] = (256, 1024, 2048)) -> Iterator[str]:
    """Time relative to serial, and what pycryo chooses."""
    yield from _head("case", "nodes", "serial / s", "allgather", "conveyor", "conveyor, rings of 64", "pycryo chooses")
    for panel in dict.fromkeys(point["panel"] for point in points):
        for n in nodes:
            here = {point["line"]: point for point in points if (point["panel"], point["x"]) == (panel, n)}
            serial = here["serial"]["seconds"]
            shares = [
                f"{here[line]['seconds'] / serial:.0%}" for line in ("allgather", "conveyor", "conveyor, rings of 64")
            ]
            chosen = here["as pycryo chooses"]
            way = "serial" if chosen["case"]["way"] == "local" else chosen["case"]["way"]
            size = f", rings of {chosen['case']['ring_size']}" if way != "serial" else ""
            choice = f"{way}{size}: {chosen['seconds'] / serial:.0%}"
            yield _row(panel, str(n), f"{serial:.3g}", *shares, choice)


def rings(points: list[dict[str, Any]]) -> Iterator[str]:
    """Time relative to serial by ring size."""
    found = [point for point in points if point["panel"].startswith("rings")]
    sizes = sorted({int(point["x"]) for point in found})
    yield from _head("case", "", *(str(size) for size in sizes))
    for panel, line in dict.fromkeys((point["panel"], point["line"]) for point in found):
        seconds = {point["x"]: point["seconds"] for point in found if (point["panel"], point["line"]) == (panel, line)}
        yield _row(panel.removeprefix("rings, "), line, *(f"{seconds[size] / seconds[1]:.0%}" for size in sizes))


def lines(folder: Path) -> Iterator[str]:
    """All tables in Markdown."""
    records = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("measured", "fig6", "where")}
    measured = records["measured"]
    yield from real(measured["validation"])
    yield ""
    yield from traffic(measured["validation"])
    yield ""
    yield from memory(measured["memory"])
    yield ""
    yield from scale(records["fig6"]["points"])
    yield ""
    yield from rings(records["where"]["points"])


# --- the M-phase ------------------------------------------------------------------------------------------------------

_GIB = 2.0**30
_MODELS = ("replicated", "sharded", "slab")


def mphase_memory(points: list[dict[str, Any]]) -> Iterator[str]:
    """Memory of a rank by box and form."""
    ranks = list(dict.fromkeys(point["ranks"] for point in points))
    forms = [(form, n) for form in (*_MODELS, "key-value") for n in (ranks[:1] if form == "replicated" else ranks)]
    yield from _head("box", *(form if form == "replicated" else f"{form}, {n} ranks" for form, n in forms))
    for box in dict.fromkeys(point["box"] for point in points):
        sizes = {(point["form"], point["ranks"]): point["bytes"] for point in points if point["box"] == box}
        yield _row(str(box), *(f"{sizes[each] / _GIB:.3g}" for each in forms))


def mphase_scale(points: list[dict[str, Any]], nodes: tuple[int, ...] = (4, 8, 32, 1024)) -> Iterator[str]:
    """Seconds of the stages, and memory, by case, nodes and model."""
    stages = ("inserting", "exchange", "check", "map")
    yield from _head("case", "nodes", "model", *(f"{stage} / s" for stage in stages), "GB sent", "memory / GiB")
    for point in sorted(points, key=lambda each: (each["panel"], each["x"])):
        alone = point["x"] == nodes[0]
        if point["panel"].startswith("box, ") or point["x"] not in nodes or (alone and point["model"] != "slab"):
            continue
        times = [f"{point[stage]:.3g}" for stage in stages]
        sizes = f"{point['bytes'] / 1e9:.2f}", f"{point['memory'] / _GIB:.3g}"
        yield _row(point["panel"], str(point["x"]), "all" if alone else point["model"], *times, *sizes)


def mphase_real(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Real solves beside what simulation and formulas say."""
    names = (
        "threads",
        "solve / s",
        "simulated / s",
        "GB sent",
        "counted / GB",
        "peak / GiB",
        "formula / GiB",
        "peak / formula",
    )
    yield from _head("box", "ranks", "model", *names)
    for row in rows:
        said = row["simulated"]
        times = (f"{row['seconds']:.3g}", f"{said['seconds']:.3g}") if row["timed"] else ("", "")
        sent = f"{row['n_byte'] / 1e9:.3f}", f"{said['bytes'] / 1e9:.3f}"
        sizes = f"{row['memory'] / _GIB:.3f}", f"{said['memory'] / _GIB:.3f}", f"{row['memory'] / said['memory']:.0%}"
        place = str(row["box"]), str(row["n_rank"]), row["model"], str(row["threads"])
        yield _row(*place, *times, *sent, *sizes)


def mphase_lines(folder: Path) -> Iterator[str]:
    """The tables of the M-phase in Markdown."""
    fig4, fig9 = (json.loads((folder / f"{name}.json").read_text()) for name in ("fig4", "fig9"))
    if fig9["measured"]:
        yield from mphase_real(fig9["measured"])
        yield ""
    yield from mphase_memory(fig4["points"])
    yield ""
    yield from mphase_scale(fig9["points"])
