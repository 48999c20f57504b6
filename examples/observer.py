"""A refinement that is watched: its resolution and a section of its map after each iteration, as pictures.

    python examples/observer.py [--out DIR]            mpiexec -n 2 python examples/observer.py

It runs on the particles of `pycryo demo`, and ends when the resolution has not changed by more than 0.2 Å twice.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np

import pycryo

matplotlib.use("Agg")
from matplotlib import pyplot as plt


class Watch:
    """Draws each iteration into a folder and stops where nothing changes; called on every rank."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.resolution: list[float] = []

    def __call__(self, setup, outcome, history) -> bool:
        """After an iteration. True of rank 0 ends the run."""
        halves = pycryo.half_maps(setup, outcome)  # of all ranks, on rank 0
        self.resolution.append(history[-1].resolution)
        if halves is not None:
            self.draw(0.5 * (halves[0].data + halves[1].data), history[-1].number)
        return len(self.resolution) > 2 and float(np.ptp(self.resolution[-3:])) < 0.2

    def draw(self, density: np.ndarray, number: int) -> None:
        """The resolution so far, and the central section."""
        figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
        left.plot(range(1, len(self.resolution) + 1), self.resolution, "o-")
        left.set(xlabel="iteration", ylabel="resolution (Å)")
        right.imshow(density[len(density) // 2], cmap="gray", origin="lower")
        right.set(title=f"iteration {number}", xticks=[], yticks=[])
        figure.savefig(self.folder / f"iteration_{number:03d}.png", dpi=100)
        plt.close(figure)


def main(words: list[str] | None = None) -> pycryo.Result:
    """Refine and watch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("watched"))
    folder = parser.parse_args(words).out
    folder.mkdir(parents=True, exist_ok=True)
    particles = pycryo.read_particles(pycryo.betagal() / "particles.star")
    reference = pycryo.read_map(pycryo.betagal() / "reference_40A.mrc")
    options = pycryo.RefineOptions(symmetry="D2", max_iter=8)
    result = pycryo.refine(particles, reference, options, comm=communicator(), observer=Watch(folder))
    result.write(folder / "run", overwrite=True)
    return result


def communicator() -> object:
    """MPI's, where mpi4py is installed."""
    try:
        from mpi4py import MPI
    except ImportError:
        return None
    return MPI.COMM_WORLD


if __name__ == "__main__":
    print(f"{main().resolution:.2f} Å")
