"""The noise-substitution test: what a refinement makes of images that hold nothing beyond a resolution.

Chen et al., Ultramicroscopy 135 (2013) 24-35: the phases of the images beyond a resolution are replaced by those of
noise, and everything is refined anew. Whatever the half-maps have in common there was made by the refinement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycryo.io.atomic import check_writable_folder
from pycryo.io.batches import read_images
from pycryo.io.mrc_stacks import write_stack
from pycryo.io.particles import Particles, write_particles
from pycryo.maps.fsc import RANDOMISE_MARGIN, Fsc, resolution_at
from pycryo.parallel.collective_errors import on_all, on_root
from pycryo.parallel.comm import Comm

# Where the run's FSC falls below it, signal and noise begin to be alike: the phases are replaced from there on.
CUT_BELOW = 0.8
# Most images of a stack.
_STACK = 2000
_READ_PIXELS = 1 << 22
# The FSC of one shell scatters: so many are looked at.
_LEAST_SHELLS = 5


def substituted(images: NDArray[np.float32], cut: float, numbers: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """Images whose phases are those of noise from a frequency on, with the amplitudes that they had.

    Parameters
    ----------
    images : (n, N, N) float32
    cut : float
        Fourier px of the images.
    numbers : (n,) int64
        Of the images: the noise depends on them and on `seed` alone.
    seed : int

    Returns
    -------
    (n, N, N) float32
    """
    box = images.shape[-1]
    far = np.hypot(np.fft.fftfreq(box, 1 / box)[:, None], np.arange(box // 2 + 1)) >= cut
    out = np.empty_like(images)
    for image, number, target in zip(images, numbers.tolist(), out, strict=True):
        rng = np.random.Generator(np.random.Philox(key=[seed, number]))
        transform, noise = np.fft.rfft2(image), np.fft.rfft2(rng.standard_normal(image.shape))
        size = np.abs(noise)
        turned = np.abs(transform) * np.divide(noise, size, out=np.ones_like(noise), where=size > 0)
        target[:] = np.fft.irfft2(np.where(far, turned, transform), s=image.shape)
    return out


def write_substituted(comm: Comm, particles: Particles, folder: Path, resolution: float, seed: int) -> Path:
    """Write particles.star and stacks of all images in `folder`/images, with noise beyond `resolution` Å. Collective.

    Copies of an image stay copies, and the order of the images stays theirs, so that halves and draws do.

    Returns
    -------
    Path
        The STAR file.

    Raises
    ------
    InputError, RunError
        If images cannot be read or files not be written; on all ranks.
    """
    place = on_root(comm, lambda: check_writable_folder(folder / "images"))
    is_new = np.ones(particles.n, bool)
    is_new[1:] = (np.diff(particles.stack) != 0) | (np.diff(particles.image_index) != 0)
    first, image = np.flatnonzero(is_new), np.cumsum(is_new) - 1
    pieces = list(_pieces(particles, first))
    names = np.empty(len(first), object)

    def write() -> None:
        for number, (begin, end) in enumerate(pieces):
            if number % comm.size == comm.rank:
                _write_piece(particles, first, (begin, end), _stack_path(place, number), resolution, seed)

    on_all(comm, write)
    for number, (begin, end) in enumerate(pieces):
        stack = _stack_path(place, number).relative_to(folder)
        names[begin:end] = [f"{k:06d}@{stack}" for k in range(1, end - begin + 1)]
    path = folder / "particles.star"
    told = replace(particles, folders=())
    on_root(comm, lambda: write_particles(path, told, {"rlnImageName": names[image].astype(str)}))
    return path


def _stack_path(place: Path, number: int) -> Path:
    return place / f"images_{number + 1:06d}.mrcs"


def _pieces(particles: Particles, first: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of the images, of one box and pixel size each, that go into a stack."""
    geometry = particles.optics.geometry[particles.optics_group[first]]
    for part in np.split(np.arange(len(first)), np.flatnonzero(np.diff(geometry)) + 1):
        for begin in range(0, len(part), _STACK):
            some = part[begin : begin + _STACK]
            yield int(some[0]), int(some[-1]) + 1


def _write_piece(
    particles: Particles, first: NDArray[np.int64], piece: tuple[int, int], path: Path, resolution: float, seed: int
) -> None:
    group = particles.optics_group[first[piece[0]]]
    box, pixel_size = int(particles.optics.box[group]), float(particles.optics.pixel_size[group])
    size = max(1, _READ_PIXELS // box**2)

    def blocks() -> Iterator[NDArray[np.float32]]:
        for begin in range(*piece, size):
            some = np.arange(begin, min(begin + size, piece[1]))
            yield substituted(read_images(particles, first[some]), box * pixel_size / resolution, some, seed)

    write_stack(path, blocks(), (box, box), pixel_size)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the refinement of the substituted images shows.

    Attributes
    ----------
    run, noise : Fsc
        Of the run, and of the refinement of the substituted images, inside the same mask.
    beyond : float
        Å: where the noise begins.
    true : (n_shell,) float64
        FSC of the run, freed of what the refinement makes of noise.
    first, last : int
        Shells from two beyond the first of noise, for signal leaks a little, to that of the run's resolution, five at
        least.
    """

    run: Fsc
    noise: Fsc
    beyond: float
    true: NDArray[np.float64]
    first: int
    last: int

    @property
    def resolution(self) -> float:
        """Å at which `true` falls below 0.143."""
        return resolution_at(self.true, self.run.box, self.run.pixel_size)

    @property
    def left(self) -> NDArray[np.float64]:
        """Corrected FSC of the shells `first` to `last` of the substituted images: 0 but for scatter."""
        return self.noise.corrected[self.first : self.last + 1]


def compare(run: Fsc, noise: Fsc, beyond: float) -> Comparison:
    """Compare the FSC of a run with that of its substituted images.

    FSC_true = (FSC_t - FSC_n)/(1 - FSC_n) from two shells beyond the first noise on, FSC_t before, both inside the mask
    (Chen et al., eq. 4).
    """
    border = run.box * run.pixel_size / beyond
    first = min(int(np.ceil(border)) + RANDOMISE_MARGIN, len(run.masked) - 1)
    true = run.masked.copy()
    share = noise.masked[first:]
    true[first:] = (true[first:] - share) / np.maximum(1 - share, 1e-6)
    reached = int(run.box * run.pixel_size / run.resolution_0143)
    return Comparison(run, noise, beyond, true, first, min(max(first + _LEAST_SHELLS - 1, reached), len(true) - 1))
