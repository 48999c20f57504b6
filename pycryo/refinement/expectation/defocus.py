"""The defocus of each image: a search about the value in the file, at the poses of its posterior.

See docs/method.md, Defocus of each particle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.draws import Draws
from pycryo.filter.resampling import resample
from pycryo.filter.support import RowsPosterior, Support
from pycryo.io.particles import Particles
from pycryo.kernels.ctf import electron_wavelength
from pycryo.kernels.defocus_scores import defocus_scores, defocus_sums
from pycryo.kernels.pixels import Pixels
from pycryo.kernels.projector import FourierVolume
from pycryo.kernels.shift import shift
from pycryo.model.microscope import particle_ctf
from pycryo.refinement.data.prepare import Target
from pycryo.refinement.expectation.class_slices import class_slices

Array = NDArray[np.float64]

# First width of the prior as a share of the defocus, and its largest: errors of micrographs and the depth of the ice,
# and to spare. The images narrow it at once.
_FIRST_SIGMA = 0.03
# The prior stays wider than this, Å: what no image tells.
LEAST_SIGMA = 5.0
# Poses of an image over which the search marginalises.
_N_POSE = 8
# Half-width of the grids in standard deviations, of the prior first, of the posterior in the finer ones.
_REACH = 4.0
# Points of a finer grid, and how many there are.
_N_FINE = 33
_FINER = 2
# Radians by which a step of the first grid turns CTF² at the highest frequency: more than 4 points to a period.
_STEP_TURN = np.pi / 2
# Radians by which the largest change turns the CTF within a bin of |k|².
_BIN_TURN = 0.1
# Bytes of slices and shifted images at a time.
_CHUNK_BYTES = 64 << 20


def first_sigma(particles: Particles, half: NDArray[np.int8]) -> float:
    """Width of the first prior, Å; `half` (n_all,) is negative for particles that are not used."""
    mean = (particles.defocus_u + particles.defocus_v)[half >= 0] / 2
    return max(LEAST_SIGMA, _FIRST_SIGMA * abs(float(np.median(mean))))


def with_changes(particles: Particles, posterior: RowsPosterior | None) -> Particles:
    """The particles with the defocus that their posterior says."""
    if posterior is None or not posterior[1].defocus_change.any():
        return particles
    change = np.zeros(particles.n)
    change[posterior[0]] = posterior[1].defocus_change
    return replace(particles, defocus_u=particles.defocus_u + change, defocus_v=particles.defocus_v + change)


@dataclass(frozen=True, slots=True)
class DefocusGrid:
    """Sizes of the search, the same for all images of one geometry.

    Attributes
    ----------
    bin : (n_pixel,) int32
        Bin of each sample.
    radius2 : (n_bin,) float64
        Mean |M k|² of each bin, 1/Å².
    sigma : float
        Prior of the changes, Å.
    n_first : int
        Points of the first grid, which reaches over the prior.
    """

    bin: NDArray[np.int32]
    radius2: Array
    sigma: float
    n_first: int


def defocus_grid(
    pixels: Pixels, pixel_size: float, wavelength: float, sigma: float, magnification: Array | None = None
) -> DefocusGrid:
    """The grid for images of a pixel size (Å), a magnification M (2, 2) and the longest wavelength (Å) of a run."""
    per_index = 1 / (pixels.box * pixel_size) ** 2
    k = np.stack([pixels.kx, pixels.ky]).astype(np.float64)
    square = np.square(k if magnification is None else magnification @ k).sum(axis=0)
    per_defocus = np.pi * wavelength * per_index
    width = max(1, int(_BIN_TURN / (per_defocus * _REACH * sigma)))
    _, bin, count = np.unique(square // width, return_inverse=True, return_counts=True)
    bin = bin.ravel()
    radius2 = np.bincount(bin, square, len(count)) / count * per_index
    step = _STEP_TURN / (2 * per_defocus * max(1.0, float(square.max(initial=1))))
    return DefocusGrid(bin.astype(np.int32), radius2, sigma, 1 + 2 * int(np.ceil(_REACH * sigma / step)))


@dataclass(frozen=True, slots=True)
class DefocusSearch:
    """What the defocus of images of one geometry is searched with.

    Attributes
    ----------
    volumes : sequence of FourierVolume
        The reference of each class.
    particles : Particles
        With the defocus that changes are counted from.
    r_high : float
        Samples 1 ≤ |k| < r_high are compared, Fourier px of the images.
    model_scale : float
        Fourier px of the model per Fourier px of the images.
    sigma : float
        Prior of the changes, Å.
    """

    volumes: Sequence[FourierVolume]
    particles: Particles
    r_high: float
    model_scale: float
    sigma: float


def search_defocus(
    search: DefocusSearch, bare: Target, support: Support, change: Array, draws: Draws, *, threads: int | None = None
) -> tuple[Array, Array]:
    """Posterior of the change of each image's defocus, U and V alike.

    Parameters
    ----------
    search : DefocusSearch
    bare : Target
        The images weighted as if the CTF were 1: s·X/σ² and s²/σ².
    support : Support
        Drawn from the posterior of the poses.
    change : (n,) float64
        With which `support` was found, Å.
    draws : Draws
        Its ids are the rows of the images, of one geometry; at least one.

    Returns
    -------
    mean, spread : (n,) float64
        Of the posterior, Å.
    """
    rows, particles = draws.ids, search.particles
    near = bare.between(1, search.r_high)
    optics, group = particles.optics, particles.optics_group[rows]
    wavelength = electron_wavelength(optics.voltage)
    longest = float(wavelength[particles.optics_group].max())
    matrix = None if near.magnification is None else near.magnification[0]
    grid = defocus_grid(near.pixels, float(optics.pixel_size[group[0]]), longest, search.sigma, matrix)
    pick = resample(support.weight, draws.offset(), _N_POSE)
    sine, cosine = (particle_ctf(particles, rows, near.pixels, quarter_turns=turns) for turns in (0, 1))
    mean, spread = np.empty(len(rows)), np.empty(len(rows))
    chunk = max(1, _CHUNK_BYTES // (16 * _N_POSE * max(1, len(near.pixels))))
    for start in range(0, len(rows), chunk):
        part = slice(start, start + chunk)
        quaternion = np.take_along_axis(support.quaternion[part], pick[part, :, None], axis=1)
        moves = np.take_along_axis(support.shift[part], pick[part, :, None], axis=1)
        pixels = near.pixels
        classes = np.take_along_axis(support.class_index[part], pick[part], axis=1).ravel()
        rotations = near.matrices(quaternion.reshape(-1, 4), np.repeat(np.arange(len(rows))[part], _N_POSE))
        slices = class_slices(search.volumes, classes, rotations, pixels, search.model_scale, threads)
        images = shift(near.images[part], pixels.kx, pixels.ky, moves, pixels.box, threads=threads)
        sums = defocus_sums(
            images,
            slices.reshape(images.shape),
            near.weights[part],
            sine[part],
            cosine[part],
            grid.bin,
            len(grid.radius2),
            threads=threads,
        )
        phase = np.pi * wavelength[group[part], None] * grid.radius2
        mean[part], spread[part] = defocus_posterior(sums, phase, change[part], grid, threads)
    return mean, spread


def defocus_posterior(
    sums: Array, phase: Array, change: Array, grid: DefocusGrid, threads: int | None = None
) -> tuple[Array, Array]:
    """Mean and standard deviation of the changes (n,), Å, from the sums of `pycryo.kernels.defocus_scores`.

    The poses were drawn with the defocus changed by `change`: each counts by its likelihood relative to that. The
    first grid covers the prior, the finer ones what is left of it.
    """
    n = len(sums)
    drawn = defocus_scores(sums, phase, change, np.zeros(n), 1, threads=threads)
    mean, reach, count = np.zeros(n), np.full(n, _REACH * grid.sigma), grid.n_first
    for _ in range(1 + _FINER):
        first, step = mean - reach, 2 * reach / (count - 1)
        relative = defocus_scores(sums, phase, first, step, count, threads=threads) - drawn
        delta = first[:, None] + step[:, None] * np.arange(count)
        top = relative.max(axis=(1, 2))
        likelihood = np.exp(relative - top[:, None, None]).sum(axis=1)
        log_density = np.log(np.maximum(likelihood, 1e-300)) - 0.5 * np.square(delta / grid.sigma)
        density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
        density /= density.sum(axis=1, keepdims=True)
        mean = (density * delta).sum(axis=1)
        spread = np.sqrt((density * np.square(delta - mean[:, None])).sum(axis=1))
        reach, count = np.minimum(reach, np.maximum(_REACH * spread, step)), _N_FINE
    return mean, spread
