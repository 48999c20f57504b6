"""A made-up molecule for `pycryo simulate`, so that a set of particles can be made without any file at hand.

    python bench/refinement/made_molecule.py molecule.pdb [--radius 42] [--fold 4] [--seed 0]

Its atoms fill some overlapping balls about as densely as those of a protein do. Nothing is symmetric but the axis along
z, if one is asked for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

# Å³ for each random place, and the least distance of two atoms, Å: 17 Å³ are left for each atom, as in a protein.
VOLUME, APART = 8.0, 1.4
N_BALL = 7
CHAINS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def balls(radius: float, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres (n, 3) and radii (n,), Å, of balls within `radius` of the origin; each overlaps an earlier one."""
    centres, radii = [np.zeros(3)], [0.45 * radius]
    while len(centres) < N_BALL:
        size, onto = rng.uniform(0.2, 0.35) * radius, int(rng.integers(len(centres)))
        way = rng.standard_normal(3)
        centre = centres[onto] + 0.8 * (radii[onto] + size) * way / np.linalg.norm(way)
        if np.linalg.norm(centre) + size <= radius:
            centres.append(centre)
            radii.append(size)
    return np.array(centres), np.array(radii)


def atoms(radius: float, fold: int, seed: int) -> NDArray[np.float64]:
    """(n, 3) places x, y, z in Å, within `radius` of the origin: a unit about the x axis, then its mates."""
    rng = np.random.default_rng(seed)
    centres, radii = balls(radius if fold == 1 else 0.6 * radius, rng)
    if fold > 1:
        centres += [0.4 * radius, 0.0, 0.0]
    low, high = (centres - radii[:, None]).min(axis=0), (centres + radii[:, None]).max(axis=0)
    places = rng.uniform(low, high, (int(np.prod(high - low) / VOLUME), 3))
    inside = (np.linalg.norm(places[:, None] - centres, axis=2) < radii).any(axis=1)
    inside &= np.abs(np.arctan2(places[:, 1], places[:, 0])) <= np.pi / fold
    places = apart(places[inside])
    angles = 2 * np.pi * np.arange(fold) / fold
    turns = np.array([[[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]] for a in angles])
    return np.concatenate([places @ turn.T for turn in turns])


def apart(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """The places (n, 3) that are not too near to an earlier one that stays."""
    keep = np.ones(len(places), bool)
    for first, second in sorted(cKDTree(places).query_pairs(APART)):
        if keep[first]:
            keep[second] = False
    return places[keep]


def write_pdb(path: Path, places: NDArray[np.float64]) -> None:
    """Carbon atoms at the places."""
    with path.open("w", encoding="ascii") as file:
        for number, (x, y, z) in enumerate(places):
            # A residue for each, or they would count as places of one atom.
            chain, residue = divmod(number, 9999)
            head = f"ATOM  {(number + 1) % 100000:5d}  CA  ALA {CHAINS[chain]}{residue + 1:4d}    "
            file.write(f"{head}{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n")
        file.write("END\n")


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="MOLECULE.pdb")
    parser.add_argument("--radius", type=float, default=42.0, help="no atom is farther from the middle, Å (default 42)")
    parser.add_argument("--fold", type=int, default=1, help="of the axis along z (default 1: none)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    places = atoms(args.radius, args.fold, args.seed)
    write_pdb(args.out, places)
    print(f"{args.out}: {len(places)} atoms")


if __name__ == "__main__":
    main()
