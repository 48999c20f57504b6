"""`reconstruct` from true poses is, in every shell, at least as near to the truth as RELION's reconstruction."""

import json

import mrcfile
import numpy as np
import pytest

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


@pytest.mark.parametrize("name", ["sim64", "sim128"])
def test_true_poses(shared, name):
    folder = shared / "data" / name
    theirs = json.loads((shared / "reference" / "relion_reconstruct_true_poses.json").read_text())[name]
    truth, mask = (mrcfile.read(folder / file).astype(float) for file in ("map.mrc", "mask.mrc"))
    result = reconstruct(read_particles(folder / "truth.star"))
    ours = masked_fsc(result.map.data, truth, mask)
    # RELION's curve is given to four decimals.
    assert (ours - theirs["fsc_truth_masked"]).min() > -5e-5
