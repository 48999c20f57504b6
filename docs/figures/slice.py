"""A slice read from the padded transform by trilinear interpolation, and the correction by sinc² that it needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from style import BLUE, GREEN, GREY, ORANGE, RED, panels, particle, save

from pycryo.kernels.pixels import half_plane
from pycryo.kernels.projector import FourierVolume, fourier_volume, project_slices

Array = NDArray[np.float64]

# Direction of the slice drawn, degrees, and the sample whose neighbours are shown.
_ANGLE, _SAMPLE = 24.0, 4
_BOX, _PADDING = 64, 2


def _grid(axes: Any) -> None:
    line = np.arange(-1, 12)
    x, z = np.meshgrid(line, line)
    axes.plot(x, z, ".", color="#aaaaaa", ms=4)
    along = np.array([np.cos(np.deg2rad(_ANGLE)), np.sin(np.deg2rad(_ANGLE))])
    axes.plot(*(along[:, None] * np.array([0, 11.5])), color=BLUE, lw=1.2)
    samples = along * (_PADDING * np.arange(6))[:, None]
    axes.plot(*samples.T, "o", color=BLUE, ms=5, zorder=4)
    at = samples[_SAMPLE]
    corner = np.floor(at)
    for step in ((0, 0), (0, 1), (1, 0), (1, 1)):
        neighbour = corner + step
        weight = float(np.prod(1 - np.abs(at - neighbour)))
        axes.plot(*np.stack([at, neighbour], 1), color=ORANGE, lw=1)
        axes.plot(*neighbour, "o", color=ORANGE, ms=4 + 14 * weight, mec="black", mew=0.5)
    axes.set(xlim=(-1, 11.6), ylim=(-1, 7.2), xticks=[0, 5, 10], yticks=[0, 5], aspect="equal")
    axes.set(xlabel="x, padded Fourier px", ylabel="z", title="a slice on the grid")


def _errors(volume: FourierVolume, fine: FourierVolume) -> tuple[Array, Array]:
    """Shells, and the error of slices relative to slices that are read from a much finer grid."""
    pixels = half_plane(_BOX, 28)
    angles = np.deg2rad(np.arange(5, 90, 4.0))
    c, s = np.cos(angles), np.sin(angles)
    zero = 0 * c
    turns = np.stack([np.stack([c, s * s, s * c]), np.stack([zero, c, -s]), np.stack([-s, s * c, c * c])])
    rotations = np.ascontiguousarray(turns.transpose(2, 0, 1))
    coarse, exact = (project_slices(each, rotations, pixels.kx, pixels.ky) for each in (volume, fine))
    wrong, power = (np.square(each).sum(axis=(0, 1)) for each in (coarse - exact, exact))
    shells = np.arange(1, 28)
    sums = [np.bincount(pixels.shell, each, 29)[1:28] for each in (wrong, power)]
    return shells, np.sqrt(sums[0] / sums[1])


def draw() -> None:
    """docs/images/method_slice.png"""
    figure, axes = panels(1, 3, 2.6, gridspec_kw={"width_ratios": (1.35, 1, 1)})
    _grid(axes[0])

    x = np.linspace(-0.5, 0.5, 201)
    sinc2 = np.sinc(x / _PADDING) ** 2
    axes[1].plot(x, sinc2, color=RED)
    axes[1].plot(x, 1 / sinc2, color=GREEN)
    axes[1].plot(x, np.ones_like(x), color=GREY, lw=1, ls="--")
    axes[1].text(0, 0.83, "sinc²: attenuation\nby interpolation", ha="center", va="top", color=RED, fontsize=8.5)
    axes[1].text(0, 1.17, "1 / sinc²:\ncorrection", ha="center", va="bottom", color=GREEN, fontsize=8.5)
    axes[1].set(xlabel="x / box", ylim=(0.7, 1.3), yticks=[0.8, 1, 1.2], title="along one axis")

    density = particle(_BOX, narrower=2.0)
    line = (np.arange(_BOX) - _BOX // 2) / (_PADDING * _BOX)
    damping = np.sinc(line) ** 2
    bare = density * damping[:, None, None] * damping[:, None] * damping
    fine = fourier_volume(density, padding=8)
    for each, colour, text, place in (
        (bare, RED, "without correction", 2.0),
        (density, GREEN, "with correction", 0.7),
    ):
        shells, error = _errors(fourier_volume(each, padding=_PADDING), fine)
        axes[2].plot(shells, 100 * error, color=colour)
        axes[2].text(27, place, text, ha="right", va="bottom", color=colour, fontsize=8.5)
    axes[2].set(xlabel="shell", ylabel="error, %", title="error of slices", ylim=(0, 2.4))
    save(figure, "slice")
