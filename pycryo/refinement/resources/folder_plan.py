"""How much the folder of a run will hold, known before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from pycryo.io.mrc_header import HEADER_BYTES
from pycryo.refinement.options import KEPT_ITERATIONS, Keep
from pycryo.refinement.resources.memory_plan import size
from pycryo.refinement.setup import Setup

# Bytes of a particle: the columns that are new in run_data.star; its posterior and more in the checkpoint.
_NEW_COLUMNS, _POSTERIOR = 14 * 13, 2530
# Report, figures, model and FSC of an iteration, log.
_REPORT, _MODEL = 4 << 20, 1 << 14
# Of the two files in a checkpoint.
_HEADERS = 1 << 15
# Map, half-maps, mask, and the sharpened map without and with the mask.
_FINAL_MAPS = 6


@dataclass(frozen=True, slots=True)
class FolderPlan:
    """Bytes.

    Attributes
    ----------
    keep : str
        `RefineOptions.keep_iterations`.
    end, most : int
        When the run has ended, and while it works; with "all" without those of the iterations.
    iteration : int
        Files of an iteration under its number.
    """

    keep: Keep
    end: int
    most: int
    iteration: int


def folder_plan(setup: Setup) -> FolderPlan:
    """What the files of a run will take; maps and particles, of which the others are a small part. Not collective."""
    particles, classes, keep = setup.partition.particles, setup.options.classes, setup.options.keep_iterations
    table = particles.table
    star = len(table.body) * particles.n // max(1, table.n) + particles.n * _NEW_COLUMNS
    volume = 4 * setup.box**3
    iteration = classes * 2 * (volume + HEADER_BYTES) + star + _MODEL
    result = classes * _FINAL_MAPS * (volume + HEADER_BYTES) + star + _REPORT
    # References of both halves, the images' posteriors; a new one is whole before the old one goes.
    checkpoint = classes * 2 * volume + particles.n * _POSTERIOR + _HEADERS
    kept = KEPT_ITERATIONS[keep]
    if kept is None:
        return FolderPlan(keep, result + checkpoint, result + 2 * checkpoint, iteration)
    end = result + kept * iteration
    beside = iteration if kept else 0
    return FolderPlan(keep, end, max(end + beside + checkpoint, (kept + 1) * beside + 2 * checkpoint), iteration)


def tell_folder(plan: FolderPlan) -> str:
    """The plan in a line."""
    more = f" and {size(plan.iteration)} for each iteration" if plan.keep == "all" else ""
    return f"about {size(plan.end)} at the end, {size(plan.most)} at most{more} (--keep-iterations {plan.keep})"
