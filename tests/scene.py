"""Small sets of particles to refine, and how far the result is from the truth, in scipy's terms."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
from phantom import Phantom, write_set
from scipy.spatial.transform import Rotation

from pycryo.io.particles import Particles, read_particles
from pycryo.maps.density import Map, low_pass


def lump(
    group: Rotation | None = None, n: int = 15, extent: float = 30.0, inner: float = 0.0, seed: int = 3
) -> Phantom:
    """A compact body of `n` Gaussian blobs within `extent` Å, with their mates by the rotations of `group`.

    `inner` is the share of `extent` that stays empty.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n, 3))
    centres *= extent * rng.uniform(inner**3, 1, (n, 1)) ** (1 / 3) / np.linalg.norm(centres, axis=1, keepdims=True)
    widths, masses = rng.uniform(3.0, 4.5, n), rng.uniform(0.5, 1.5, n) * 1e3
    if group is None:
        return Phantom(centres - centres.mean(0), widths, masses)
    mates = np.concatenate([turn.apply(centres) for turn in group])
    return Phantom(mates, np.tile(widths, len(group)), np.tile(masses, len(group)) / len(group))


def scene(
    folder: Path, phantom: Phantom, n: int, snr: float, geometries: tuple[tuple[int, float], ...] = ((32, 3.5),)
) -> tuple[Particles, Map, Map]:
    """Particles, the true map and the reference, which is the truth without what is finer than 30 Å.

    `snr` is the variance of the signal over that of the noise, in the whole image.
    """
    clean = mrcfile.read(write_set(folder, phantom, n, geometries=geometries).parent / "g1.mrcs")
    noise = float(np.sqrt(clean.var(axis=(1, 2)).mean() / snr))
    particles = read_particles(write_set(folder, phantom, n, geometries=geometries, noise=noise))
    box, pixel = geometries[0]
    truth = Map(phantom.volume(box, pixel).astype(np.float32), pixel)
    return particles, truth, low_pass(truth, 30.0)


def pose_errors(
    poses, particles: Particles, group: Rotation | None = None, rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Degrees and Å between the poses found and the true ones, which the particles hold.

    Modulo the symmetry, and modulo one rotation of the whole map: found = true · common.
    """
    rows = poses.rows if rows is None else rows
    place = np.searchsorted(poses.rows, rows)
    angles = np.stack([particles.rot, particles.tilt, particles.psi], axis=1)[rows]
    true = Rotation.from_euler("ZYZ", angles, degrees=True).inv()
    found = Rotation.from_quat(np.roll(poses.quaternion[place], -1, axis=1))
    common = Rotation.identity()
    for _ in range(3):
        turn = _nearest(true.inv() * found, common, group)
        inner = (turn * common.inv()).magnitude() < np.radians(20)  # lost images say nothing of the map's turn
        common = turn[inner].mean() if inner.any() else common
    error = np.degrees((_nearest(true.inv() * found, common, group) * common.inv()).magnitude())
    origin = np.stack([particles.origin_x, particles.origin_y], axis=1)[rows]
    moved = poses.shift[place] + origin
    return error, np.linalg.norm(moved, axis=1)


def _nearest(turn: Rotation, common: Rotation, group: Rotation | None) -> Rotation:
    """Of the equivalents of each pose, A·S for S in the group, the one next to the common rotation."""
    if group is None:
        return turn
    mates = [turn * mate for mate in group]
    away = np.stack([(mate * common.inv()).magnitude() for mate in mates])
    best = away.argmin(axis=0)
    return Rotation.concatenate([mates[which][i] for i, which in enumerate(best)])
