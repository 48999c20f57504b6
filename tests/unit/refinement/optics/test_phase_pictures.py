"""Pictures of phase errors: a file for each group in which something was found."""

from types import SimpleNamespace

import numpy as np

from pycryo.kernels.pixels import half_plane
from pycryo.refinement.optics import pictures


def group(number, significant, pixels):
    n = len(pixels)
    phase = 0.1 * pixels.kx / 8
    seen = [("antisymmetric", np.zeros(n), np.full(n, 1e3))]
    return SimpleNamespace(
        group=number,
        parts=[SimpleNamespace(name="beam tilt", is_significant=significant, is_added=significant)],
        is_significant=significant,
        evidence=SimpleNamespace(n=40, pixels=pixels),
        phases=lambda particles: (seen, [phase]),
    )


def test_a_picture_for_each_group_with_something_found(tmp_path):
    pixels = half_plane(32, 8)
    optics = SimpleNamespace(name=("a/b", "a b", "c"), number=(3, 5, 7), box=(32,) * 3, pixel_size=(2.0,) * 3)
    groups = [group(0, True, pixels), group(1, True, pixels), group(2, False, pixels)]
    found = SimpleNamespace(particles=SimpleNamespace(optics=optics), groups=groups)
    pictures.write_phases(tmp_path, found)
    assert {path.name for path in tmp_path.iterdir()} == {"run_phases_a_b_3.png", "run_phases_a_b_5.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())
    assert pictures.picture_name(found.particles, 2) == "phases_c.png"
