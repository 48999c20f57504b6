"""`pycryo.kernels.projector.project` against projections that RELION made of the same maps, and exact ones."""

from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile
from phantom import blobs, write_30, write_set
from scipy.spatial.transform import Rotation

from pycryo.cli.main import main
from pycryo.kernels.projector import project


@pytest.fixture(scope="module")
def folder(shared) -> Path:
    return shared / "data" / "relion_projections"


@pytest.fixture
def exact(tmp_path):
    """Function (box, form) -> STAR file of exact projections of `blobs` at 3 Å, 30 (3.0) or 31 (3.1); map.mrc, too."""

    def make(box, form):
        path = write_set(tmp_path, blobs(), 24, geometries=((box, PIXEL),), with_ctf=False)
        with mrcfile.new(tmp_path / "map.mrc", blobs().volume(box, PIXEL).astype(np.float32)) as file:
            file.voxel_size = PIXEL
        return path if form == 31 else write_30(path)

    return make


def read_poses(path, pixel_size):
    """Rotations, origins in px and 0-based image indices of a STAR file."""
    table = starfile.read(path)
    if not isinstance(table, pd.DataFrame):
        table = table["particles"]
    angles = table[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy(float)
    rotations = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    if "rlnOriginX" in table:
        origins = table[["rlnOriginX", "rlnOriginY"]].to_numpy(float)
    else:
        origins = table[["rlnOriginXAngst", "rlnOriginYAngst"]].to_numpy(float) / pixel_size
    index = table["rlnImageName"].str.split("@").str[0].astype(int).to_numpy() - 1
    return rotations, origins, index


def crop_transform(density, box, centred):
    """Resample a cube to `box` px; the centre voxel keeps its place, else the first voxel does."""
    if centred:
        return np.fft.fftshift(crop_transform(np.fft.ifftshift(density), box, False))
    k = np.fft.ifftshift(np.arange(box) - box // 2)
    return np.fft.ifftn(np.fft.fftn(density)[np.ix_(k, k, k)]).real * (box / len(density)) ** 3


def correlation(a, b, reach):
    """Fourier-space correlation of each image pair over 0 < |k| < reach."""
    k = np.fft.fftfreq(a.shape[-1], 1 / a.shape[-1])
    radius = np.hypot(k[:, None], k)
    inside = (radius > 0) & (radius < reach)
    a, b = (np.fft.fft2(x.astype(float))[:, inside] for x in (a, b))
    return (a * b.conj()).real.sum(1) / np.sqrt((abs(a) ** 2).sum(1) * (abs(b) ** 2).sum(1))


PIXEL = 3.0
# Fourier correlation inside 90 % of Nyquist; measured 0.99999 or better for every image.
# Trilinear interpolation at padding 2 changes the exact ones by 1.3 % of their norm: the correlation by 1e-4.
ENOUGH = 0.999


@pytest.mark.parametrize("form", [30, 31])
@pytest.mark.parametrize("box", [32, 33, 40, 41])
def test_exact_projections(exact, box, form):
    """Even and odd boxes, the centre on pixel box // 2; origins in px and in Å."""
    path = exact(box, form)
    rotations, origins, index = read_poses(path, PIXEL)
    images = mrcfile.read(path.parent / "g1.mrcs")[index]
    ours = project(mrcfile.read(path.parent / "map.mrc"), rotations, shifts=origins)
    assert correlation(ours, images, 0.9 * box / 2).min() > ENOUGH


@pytest.mark.parametrize("form", [30, 31])
@pytest.mark.parametrize("box", [32, 33])
def test_command_on_exact_projections(exact, box, form, tmp_path):
    """`pycryo project` with the poses of a STAR file in either form."""
    path = exact(box, form)
    words = ["--poses", str(path), "--out", str(tmp_path / "out.mrcs"), "--pixel-size", str(PIXEL)]
    assert main(["project", str(tmp_path / "map.mrc"), *words]) == 0
    images = mrcfile.read(tmp_path / "g1.mrcs")[read_poses(path, PIXEL)[2]]
    assert correlation(mrcfile.read(tmp_path / "out.mrcs"), images, 0.9 * box / 2).min() > ENOUGH


@pytest.mark.maintainers
@pytest.mark.parametrize("stem", ["rln_proj_65", "rln_proj_65_centered", "rln_proj_65_shifted"])
def test_odd_box(stem, folder):
    """RELION puts the centre of a 65 px image on pixel 33, pycryo on 65 // 2 = 32: one px in x and in y."""
    rotations, origins, index = read_poses(folder / f"{stem}.star", 1.0)
    density = mrcfile.read(folder / "clean70SRibosome_vol_65p.mrc")
    images = mrcfile.read(folder / f"{stem}.mrcs")[index]
    ours = project(density, rotations, shifts=origins - 1)
    assert correlation(ours, images, 0.9 * 65 / 2).min() > ENOUGH


@pytest.mark.maintainers
@pytest.mark.parametrize(
    "stem, centred", [("rln_proj_64", False), ("rln_proj_64_centered", True), ("rln_proj_64_shifted", True)]
)
def test_even_box(stem, centred, folder):
    """The map that RELION projected is the 65 px one, resampled about its first voxel or about its centre."""
    rotations, origins, index = read_poses(folder / f"{stem}.star", 1.0)
    density = crop_transform(mrcfile.read(folder / "clean70SRibosome_vol_65p.mrc"), 64, centred)
    images = mrcfile.read(folder / f"{stem}.mrcs")[index]
    assert correlation(project(density, rotations, shifts=origins), images, 0.9 * 64 / 2).min() > ENOUGH


@pytest.mark.maintainers
def test_simulated_particles(folder, shared):
    """24 projections of the sim128 map with origins in Å."""
    rotations, origins, index = read_poses(folder / "sim128_relion_project.star", 1.1)
    density = mrcfile.read(shared / "data" / "sim128" / "map.mrc")
    images = mrcfile.read(folder / "sim128_relion_project.mrcs")[index]
    assert correlation(project(density, rotations, shifts=origins), images, 0.9 * 128 / 2).min() > ENOUGH


@pytest.mark.maintainers
@pytest.mark.parametrize("stem", ["rln_proj_65_centered", "sim128_relion_project"])
def test_command(stem, folder, shared, tmp_path):
    """`pycryo project` with the poses of RELION's STAR files; the box of 65 px is one px off, see `test_odd_box`."""
    source = folder / "clean70SRibosome_vol_65p.mrc" if "65" in stem else shared / "data" / "sim128" / "map.mrc"
    out, pixel_size = tmp_path / "out.mrcs", 1.0 if "65" in stem else 1.1
    words = ["--poses", str(folder / f"{stem}.star"), "--out", str(out), "--pixel-size", str(pixel_size)]
    assert main(["project", str(source), *words]) == 0
    _, _, index = read_poses(folder / f"{stem}.star", pixel_size)
    theirs = mrcfile.read(folder / f"{stem}.mrcs")[index]
    ours = mrcfile.read(out)
    if "65" in stem:
        ours = np.roll(ours, (1, 1), (1, 2))
    assert correlation(ours, theirs, 0.9 * len(ours[0]) / 2).min() > ENOUGH
