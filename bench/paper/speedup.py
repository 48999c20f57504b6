"""Two ranks against one on the same E-phase, one thread each: alternating runs, medians.

``python bench/paper/speedup.py --images 600 --slices 4096 --box 256 --r-high 32``: what follows goes to ephase.py.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

from measure import run_ranks

from pycryo.benchmark.environment import check_load

REPEAT = 5


def seconds(record: dict[str, Any]) -> float:
    """Packing and scan on the conveyor."""
    return float(max(record["packing"]) + record["ways"]["conveyor"]["seconds"])


def hidden(record: dict[str, Any]) -> float:
    """Share of the messages' own time that no rank waited for."""
    ranks, link = record["ways"]["conveyor"]["ranks"], record["link"]
    alone = sum(each["n_message"] * link["latency"] + each["n_byte"] / link["bandwidth"] for each in ranks)
    return float(1 - sum(each["exposed"] for each in ranks) / alone)


def main() -> int:
    """Print speed-up and hidden share."""
    check_load(force=False)
    records: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    for _ in range(REPEAT):
        for n, found in records.items():
            found.append(run_ranks(n, *sys.argv[1:], "--threads", 1, "--repeat", 3, "--ways", "conveyor"))
    one, two = (median(map(seconds, found)) for found in records.values())
    print(
        f"1 rank {one:.3f} s, 2 ranks {two:.3f} s: {one / two:.2f} times as fast, "
        f"{100 * median(map(hidden, records[2])):.1f} % of the communication hidden"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
