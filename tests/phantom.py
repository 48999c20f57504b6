"""Particles of a phantom whose projections are known exactly: a few Gaussian blobs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import starfile
from scipy.spatial.transform import Rotation

from pycryo.kernels.reference.ctf import ctf as reference_ctf

# Centres (x, y, z) in Å, widths in Å and masses; nothing is symmetric.
CENTRES = np.array([[0, 0, 0], [18, 4, -6], [-9, 15, 8], [5, -17, 12], [-14, -8, -13], [3, 9, -20]], float)
WIDTHS = np.array([3.2, 2.9, 3.5, 2.9, 3.2, 2.9])
MASSES = np.array([3.0, 2.0, 2.0, 1.5, 2.5, 1.0]) * 1e3


@dataclass(frozen=True)
class Phantom:
    """Blobs, as many as there are mates for each of the six."""

    centres: np.ndarray
    widths: np.ndarray
    masses: np.ndarray

    def volume(self, box: int, pixel: float) -> np.ndarray:
        """Density (box, box, box), axes z, y, x."""
        line = (np.arange(box) - box // 2) * pixel
        out = np.zeros((box, box, box))
        for (x, y, z), sd, mass in zip(self.centres, self.widths, self.masses, strict=True):
            gx, gy, gz = (np.exp(-((line - c) ** 2) / (2 * sd**2)) for c in (x, y, z))
            out += mass / (2 * np.pi * sd**2) ** 1.5 * gz[:, None, None] * gy[:, None] * gx
        return out

    def images(self, rotations: np.ndarray, origins: np.ndarray, box: int, pixel: float) -> np.ndarray:
        """Integrals along the viewing axis (n, box, box) per Å², the particle at -origin (Å)."""
        line = (np.arange(box) - box // 2) * pixel
        at = np.einsum("nij,cj->nci", rotations[:, :2], self.centres) - origins[:, None]
        gx, gy = (np.exp(-((line - at[:, :, i, None]) ** 2) / (2 * self.widths[:, None] ** 2)) for i in range(2))
        return np.einsum("c,nci,ncj->nij", self.masses / (2 * np.pi * self.widths**2), gy, gx)


def blobs(order: int = 1) -> Phantom:
    """The phantom with an `order`-fold axis along z."""
    turns = [Rotation.from_euler("z", 360 * i / order, degrees=True).as_matrix() for i in range(order)]
    centres = np.concatenate([CENTRES @ turn.T for turn in turns])
    return Phantom(centres, np.tile(WIDTHS, order), np.tile(MASSES, order) / order)


def apply_ctf(images: np.ndarray, pixel: float, defocus: np.ndarray) -> np.ndarray:
    """Images (n, N, N) times the CTF of 300 kV, 2.7 mm, 0.1 and a defocus (n,) without astigmatism."""
    box = images.shape[-1]
    ky, kx = np.meshgrid(np.round(np.fft.fftfreq(box, 1 / box)), np.arange(box // 2 + 1), indexing="ij")
    transfer = reference_ctf(
        kx.ravel(), ky.ravel(), frequency_step=1 / (box * pixel), defocus_u=defocus, defocus_v=defocus,
        defocus_angle=0.0, voltage=300.0, spherical_aberration=2.7, amplitude_contrast=0.1,
    ).reshape(len(images), *kx.shape)  # fmt: skip
    return np.fft.irfft2(np.fft.rfft2(images) * transfer, s=(box, box))


def write_set(
    folder: Path,
    phantom: Phantom,
    n: int,
    *,
    geometries: tuple[tuple[int, float], ...] = ((32, 3.0),),
    with_ctf: bool = True,
    noise: float = 0.0,
    seed: int = 5,
    defoci: tuple[float, float] = (6000, 18000),
) -> Path:
    """Write particles.star (RELION 3.1, poses and CTF) and a stack per geometry (box, pixel size in Å).

    The grey values are those of line sums in the first geometry's px; in another one they are proportional to the
    pixel size, as where the noise is normalised.
    """
    rng = np.random.default_rng(seed)
    angles = np.stack(
        [rng.uniform(-180, 180, n), np.degrees(np.arccos(rng.uniform(-1, 1, n))), rng.uniform(-180, 180, n)], axis=1
    )
    origins = rng.normal(0, 3, (n, 2))
    defocus = rng.uniform(*defoci, n)
    rotations = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    group = np.arange(n) * len(geometries) // n
    names = []
    for index, (box, pixel) in enumerate(geometries):
        mine = group == index
        images = phantom.images(rotations[mine], origins[mine], box, pixel) * pixel / geometries[0][1] ** 2
        if with_ctf:
            images = apply_ctf(images, pixel, defocus[mine])
        images += noise * rng.standard_normal(images.shape)
        with mrcfile.new(folder / f"g{index + 1}.mrcs", images.astype(np.float32), overwrite=True) as file:
            file.voxel_size = pixel
            file.set_image_stack()
        names += [f"{number:06d}@g{index + 1}.mrcs" for number in range(1, mine.sum() + 1)]
    optics = pd.DataFrame(
        {
            "rlnOpticsGroup": np.arange(1, len(geometries) + 1),
            "rlnOpticsGroupName": [f"g{i + 1}" for i in range(len(geometries))],
            "rlnImagePixelSize": [pixel for _, pixel in geometries],
            "rlnImageSize": [box for box, _ in geometries],
            "rlnVoltage": 300.0,
            "rlnSphericalAberration": 2.7,
            "rlnAmplitudeContrast": 0.1,
        }
    )
    particles = pd.DataFrame(
        {
            "rlnImageName": names,
            "rlnOpticsGroup": group + 1,
            "rlnAngleRot": angles[:, 0],
            "rlnAngleTilt": angles[:, 1],
            "rlnAnglePsi": angles[:, 2],
            "rlnOriginXAngst": origins[:, 0],
            "rlnOriginYAngst": origins[:, 1],
            "rlnDefocusU": defocus,
            "rlnDefocusV": defocus,
            "rlnDefocusAngle": 0.0,
            "rlnRandomSubset": rng.permutation(n) % 2 + 1,
        }
    )
    starfile.write({"optics": optics, "particles": particles}, folder / "particles.star", overwrite=True)
    return folder / "particles.star"


def write_30(path: Path) -> Path:
    """A set with one geometry as RELION 3.0 has it, old.star: one table, origins in px, no pixel size but by parts."""
    tables = starfile.read(path)
    optics, particles = tables["optics"].iloc[0], tables["particles"].drop(columns="rlnOpticsGroup")
    pixel = optics["rlnImagePixelSize"]
    for axis in "XY":
        particles[f"rlnOrigin{axis}"] = particles.pop(f"rlnOrigin{axis}Angst") / pixel
    for label in ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"):
        particles[label] = optics[label]
    particles["rlnDetectorPixelSize"], particles["rlnMagnification"] = 5.0, 5e4 / pixel
    starfile.write(particles, path.with_name("old.star"), overwrite=True)
    return path.with_name("old.star")


def write_single_table(path: Path) -> Path:
    """A set with one geometry as converters write it, single.star: all in data_particles, in the order of the names."""
    tables = starfile.read(path)
    particles = tables["particles"].drop(columns="rlnOpticsGroup")
    for label in ("rlnImagePixelSize", "rlnImageSize", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"):
        particles[label] = tables["optics"].iloc[0][label]
    starfile.write({"particles": particles[sorted(particles)]}, path.with_name("single.star"), overwrite=True)
    return path.with_name("single.star")
