"""Record a refinement for the figure of the stages: ``python docs/figures/record_stages.py 1tii.pdb.gz FOLDER``.

Five hundred simulated images whose file states every defocus wrong by 400 Å (standard deviation) are refined from 40 Å.
Of each iteration stages.json gets the stage, r_high and the resolution, Å, and the median errors against the truth.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from pycryo.geometry.rotations import angle_between, conjugate, euler_to_quaternion, multiply
from pycryo.io.particles import read_particles
from pycryo.io.star import read_star, write_star

BOX, PIXEL = 128, 1.1
SIMULATE = f"--box {BOX} --pixel-size {PIXEL} --n 500 --snr 0.1 --seed 3"
DEFOCUS_ERROR = 400.0


def errors(found: Path, truth: Path) -> tuple[float, float]:
    """Median errors of the poses, degrees, less a turn that all have in common, and of the defoci, Å."""
    mine, true = read_particles(found, validate=False), read_particles(truth, validate=False)
    poses = [euler_to_quaternion(each.rot, each.tilt, each.psi) for each in (mine, true)]
    turn = np.array([1.0, 0, 0, 0])
    difference = multiply(conjugate(poses[1]), poses[0])
    for _ in range(8):
        off = np.rad2deg(angle_between(difference, turn))
        good = difference[off <= max(15.0, float(np.percentile(off, 20)))]
        turn = np.linalg.eigh(good.T @ good)[1][:, -1]
    return float(np.median(off)), float(np.median(np.abs(mine.defocus_u - true.defocus_u)))


def main(model: str, folder: Path) -> None:
    """Simulate, spoil the defoci, refine, record."""
    images, run = folder / "set", folder / "run"
    subprocess.run(["pycryo", "simulate", model, *SIMULATE.split(), "--out", images], check=True)
    blocks = read_star(images / "particles.star")
    particles = blocks["particles"]
    wrong = np.random.default_rng(3).normal(0, DEFOCUS_ERROR, len(particles))
    for label in ("rlnDefocusU", "rlnDefocusV"):
        particles[label] = particles[label].astype(float) + wrong
    write_star(images / "wrong.star", blocks)
    start = ["--ref", images / "init40A.mrc", "--threads", "1", "--keep-iterations", "all"]
    subprocess.run(["pycryo", "refine", images / "wrong.star", *start, "--out", run], check=True)
    records = []
    for number, each in enumerate(json.loads((run / "run.json").read_text())["iterations"], 1):
        data = run / f"run_it{number:03d}_data.star"
        pose, defocus = errors(data if data.is_file() else run / "run_data.star", images / "truth.star")
        record = {"stage": each["stage"], "compared": round(BOX * PIXEL / each["r_high"], 3)}
        record["resolution"] = round(each["resolution"], 3)
        records.append(record | {"pose_error": round(pose, 3), "defocus_error": round(defocus, 1)})
    text = ",\n".join(json.dumps(each) for each in records)
    (Path(__file__).parent / "stages.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
