"""How far finished refinements of simulated images are from the truth: poses, defoci, map.

    python bench/paper/accuracy.py SET=RUN[:GROUP] [SET2=RUN2[:GROUP2] ...]

SET is a folder of ``pycryo simulate``, RUN one of ``pycryo refine`` of its images. Poses are compared but for the
symmetry and one turn and move of the map; then the map is moved onto the truth, and its FSC inside the set's mask
taken. Images that show no particle do not count.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ablation import agree, aligned

from pycryo.geometry.rotations import euler_to_quaternion
from pycryo.geometry.symmetry import symmetry
from pycryo.io.mrc import read_map
from pycryo.io.particles import read_particles
from pycryo.maps.fsc import fsc, resolution_at


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of one run.

    Attributes
    ----------
    pose, within : float
        Median error of the poses, degrees, and the share of them within 10°.
    turn : float
        Degrees by which the map is turned against the truth.
    defocus : float
        Median error of the mean defocus, Å.
    resolution, mean_fsc : float
        Å at which the FSC to the truth falls below 0.5, and its mean over all shells.
    """

    pose: float
    within: float
    turn: float
    defocus: float
    resolution: float
    mean_fsc: float


def accuracy(folder: Path, run: Path, group: str) -> Accuracy:
    """Of a run in the folder `run` on the set in `folder`, whose images are in one stack."""
    true = read_particles(folder / "truth.star", validate=False)
    found = read_particles(run / "run_data.star", validate=False)
    place = np.empty(true.image_index.max() + 1, np.int64)
    place[true.image_index] = np.arange(true.n)
    rows = place[found.image_index]
    shows = true.table.values(["simJunk"])["simJunk"][true.rows][rows] == 0
    rows = rows[shows]
    poses = euler_to_quaternion(*(angle[shows] for angle in (found.rot, found.tilt, found.psi)))
    agreement = agree(
        poses, euler_to_quaternion(*(angle[rows] for angle in (true.rot, true.tilt, true.psi))), symmetry(group)
    )
    away = np.stack([found.origin_x[shows] - true.origin_x[rows], found.origin_y[shows] - true.origin_y[rows]], axis=1)
    density, truth = read_map(run / "run_class001.mrc"), read_map(folder / "map.mrc")
    mask = read_map(folder / "mask.mrc").data
    curve = fsc(aligned(density, agreement, away).data * mask, truth.data * mask)
    defocus = [(each.defocus_u + each.defocus_v) / 2 for each in (found, true)]
    return Accuracy(
        pose=float(np.median(agreement.error)),
        within=float((agreement.error < 10).mean()),
        turn=float(np.rad2deg(2 * np.arccos(min(1.0, abs(agreement.turn[0]))))),
        defocus=float(np.median(np.abs(defocus[0][shows] - defocus[1][rows]))),
        resolution=resolution_at(curve, truth.box, truth.pixel_size, 0.5),
        mean_fsc=float(curve[1:].mean()),
    )


def main() -> None:
    """A row of a table for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="SET=RUN[:GROUP]")
    print("| run | median pose error | within 10° | map turned | median defocus error | FSC to truth 0.5 | mean FSC |")
    print("|---|---|---|---|---|---|---|")
    for each in parser.parse_args().runs:
        folder, _, rest = each.partition("=")
        run, _, group = rest.partition(":")
        one = accuracy(Path(folder), Path(run), group or "C1")
        print(
            f"| {run} | {one.pose:.2f}° | {100 * one.within:.1f} % | {one.turn:.1f}° | {one.defocus:.0f} Å "
            f"| {one.resolution:.2f} Å | {one.mean_fsc:.4f} |"
        )


if __name__ == "__main__":
    main()
