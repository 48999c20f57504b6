"""`pycryo localres` finds both resolutions of half-maps that are made of two parts, to 10 %."""

import json

import mrcfile
import numpy as np
import pytest
from halves_of_two import beam, end_at, gentle_ends, medians, sharp_ends

from pycryo.cli.main import main
from pycryo.io.mrc import write_map
from pycryo.maps.density import soft_sphere
from pycryo.postprocessing.local_resolution import LocalOptions, local_resolution

# A limit is known to a part of a shell of the window, 1/50 Å, and by as few samples as the window has: at 9 Å a tenth.
TOLERANCE = 0.10


@pytest.mark.parametrize(
    "box, pixel_size, ends, snr",
    [
        (64, 2.5, (7.0, 12.0), 30),
        (80, 1.5, (6.0, 9.0), 4),
        (80, 1.5, (6.0, 9.0), 1000),
        (80, 1.5, (8.0, 5.0), 50),
        (81, 1.3, (3.2, 5.0), 20),
        (64, 3.0, (10.0, 20.0), 10),
    ],
)
def test_sharp_ends(box, pixel_size, ends, snr):
    halves = sharp_ends(box, pixel_size, ends, snr)
    found = local_resolution(*halves, pixel_size, beam(box))
    assert medians(found.resolution.data, pixel_size, found.window * 0.8) == pytest.approx(ends, rel=TOLERANCE)


@pytest.mark.parametrize(
    "box, pixel_size, ends, b_factor, threshold",
    [
        (80, 1.5, (4.0, 6.0), 100, 0.5),
        (80, 1.5, (9.0, 6.0), 300, 0.5),
        (80, 1.5, (4.0, 6.0), 100, 0.143),
        (80, 1.25, (3.2, 5.0), 60, 0.5),
    ],
)
def test_gentle_ends(box, pixel_size, ends, b_factor, threshold):
    halves = gentle_ends(box, pixel_size, ends, b_factor)
    found = local_resolution(*halves, pixel_size, beam(box), LocalOptions(threshold=threshold, window=25.0))
    expected = [end_at(b_factor, end, threshold) for end in ends]
    assert medians(found.resolution.data, pixel_size, 20.0) == pytest.approx(expected, rel=TOLERANCE)


def test_command(tmp_path, capsys):
    """Half-maps of a body in noise; files as they are read by others."""
    box, pixel_size, ends = 72, 1.6, (5.0, 9.0)
    body = soft_sphere(box, 24, 4)
    rng = np.random.default_rng(2)
    for number, half in enumerate(sharp_ends(box, pixel_size, ends, 1e9), 1):
        noisy = half * body + np.float32(0.2) * rng.standard_normal(half.shape, dtype=np.float32)
        write_map(tmp_path / f"half{number}.mrc", noisy, pixel_size)
    write_map(tmp_path / "mask.mrc", soft_sphere(box, 26, 4), pixel_size)
    words = [str(tmp_path / name) for name in ("half1.mrc", "half2.mrc")]
    out = tmp_path / "out"
    assert main(["localres", *words, "--mask", str(tmp_path / "mask.mrc"), "--out", str(out), "--threads", "1"]) == 0
    found = mrcfile.read(out / "localres.mrc")
    middle = slice(box // 2 - 6, box // 2 + 6)
    left, right = (float(np.median(found[middle, middle, part])) for part in (slice(14, 22), slice(-22, -14)))
    assert (left, right) == pytest.approx(ends, rel=TOLERANCE)
    told = json.loads((out / "localres.json").read_text())
    assert ends[0] * 0.9 < told["quantiles"]["5"] < told["quantiles"]["95"] < ends[1] * 1.3
    inside = mrcfile.read(tmp_path / "mask.mrc") > 0.5
    assert sum(told["histogram"]["voxels"]) == inside.sum()
    filtered = mrcfile.read(out / "localres_filtered.mrc")
    # Second differences show what is fine: the left keeps it.
    rough = np.square(np.diff(filtered[middle, middle], n=2)).mean(axis=(0, 1))
    assert rough[14:22].mean() > 5 * rough[-22:-14].mean()
    for name in ("localres.png", "localres_histogram.png", "localres.cxc", "run.log", "RELION_JOB_EXIT_SUCCESS"):
        assert (out / name).exists()
    assert main(["localres", *words, "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
