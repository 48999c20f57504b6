"""`reconstruct` from true poses is, in every shell, as near to the truth as RELION's reconstruction and as theory."""

import json

import mrcfile
import numpy as np
import pytest
from phantom import apply_ctf, blobs, write_set
from scene import lump

from pycryo.io.particles import read_particles
from pycryo.refinement.reconstruct import reconstruct


def masked_fsc(found, truth, mask):
    """FSC inside a mask, over voxels of the half transform, as the maintainers' evaluate.py has it."""
    box = len(truth)
    a, b = (np.fft.rfftn(x.astype(float) * mask) for x in (found, truth))
    k = np.fft.fftfreq(box, 1 / box)
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + np.arange(box // 2 + 1) ** 2)).astype(int)
    cross, power_a, power_b = (
        np.bincount(shell.ravel(), x.ravel())[: box // 2 + 1]
        for x in ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)
    )
    return cross / np.sqrt(power_a * power_b)


def expected_fsc(truth, particles, noise):
    """FSC of a map with the truth if each image gives each of its Fourier pixels CTF² / (noise · box)², without loss.

    The second array: how many voxels a shell has.
    """
    box = len(truth)
    k = np.fft.fftfreq(box, 1 / box)
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int).ravel()
    ring = np.rint(np.hypot(k[:, None], k)).astype(int).ravel()
    points = np.zeros((len(particles), box, box))
    points[:, 0, 0] = 1
    weight = (np.fft.fft2(apply_ctf(points, particles.pixel_size[0], particles.defocus_u)).real ** 2).sum(0).ravel()
    n = np.bincount(shell)[: box // 2 + 1]
    signal = np.bincount(shell, np.abs(np.fft.fftn(truth).ravel()) ** 2)[: len(n)] / n
    ssnr = signal * np.bincount(ring, weight)[: len(n)] / n / (noise * box) ** 2
    return 1 / np.sqrt(1 + 1 / ssnr), n


@pytest.mark.parametrize("body", [blobs(), lump()], ids=["blobs", "lump"])
@pytest.mark.parametrize("box, pixel", [(32, 3.0), (48, 2.5)])
def test_true_poses_of_a_phantom(tmp_path, body, box, pixel):
    """The truth is exact, the noise is so strong that the FSC falls from 1 to almost 0."""
    particles = read_particles(write_set(tmp_path, body, 400, geometries=((box, pixel),), noise=3.0))
    truth = body.volume(box, pixel)
    found = masked_fsc(reconstruct(particles).map.data, truth, 1.0)
    expected, n = expected_fsc(truth, particles, 3.0)
    # A shell's n voxels are n/2 independent complex numbers: the correlation's deviation is below (1 - FSC²) / √(n/2)
    # (Fisher), of which four are allowed; interpolation loses 0.005, see tests/unit/refinement/test_reconstruct.py. The
    # last shell is cut off.
    inside = slice(1, box // 2)
    off = np.abs(found - expected) / (4 * (1 - expected**2) / np.sqrt(n / 2) + 0.005)
    assert off[inside].max() < 1


@pytest.mark.maintainers
@pytest.mark.parametrize("name", ["sim64", "sim128"])
def test_true_poses(shared, name):
    folder = shared / "data" / name
    theirs = json.loads((shared / "reference" / "relion_reconstruct_true_poses.json").read_text())[name]
    truth, mask = (mrcfile.read(folder / file).astype(float) for file in ("map.mrc", "mask.mrc"))
    result = reconstruct(read_particles(folder / "truth.star"))
    ours = masked_fsc(result.map.data, truth, mask)
    # RELION's curve is given to four decimals.
    assert (ours - theirs["fsc_truth_masked"]).min() > -5e-5
