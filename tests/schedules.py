"""What the simulators of bench/paper do with the lines that they are given, without SimGrid.

Both functions stand for `simulate.run`, with all ranks as one array. They know no links that messages share.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np


def _words(lines: Iterable[str]) -> Iterator[str]:
    return iter(" ".join(lines).split())


def follow_blocks(_: object, platform: str, lines: Iterable[str]) -> dict[str, float]:
    """An E-phase (ephase_sim.cpp) without jitter, as if each message had its links to itself."""
    link = ET.fromstring(platform).find(".//cluster")
    bandwidth, latency = float(link.get("bw").removesuffix("Bps")), 2 * float(link.get("lat").removesuffix("s"))
    words = _words(lines)

    def read(kind: Callable[[str], Any]) -> list[Any]:
        return [kind(next(words)) for _ in range(int(next(words)))]

    gather, overlap, n_node, block = (int(next(words)) for _ in range(4))
    item_bytes, step_seconds, jitter, _ = (float(next(words)) for _ in range(4))
    assert jitter == 0
    make, compare = np.array(read(float)), np.array(read(float))
    plans = []
    for _ in range(int(next(words))):
        n, n_round = int(next(words)), int(next(words))
        items, owner = np.array(read(int)).reshape(n_round, n), np.array(read(int)).reshape(n, n)
        plans.append((n, items[:, owner]))  # of each round, rank and step
    rings = list(zip(read(int), read(int), strict=True))
    assert next(words, None) is None
    seconds, made, compared, sent = (np.zeros(n_node) for _ in range(4))
    for first, kind in rings:
        n, items = plans[kind]
        clock, mine = np.zeros(n), slice(first, first + n)
        for blocks in items:
            clock += make[blocks[:, 0]]
            made[mine] += make[blocks[:, 0]]
            for step in range(n):
                leaving = blocks[:, step] if step < n - 1 else np.zeros(n, int)
                coming = blocks[:, step + 1] if step < n - 1 else np.zeros(n, int)
                work = np.zeros(n) if gather else compare[blocks[:, step]]
                begun = clock if overlap or gather else clock + work
                clock = clock + work + step_seconds * ((leaving > 0) | (coming > 0))
                # A message leaves when both ends are ready for it; a rank goes on when both of its own are there.
                arrival = np.maximum(begun, np.roll(begun, -1)) + latency + leaving * item_bytes / bandwidth
                clock = np.where(leaving > 0, np.maximum(clock, arrival), clock)
                clock = np.where(coming > 0, np.maximum(clock, np.roll(arrival, 1)), clock)
                compared[mine] += work
                sent[mine] += leaving * item_bytes
        if gather:
            whole, rest = divmod(items[0, 0].sum(), block)
            compared[mine] = whole * compare[min(block, len(compare) - 1)] + compare[rest]
            clock += compared[mine]
        seconds[mine] = clock
    return {"seconds": seconds.max(), "making": made.mean(), "comparing": compared.mean(), "bytes": sent.max()}


def count_operations(_: object, platform: str, lines: Iterable[str]) -> dict[str, Any]:
    """An M-phase (mphase_sim.cpp) as if messages took no time: what is sent, and when stages end without it."""
    words = _words(lines)
    _, n, _ = (int(next(words)) for _ in range(3))
    step_seconds, n_operation = float(next(words)), int(next(words))

    def read() -> np.ndarray:
        return np.array([float(next(words)) for _ in range(n)])

    clock, sent, messages = (np.zeros(n) for _ in range(3))
    ends = []
    for _ in range(n_operation):
        kind = next(words)
        if kind == "stage":
            ends.append(clock.max())
        elif kind == "work":
            clock += read()
        elif kind == "ring":
            # A rank passes on all pieces but that of the next one, and works on all but its own.
            pieces, seconds = read(), read()
            sent += pieces.sum() - np.roll(pieces, -1)
            messages += (pieces >= 1).sum() - (np.roll(pieces, -1) >= 1)
            clock += seconds.sum() - seconds + step_seconds * (n > 1)
        else:
            for _ in range(int(next(words))):
                before, out, come, after = (read() for _ in range(4))
                leaving = np.outer(out, come) * (1 - np.eye(n))
                sent += np.where(leaving >= 1, leaving, 0).sum(axis=1)
                messages += (leaving >= 1).sum(axis=1)
                steps = n - 1 if kind == "exchange" else 1
                clock += before + steps * after + step_seconds * (n > 1 or kind != "exchange")
    assert next(words, None) is None
    most = {"bytes": sent.max(), "messages": messages.max()}
    return {"computing": clock.mean(), "waiting": 0.0, **most, "ends": [float(end) for end in ends]}
