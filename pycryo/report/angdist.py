"""Distribution of the viewing directions: bins on the sphere, ChimeraX picture, evenness of the sampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry.rotations import quaternion_to_matrix
from pycryo.geometry.symmetry import Symmetry
from pycryo.io.atomic import write_text

Array = NDArray[np.float64]

# Directions in which the sampling of Fourier space is looked at.
_N_DIRECTION = 1000
# Views of which so many are drawn to look at it, if there are more.
_MOST_VIEWS = 200_000


def view_directions(quaternion: Array, group: Symmetry) -> Array:
    """(n · len(group), 3) unit vectors: viewing axes, in the map, of poses (n, 4) and their symmetry mates."""
    views = quaternion_to_matrix(quaternion)[..., 2, :]
    return np.asarray(np.einsum("ni,gij->ngj", views, group.matrices).reshape(-1, 3))


def bin_spacing(n: int) -> float:
    """Side of bins, degrees, such that n even directions are 4 in each; 5 to 20."""
    return float(np.clip(np.rad2deg(np.sqrt(4 * 4 * np.pi / max(1, n))), 5, 20))


def sphere_bins(directions: Array, spacing: float) -> tuple[Array, NDArray[np.int64]]:
    """Count directions in bins of about equal area: rings of constant height, cut into bins of about equal length.

    Parameters
    ----------
    directions : (n, 3) float64
        Unit vectors.
    spacing : float
        Side of a bin, degrees.

    Returns
    -------
    centres : (n_bin, 3) float64
    counts : (n_bin,) int64
    """
    tilt, per_ring, first = _rings(spacing)
    counts = np.bincount(bin_of(directions, spacing), minlength=first[-1])
    of_ring = np.repeat(np.arange(len(tilt)), per_ring)
    angle = 2 * np.pi * (np.arange(first[-1]) - first[of_ring] + 0.5) / per_ring[of_ring]
    sine = np.sin(tilt)[of_ring]
    return np.stack([sine * np.cos(angle), sine * np.sin(angle), np.cos(tilt)[of_ring]], axis=1), counts


def bin_of(directions: Array, spacing: float) -> NDArray[np.int64]:
    """(n,) number of the bin of `sphere_bins` that each direction (n, 3) lies in."""
    tilt, per_ring, first = _rings(spacing)
    x, y, z = directions.T
    ring = np.minimum((np.arccos(np.clip(z, -1, 1)) / np.pi * len(tilt)).astype(np.int64), len(tilt) - 1)
    turn = np.arctan2(y, x) / (2 * np.pi) % 1.0
    place = np.minimum((turn * per_ring[ring]).astype(np.int64), per_ring[ring] - 1)
    return np.asarray(first[ring] + place, np.int64)


def _rings(spacing: float) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Tilt (radians) of the rings' middles, bins of each ring, number of the first bin of each ring and of all."""
    n_ring = max(1, round(180 / spacing))
    tilt = (np.arange(n_ring) + 0.5) * np.pi / n_ring
    per_ring = np.maximum(1, np.rint(2 * n_ring * np.sin(tilt)).astype(np.int64))
    return tilt, per_ring, np.concatenate([[0], np.cumsum(per_ring)])


def write_angdist(path: Path | str, directions: Array, *, centre: float, radius: float) -> None:
    """Write a BILD file that ChimeraX shows around the map: one cylinder per bin, as long and red as it is full.

    Parameters
    ----------
    path : path
    directions : (n, 3) float64
        Viewing directions, unit vectors.
    centre : float
        Centre of the map along each axis, Å.
    radius : float
        Of the sphere on which the cylinders stand, Å; the longest one is 30 % of it.
    """
    spacing = bin_spacing(len(directions))
    centres, counts = sphere_bins(directions, spacing)
    most = max(1, int(counts.max(initial=0)))
    thickness = 0.4 * radius * np.deg2rad(spacing)
    lines = [".transparency 0.0"]
    for vector, count in zip(centres[counts > 0], counts[counts > 0], strict=True):
        share = float(count) / most
        foot = centre + radius * vector
        tip = centre + radius * (1 + 0.3 * share) * vector
        ends = " ".join(f"{value:.3f}" for value in (*foot, *tip))
        lines += [f".color {share:.3f} 0.100 {1 - share:.3f}", f".cylinder {ends} {thickness:.3f}"]
    write_text(path, "\n".join(lines) + "\n")


def sampling_factor(directions: Array) -> float:
    """How evenly the slices sample Fourier space: ``1 / (⟨c⟩·⟨1/c⟩)`` over all directions, 1 when even.

    c is the number of slices that pass within a band of a direction (Baldwin & Lyumkis, Prog. Biophys. Mol. Biol. 150
    (2020) 160-183, who call the factor SCF). Views all around one axis give π²/8 of ⟨1/c⟩·⟨c⟩, that is 0.81; views
    along one axis leave directions unsampled and go to 0. The band is wide enough for 25 slices, so few particles say
    little.
    """
    if not len(directions):
        return 0.0
    if len(directions) > _MOST_VIEWS:
        directions = np.random.default_rng(0).choice(directions, _MOST_VIEWS, replace=False)
    index = np.arange(_N_DIRECTION) + 0.5
    z = 1 - 2 * index / _N_DIRECTION
    turn = np.pi * (1 + np.sqrt(5)) * index
    sine = np.sqrt(1 - z * z)
    probes = np.stack([sine * np.cos(turn), sine * np.sin(turn), z])
    band = np.clip(25 / len(directions), 0.05, 0.5)
    count = np.zeros(_N_DIRECTION)
    # So few at a time that a byte counts them.
    for start in range(0, len(directions), 255):
        cosine = directions[start : start + 255] @ probes
        count += (np.abs(cosine, out=cosine) < band).view(np.uint8).sum(axis=0, dtype=np.uint8)
    return float(1 / (count.mean() * (1 / np.maximum(count, 0.5)).mean()))
