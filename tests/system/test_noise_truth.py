"""A refinement of images that hold noise beyond a resolution claims nothing there."""

import json

import mrcfile
import numpy as np
import pytest
from scene import lump

from pycryo.cli.main import main


@pytest.mark.slow
def test_half_maps_do_not_agree_on_noise(tmp_path):
    """Half a minute. The mean of the shells beyond the cut is within 0.05 of 0; each scatters by 0.04."""
    box, pixel = 48, 3.0
    mrcfile.write(tmp_path / "truth.mrc", lump().volume(box, pixel).astype(np.float32), voxel_size=pixel)
    options = ["--n", "600", "--snr", "0.1", "--seed", "5", "--shift-sd", "1"]
    assert main(["simulate", str(tmp_path / "truth.mrc"), "--out", str(tmp_path / "set"), *options]) == 0
    words = [str(tmp_path / "set" / "particles.star"), "--ref", str(tmp_path / "set" / "init40A.mrc")]
    assert main(["refine", *words, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    words = ["validate", str(tmp_path / "run"), "--noise-substitution", "--out", str(tmp_path / "noise"), "--quiet"]
    assert main(words) == 0
    told = json.loads((tmp_path / "noise" / "noise_substitution.json").read_text("utf-8"))
    assert told["resolution"] < 11
    left = np.array(told["corrected_fsc_of_noise"])
    assert len(left) > 2
    assert abs(left.mean()) < 0.05
    assert told["resolution_true"] == pytest.approx(told["resolution"], rel=0.1)
