"""What one image, at one pose and at its support points, and many images add to the weights T of the padded grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from style import panels, save

from pycryo.kernels.backprojector import insert, new_accumulators
from pycryo.kernels.entries import Entries
from pycryo.kernels.pixels import half_plane

Array = NDArray[np.float64]

_BOX, _R_HIGH, _N_POINT, _SPREAD = 32, 15.0, 32, 5.0


def _weights(tilts: Array) -> Array:
    """T of the section y = 0, (z, x), of an image of weight 1 at rotations about y, degrees."""
    pixels = half_plane(_BOX, _R_HIGH)
    n = len(tilts)
    samples = np.zeros((1, 2, len(pixels)), np.float32)
    entries = Entries(
        samples,
        np.ones((1, len(pixels)), np.float32),
        np.zeros(n, np.int64),
        Rotation.from_euler("y", tilts[:, None], degrees=True).as_matrix(),
        np.zeros((n, 2)),
        np.full(n, 1 / n),
        pixels.kx,
        pixels.ky,
    )
    sums = new_accumulators(_BOX, r_high=_R_HIGH)
    insert(sums, entries, quantum=(2.0**-40, 2.0**-40))
    half = sums.to_dense()[1][:, sums.sphere.radius]
    # The other half: the mates of the voxels.
    whole = np.concatenate([half[::-1, :0:-1], half], axis=1)
    return np.asarray(whole + whole[::-1, ::-1]) / 2


def draw() -> None:
    """docs/images/method_insertion.png"""
    rng = np.random.default_rng(4)
    tilt = 25.0
    cases = {
        "one image, one pose": [tilt + np.zeros(1)],
        "one image, 32 support points": [tilt + _SPREAD * rng.standard_normal(_N_POINT)],
        "60 images": [at + _SPREAD * rng.standard_normal(_N_POINT) for at in rng.uniform(0, 180, 60)],
    }
    figure, axes = panels(1, 3, 2.6, sharey=True)
    for one, (title, images) in zip(axes, cases.items(), strict=True):
        total = sum(_weights(tilts) for tilts in images)
        reach = len(total) // 2
        shown = np.log10(np.maximum(total / total.max(), 1e-3))
        picture = one.imshow(shown, origin="lower", extent=(-reach, reach, -reach, reach), cmap="cividis", vmin=-3)
        one.set(title=title, xlabel="x, padded Fourier px", xticks=[-20, 0, 20], yticks=[-20, 0, 20])
    axes[0].set_ylabel("z, padded Fourier px")
    bar = figure.colorbar(picture, ax=axes, ticks=[-3, -2, -1, 0], shrink=0.85, pad=0.01)
    bar.ax.set_yticklabels(["10⁻³", "10⁻²", "10⁻¹", "1"])
    bar.set_label("T / its maximum")
    save(figure, "insertion")
