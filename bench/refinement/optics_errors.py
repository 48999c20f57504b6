"""How far found optics are from the truth, in the standard errors that `pycryo ctf-refine` states.

    python bench/refinement/optics_errors.py SET/truth.star=FOLDER [SET2/truth.star=FOLDER2 ...]

truth.star states the aberrations of simulated images; FOLDER is one of ``ctf-refine`` of a refinement that did not know
them. A line for each optics group, with brackets about what was not claimed, and one for each kind of all sets and for
all aberrations, in which only what was claimed counts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.io.optics import OpticsGroups
from pycryo.io.particles import read_particles

Array = NDArray[np.float64]


def values(optics: OpticsGroups, g: int) -> dict[str, Array]:
    """Of a group, in the order and the units of optics.json."""
    odd, even = (np.array([*each[g], *[0.0] * 9]) for each in (optics.odd_zernike, optics.even_zernike))
    return {
        "beam tilt": np.array(optics.beam_tilt[g]),
        "trefoil": odd[[2, 5]],
        "fourth order": even[[6, 7, 5, 8, 4]],
        "magnification": 100 * optics.magnification[g].ravel()[[0, 1, 3]],
    }


def deviations(truth: Path, folder: Path) -> list[tuple[str, dict[str, Array], set[str]]]:
    """Name of each group, differences to the truth in standard errors by kind, and the kinds that were claimed."""
    true = read_particles(truth, validate=False).optics
    found = read_particles(folder / "particles_ctf_refine.star", validate=False).optics
    told: dict[str, Any] = json.loads((folder / "optics.json").read_text())
    groups = []
    for group in told["groups"]:
        mine, theirs = (values(optics, optics.name.index(group["name"])) for optics in (found, true))
        parts = {kind: part for kind, part in group["found"].items() if kind in mine}
        away = {kind: (mine[kind] - theirs[kind]) / part["standard_error"] for kind, part in parts.items()}
        groups.append((group["name"], away, {kind for kind, part in parts.items() if "added" in part}))
    return groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="TRUTH.star=FOLDER")
    kinds: dict[str, list[float]] = {}
    for each in parser.parse_args().sets:
        truth, _, folder = each.partition("=")
        for name, found, claimed in deviations(Path(truth), Path(folder)):
            texts = []
            for kind, away in found.items():
                text = " ".join(f"{value:.1f}" for value in away)
                texts.append(f"{kind} {text}" if kind in claimed else f"{kind} ({text})")
                kinds.setdefault(kind, []).extend(away if kind in claimed else ())
            print(f"{folder} {name}: {', '.join(texts)}")
    kinds["aberrations"] = [value for kind, some in kinds.items() if kind != "magnification" for value in some]
    for kind, some in kinds.items():
        if some:
            rms, most = np.sqrt(np.mean(np.square(some))), np.abs(some).max()
            print(f"{kind}: {len(some)} values, root mean square {rms:.2f}, largest {most:.1f}")


if __name__ == "__main__":
    main()
