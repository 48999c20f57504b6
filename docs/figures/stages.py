"""A refinement from 40 Å with wrong defoci, iteration by iteration; stages.json is of record_stages.py."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.patches import Patch
from style import BLUE, GREEN, GREY, ORANGE, RED, panels, save

_COLOURS = {"global": GREY, "local": BLUE, "defocus": ORANGE, "final": GREEN}


def draw() -> None:
    """docs/images/method_stages.png"""
    records = json.loads((Path(__file__).parent / "stages.json").read_text())
    number = list(range(1, len(records) + 1))
    figure, axes = panels(1, 3, 2.75)
    for one in axes:
        begin = 0.5
        for stage, colour in _COLOURS.items():
            count = sum(each["stage"] == stage for each in records)
            one.axvspan(begin, begin + count, color=colour, alpha=0.16, lw=0)
            begin += count
        one.set(xlim=(0.5, len(records) + 0.5), xticks=number[::3], xlabel="iteration", yscale="log")
    axes[0].plot(number, [each["compared"] for each in records], "s--", color=GREY, ms=4, label="compared to")
    axes[0].plot(number, [each["resolution"] for each in records], "o-", color=BLUE, ms=4, label="half-maps, 0.143")
    axes[0].set_title("resolution, Å")
    axes[0].set_yticks([3, 5, 10, 20], ["3", "5", "10", "20"])
    axes[0].legend(loc="upper right")
    axes[1].plot(number, [each["pose_error"] for each in records], "o-", color=BLUE, ms=4)
    axes[1].set_title("error of the poses, °")
    axes[1].set_yticks([1, 10, 100], ["1", "10", "100"])
    axes[2].plot(number, [each["defocus_error"] for each in records], "o-", color=RED, ms=4)
    axes[2].set_title("error of the defoci, Å")
    axes[2].set_yticks([20, 50, 100, 200], ["20", "50", "100", "200"])
    for one in axes:
        one.minorticks_off()
    patches = [Patch(fc=colour, alpha=0.3, label=f"{stage} stage") for stage, colour in _COLOURS.items()]
    figure.legend(handles=patches, loc="outside lower center", ncol=4)
    save(figure, "stages")
