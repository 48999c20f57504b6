"""Other programs on the same work as kernels: their rate over that of pycryo, measured in turn in one run.

NumPy and SciPy always; finufft and torch-projectors where they are installed (bench/README.md says how), else their
rows say why they are missing. All with as many threads as the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from pycryo.benchmark.cases import Case, Skipped
from pycryo.benchmark.limits import Limit
from pycryo.benchmark.script import main
from pycryo.kernels.backprojector import insert, new_accumulators
from pycryo.kernels.compare import compare, new_best, pack_images
from pycryo.kernels.ctf import ctf
from pycryo.kernels.entries import Entries
from pycryo.kernels.pixels import half_plane
from pycryo.kernels.projector import fourier_volume, project_slices
from pycryo.threads import get_threads

BOX, N_SLICE = 128, 40
PIXELS = half_plane(BOX, BOX / 2)
# Of finufft; trilinear interpolation with padding 2 is less exact.
TOLERANCE = 1e-3


def installed(*names: str) -> list[ModuleType] | str:
    """Modules, or why they cannot be imported."""
    try:
        return [import_module(name) for name in names]
    except ImportError as error:
        return str(error)


def rotations() -> np.ndarray:
    """(N_SLICE, 3, 3), random."""
    return Rotation.random(N_SLICE, np.random.default_rng(0)).as_matrix()


def places(step: float) -> np.ndarray:
    """(3, n) places z, y, x of all samples of all slices, in `step` per Fourier px."""
    k = np.stack([PIXELS.kx, PIXELS.ky, np.zeros_like(PIXELS.kx)])
    return np.ascontiguousarray(step * np.einsum("nji,jp->inp", rotations(), k).reshape(3, -1)[::-1])


def against(name: str, rival: Callable[[], object], ours: Callable[[], object], work: float, unit: str) -> Case:
    """A row of another program whose limit is pycryo."""
    return Case(name, rival, work, unit, Limit("pycryo", ours, work, unit))


def slices() -> list[Case | Skipped]:
    """40 slices of a 128 px map padded twice: SciPy's linear interpolation; finufft's type 2 of the map itself."""
    density = np.random.default_rng(0).standard_normal((BOX, BOX, BOX), dtype=np.float32)
    volume, turns = fourier_volume(density), rotations()
    out = np.empty((N_SLICE, 2, len(PIXELS)), np.float32)
    n_sample = N_SLICE * len(PIXELS)

    def ours() -> None:
        project_slices(volume, turns, PIXELS.kx, PIXELS.ky, out=out)

    at = places(2.0)
    folded = np.where(at[2] < 0, -at, at) + np.array([[volume.radius], [volume.radius], [0]])
    parts = [np.ascontiguousarray(volume.data[..., part]) for part in (0, 1)]

    def scipy() -> None:
        for part in parts:
            ndimage.map_coordinates(part, folded, order=1, prefilter=False)

    rows: list[Case | Skipped] = [against("rival: slices, SciPy", scipy, ours, n_sample, "pixel/s")]
    name = "rival: slices, finufft"
    found = installed("finufft")
    if isinstance(found, str):
        return [*rows, Skipped(name, found)]
    (finufft,) = found
    z, y, x = (places(2 * np.pi / BOX) + np.pi) % (2 * np.pi) - np.pi
    spectrum = density.astype(np.complex64)
    points = [np.ascontiguousarray(each, np.float32) for each in (z, y, x)]

    def theirs() -> None:
        finufft.nufft3d2(*points, spectrum, eps=TOLERANCE, isign=-1, nthreads=get_threads())

    return [*rows, against(name, theirs, ours, n_sample, "pixel/s")]


def insertion() -> list[Case | Skipped]:
    """40 images into a 128 px box padded twice: NumPy's bincount, finufft's type 1, torch-projectors."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((N_SLICE, 2, len(PIXELS)), dtype=np.float32)
    weights = rng.random((N_SLICE, len(PIXELS)), dtype=np.float32)
    sums, turns = new_accumulators(BOX, r_high=BOX / 2), rotations()
    poses = (np.arange(N_SLICE), turns, np.zeros((N_SLICE, 2)), np.ones(N_SLICE))
    entries = Entries(images, weights, *poses, PIXELS.kx, PIXELS.ky)
    n_sample = weights.size

    def ours() -> None:
        insert(sums, entries, quantum=(2.0**-30, 2.0**-30))

    at, size = places(2.0) + BOX, 2 * BOX + 2
    values = [np.ascontiguousarray(each).ravel() for each in (images[:, 0], images[:, 1], weights)]

    def numpy() -> None:
        low = np.floor(at).astype(np.int64)
        part = at - low
        for corner in np.ndindex(2, 2, 2):
            z, y, x = (low[axis] + step for axis, step in enumerate(corner))
            share = np.prod([part[axis] if step else 1 - part[axis] for axis, step in enumerate(corner)], axis=0)
            index = (z * size + y) * size + x
            for each in values:
                np.bincount(index, share * each, minlength=size**3)

    rows: list[Case | Skipped] = [against("rival: insertion, NumPy", numpy, ours, n_sample, "pixel/s")]
    name = "rival: insertion, finufft"
    found = installed("finufft")
    if isinstance(found, str):
        rows.append(Skipped(name, found))
    else:
        (finufft,) = found
        turned = (places(2 * np.pi / BOX) + np.pi) % (2 * np.pi) - np.pi
        points = [np.ascontiguousarray(each, np.float32) for each in turned]
        samples = (values[0] + 1j * values[1]).astype(np.complex64)
        both = np.stack([samples, values[2].astype(np.complex64)])

        def spread() -> None:
            finufft.nufft3d1(*points, both, (BOX, BOX, BOX), eps=TOLERANCE, nthreads=get_threads())

        rows.append(against(name, spread, ours, n_sample, "pixel/s"))
    return [*rows, torch_insertion(images, weights, turns, ours)]


