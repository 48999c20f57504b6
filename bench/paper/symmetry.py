"""Symmetrised F and T: images inserted at every symmetry mate against sums of one insertion, resampled at every mate.

Beside them what `pycryo reconstruct` does with many images: sums over the mates that rotations of the grid make, of
images inserted at the others only, which have the same result as inserting at all.

``python bench/paper/symmetry.py --json bench/paper/results/symmetry.json``

Both make a map of the same noisy projections of a made-up molecule, which is compared with the truth. Resampling
takes the same time for any number of images; the time of an image's mates gives the number beyond which it is less.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from pycryo.benchmark.environment import check_load, machine
from pycryo.geometry.cosets import coset_representatives, grid_rotations
from pycryo.geometry.rotations import quaternion_to_matrix
from pycryo.geometry.symmetry import Symmetry, symmetry
from pycryo.kernels.backprojector import Accumulators, fold_hermitian, insert, new_accumulators
from pycryo.kernels.entries import Entries
from pycryo.kernels.pixels import Pixels, half_plane
from pycryo.kernels.projector import fourier_volume, project_slices
from pycryo.maps.fsc import fsc
from pycryo.model.owners import all_own
from pycryo.model.solve import solve
from pycryo.model.symmetrise import symmetrise
from pycryo.parallel.comm import SerialComm
from pycryo.threads import get_threads

PADDING = 2
# Standard deviation of the noise in units of the signal's, per sample.
NOISE = 3.0


@dataclass(frozen=True, slots=True)
class Images:
    """Samples of images of a molecule at random poses: weighted values and weights, as `insert` takes them."""

    pixels: Pixels
    values: NDArray[np.float32]
    weights: NDArray[np.float32]
    rotations: NDArray[np.float64]


def molecule(box: int, mates: NDArray[np.float64]) -> NDArray[np.float32]:
    """Blobs of three voxels that fill a sphere of 0.4 of the box, symmetrised."""
    rng = np.random.default_rng(5)
    direction = rng.standard_normal((60, 3))
    distance = 0.4 * box * rng.random((60, 1)) ** (1 / 3)
    centres = direction / np.linalg.norm(direction, axis=1, keepdims=True) * distance
    axis = np.arange(box) - box // 2
    density = np.zeros((box, box, box))
    for x, y, z in (centres @ mates.transpose(0, 2, 1)).reshape(-1, 3):
        lines = [np.exp(-np.square(axis - c) / (2 * 1.5**2)) for c in (z, y, x)]
        density += np.einsum("i,j,k->ijk", *lines)
    return density.astype(np.float32)


def make_images(density: NDArray[np.float32], n_image: int) -> Images:
    """Noisy slices to Nyquist with a transfer function between -1 and 1."""
    rng = np.random.default_rng(6)
    box = len(density)
    pixels = half_plane(box, box / 2)
    rotations = Rotation.random(n_image, rng).as_matrix()
    slices = project_slices(fourier_volume(density, padding=3), rotations, pixels.kx, pixels.ky)
    defocus = rng.uniform(20, 60, (n_image, 1))
    transfer = np.sin(defocus * np.square(np.hypot(pixels.kx, pixels.ky) / box)).astype(np.float32)
    noise = NOISE * slices.std() * rng.standard_normal(slices.shape, np.float32)
    seen = slices * transfer[:, None] + noise
    return Images(pixels, seen * transfer[:, None], np.square(transfer), rotations)


def inserted(images: Images, mates: NDArray[np.float64]) -> tuple[Accumulators, float]:
    """Folded sums of the images at the mates, and the seconds of their insertion."""
    n_image, n_mate, box = len(images.values), len(mates), images.pixels.box
    sums = new_accumulators(box, padding=PADDING, r_high=box / 2)
    begin = time.perf_counter()
    entries = Entries(
        images.values,
        images.weights,
        np.repeat(np.arange(n_image), n_mate),
        (images.rotations[:, None] @ mates).reshape(-1, 3, 3),
        np.zeros((n_image * n_mate, 2)),
        np.ones(n_image * n_mate),
        images.pixels.kx,
        images.pixels.ky,
    )
    insert(sums, entries, quantum=(2.0**-20, 2.0**-20))
    seconds = time.perf_counter() - begin
    fold_hermitian(sums)
    return sums, seconds


def resampled(sums: Accumulators, mates: NDArray[np.float64]) -> Accumulators:
    """Sums over the mates of folded sums, trilinear."""
    sphere = sums.sphere
    depth, r = sphere.layers, sphere.radius
    row = np.repeat(np.arange(depth**2), np.diff(sphere.start))
    x = np.arange(sphere.n_voxel) - sphere.start[row]
    where = np.stack([x, row // depth - r, row % depth - r]).astype(np.float64)  # x, y, z
    result = []
    for part, sign in ((sums.re, 1), (sums.im, -1), (sums.weight, 1)):
        whole = np.zeros((depth, depth, depth))  # axes y, z, x
        index = where.astype(np.int64) + r
        whole[tuple(2 * r - index[[1, 2, 0]])] = sign * part
        whole[tuple(index[[1, 2, 0]])] = part
        result.append(sum(map_coordinates(whole, (mate.T @ where + r)[[1, 2, 0]], order=1) for mate in mates))
    return replace(sums, re=result[0], im=result[1], weight=result[2])


def summed(images: Images, group: Symmetry) -> tuple[Accumulators, float, float]:
    """Sums of the images at some mates, then over rotations of the grid; the seconds of either."""
    rotations = grid_rotations(group)
    sums, inserting = inserted(images, quaternion_to_matrix(coset_representatives(group, rotations)))
    begin = time.perf_counter()
    symmetrise(sums, all_own(SerialComm(), "slab"), rotations)
    return sums, inserting, time.perf_counter() - begin


def accuracy(sums: Accumulators, truth: NDArray[np.float32]) -> NDArray[np.float64]:
    """FSC of the map of sums to the truth, in a soft mask around the truth."""
    mask = np.clip(4 * gaussian_filter((truth > 0.05 * truth.max()).astype(np.float32), 2), 0, 1)
    found = solve(SerialComm(), sums).planes
    return fsc(found * mask, truth * mask)


def gather_rate(density: NDArray[np.float32], images: Images) -> float:
    """Trilinear samples per second of our projector, which resampling does not exceed."""
    volume = fourier_volume(density, padding=PADDING)
    pixels = images.pixels
    project_slices(volume, images.rotations, pixels.kx, pixels.ky)
    begin = time.perf_counter()
    project_slices(volume, images.rotations, pixels.kx, pixels.ky)
    return images.weights.size / (time.perf_counter() - begin)


def compare(group: str, box: int, n_image: int) -> dict[str, Any]:
    """Both ways for one group."""
    mates = symmetry(group).matrices
    truth = molecule(box, mates)
    images = make_images(truth, n_image)
    alone, seconds_alone = inserted(images, mates[:1])
    together, seconds_mates = inserted(images, mates)
    summed_up, seconds_some, seconds_sums = summed(images, symmetry(group))
    curves = {"inserted": accuracy(together, truth), "resampled": accuracy(resampled(alone, mates), truth)}
    loss = curves["inserted"] - curves["resampled"]
    # F and T: a complex and a real value, where the projector gathers one complex one of half the bytes.
    resampling = 2 * len(mates) * alone.sphere.n_voxel / gather_rate(truth, images)
    more = (seconds_mates - seconds_alone) / n_image
    return {
        "group": group,
        "box": box,
        "n_image": n_image,
        "seconds_per_image": seconds_mates / n_image,
        "seconds_per_image_some": seconds_some / n_image,
        "seconds_sums": seconds_sums,
        "difference_sums": float(np.abs(summed_up.weight - together.weight).max() / together.weight.max()),
        "seconds_resampling": resampling,
        "pays_from": resampling / more if more > 0 else None,
        "loss": float(loss.max()),
        "loss_at": int(loss.argmax()),
        **{name: [round(float(v), 5) for v in curve] for name, curve in curves.items()},
    }


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", nargs="+", default=["C2", "C3", "D2", "D7"])
    parser.add_argument("--box", type=int, default=96)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--force", action="store_true", help="measure although the machine is busy")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(argv)


def main() -> None:
    """Run, print, record."""
    args = parse()
    check_load(args.force)
    records = [compare(group, args.box, args.images) for group in args.groups]
    print("group  ms/image  some mates  sums/s  resampling/s  pays from images  loss of FSC  at shell")
    for each in records:
        print(
            f"{each['group']:>5}  {1e3 * each['seconds_per_image']:8.2f}  "
            f"{1e3 * each['seconds_per_image_some']:10.2f}  {each['seconds_sums']:6.2f}  "
            f"{each['seconds_resampling']:12.2f}  {each['pays_from'] or 0:16.0f}  "
            f"{each['loss']:11.4f}  {each['loss_at']:8d}"
        )
    if args.json:
        record = {"machine": machine(), "threads": get_threads(), "groups": records}
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
