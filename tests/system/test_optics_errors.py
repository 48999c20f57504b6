"""Standard errors of found optics, against how far what is found is from the truth."""

import numpy as np
import pytest
from hidden_optics import HIDDEN, deviations, half_maps, simulated

from pycryo.parallel.comm import SerialComm
from pycryo.refinement.optics.find import FindOptions, find_optics

SEEDS = range(11, 19)


@pytest.mark.slow
def test_errors_are_as_large_as_stated(tmp_path, capsys):
    """Found with maps that know nothing of them, and once more with maps that know what was found.

    Measured: 0.84 in the root mean square, 1.8 at the most (the scale of a single group, which no image tells, aside).
    """
    away = []
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        particles, _ = simulated(folder, seed=seed, **HIDDEN)
        for _ in range(2):
            found = find_optics(SerialComm(), particles, half_maps(particles), FindOptions(betters=True))
            particles = found.particles
        seen = deviations(found)
        away.append(
            np.concatenate([seen["beam tilt"], seen["trefoil"], seen["fourth order"], seen["magnification"][1:2]])
        )
    rms, most = float(np.sqrt(np.mean(np.square(away)))), float(np.abs(away).max())
    with capsys.disabled():
        print(f"{np.size(away)} values: {rms:.2f} standard errors in the root mean square, {most:.1f} at the most")
        print(np.sqrt(np.mean(np.square(away), axis=0)).round(2))
    assert 0.6 < rms < 1.2
    assert most < 4