def torch_insertion(
    images: np.ndarray, weights: np.ndarray, turns: np.ndarray, ours: Callable[[], object]
) -> Case | Skipped:
    """torch-projectors' back-projection with weights, into sums that begin with zeros."""
    name = "rival: insertion, torch-projectors"
    found = installed("torch", "torch_projectors")
    if isinstance(found, str):
        return Skipped(name, found)
    torch, torch_projectors = found
    torch.set_num_threads(get_threads())
    planes = PIXELS.put(np.stack([weights, np.zeros_like(weights)], axis=1)).real
    arguments = {
        "projections": torch.from_numpy(PIXELS.put(images)[None]),
        "weights": torch.from_numpy(np.ascontiguousarray(planes[None])),
        # Theirs rotate samples, ours the molecule.
        "rotations": torch.from_numpy(turns.transpose(0, 2, 1)[None].astype(np.float32)),
    }

    def theirs() -> object:
        return torch_projectors.backproject_2d_to_3d_forw(**arguments, oversampling=2.0)

    return against(name, theirs, ours, weights.size, "pixel/s")


def scores() -> Case:
    """50 images × 21 shifts × 2048 slices of 300 pixels: NumPy's product and the same evidence, no best poses."""
    rng = np.random.default_rng(0)
    n_image, n_shift, n_slice, n_pixel = 50, 21, 2048, 300
    unit = np.float32(4 / np.sqrt(2 * n_pixel))
    images = unit * rng.standard_normal((n_image, n_shift, 2, n_pixel), dtype=np.float32)
    weights = unit * rng.random((n_image, n_pixel), dtype=np.float32)
    slices = rng.standard_normal((n_slice, 2, n_pixel), dtype=np.float32)
    panel, best = pack_images(images, weights), new_best(n_image, 20)

    def ours() -> None:
        best.score[:], best.index[:], best.log_max[:], best.log_sum[:] = -np.inf, -1, -np.inf, 0
        compare(panel, slices, best)

    def numpy() -> None:
        products = images.reshape(n_image * n_shift, -1) @ slices.reshape(n_slice, -1).T
        norms = 0.5 * (weights @ np.square(slices).sum(axis=1).T)
        found = products.reshape(n_image, n_shift, n_slice) - norms[:, None]
        largest = found.max(axis=(1, 2), keepdims=True)
        np.log(np.exp(found - largest).sum(axis=(1, 2)))

    work = 4.0 * n_pixel * n_image * n_shift * n_slice
    return against("rival: scores, NumPy", numpy, ours, work, "flop/s")


def transfer() -> Case:
    """CTF of 100 images by NumPy's formula."""
    rng = np.random.default_rng(0)
    u, v, angle = rng.uniform(8000, 25000, 100), rng.uniform(8000, 25000, 100), rng.uniform(0, 180, 100)
    out = np.empty((100, len(PIXELS)), np.float32)
    step, wavelength, spherical = 1 / (BOX * 1.5), 0.0197, 2.7e7

    def ours() -> None:
        values = {"defocus_u": u, "defocus_v": v, "defocus_angle": angle, "voltage": 300, "spherical_aberration": 2.7}
        ctf(PIXELS.kx, PIXELS.ky, frequency_step=step, amplitude_contrast=0.1, out=out, **values)

    def numpy() -> None:
        s2 = (step**2 * (PIXELS.kx**2 + PIXELS.ky**2)).astype(np.float32)
        azimuth = np.arctan2(PIXELS.ky, PIXELS.kx).astype(np.float32)
        turned = np.cos(2 * (azimuth - np.radians(angle)[:, None].astype(np.float32)))
        defocus = (0.5 * (u + v)[:, None] + 0.5 * (u - v)[:, None] * turned).astype(np.float32)
        phase = np.pi * wavelength * defocus * s2 - np.float32(0.5 * np.pi * wavelength**3 * spherical) * s2**2
        np.sin(phase + np.float32(np.arcsin(0.1)), out=out)

    return against("rival: ctf, NumPy", numpy, ours, out.nbytes, "B/s")


def cases() -> list[Case | Skipped]:
    """Slices, insertion, scores, CTF."""
    return [*slices(), *insertion(), scores(), transfer()]


if __name__ == "__main__":
    raise SystemExit(main(cases()))
