"""What the microscope does to the images of particles: contrast transfer, phase errors, magnification.

See docs/conventions.md, Aberrations and magnification.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.arguments import instance
from pycryo.errors import InputError
from pycryo.geometry.aberrations import even_sum, magnified_defocus, odd_sum, tilt_phase
from pycryo.io.optics import OpticsGroups
from pycryo.io.particle_set import Particles
from pycryo.io.sources.particle_arrays import chosen_rows
from pycryo.kernels.ctf import ctf, electron_wavelength
from pycryo.kernels.pixels import Pixels
from pycryo.kernels.shells import shell_sums

Array = NDArray[np.float64]


def particle_ctf(
    particles: Particles,
    rows: NDArray[np.int64],
    pixels: Pixels,
    *,
    change: float | Array = 0.0,
    quarter_turns: int = 0,
) -> NDArray[np.float32]:
    """(n, n_pixel) float32: the contrast transfer function of the particles `rows` at the samples `pixels`.

    With the symmetric aberrations and the magnification of their optics groups. `change` (a number or (n,), Å) is added
    to the defocus. One quarter turn makes cos χ of sin χ.
    """
    return image_ctf(
        particles.optics,
        particles.optics_group[rows],
        pixels,
        defocus_u=particles.defocus_u[rows] + change,
        defocus_v=particles.defocus_v[rows] + change,
        defocus_angle=particles.defocus_angle[rows],
        phase_shift=particles.phase_shift[rows] + 90.0 * quarter_turns,
        b_factor=particles.ctf_b_factor[rows],
        scale=particles.ctf_scale[rows],
    )


def ctf_of(particles: Particles, pixels: Pixels, rows: ArrayLike | None = None) -> NDArray[np.float32]:
    """Contrast transfer functions of particles, with the aberrations and magnification of their optics groups.

    Parameters
    ----------
    particles : Particles
    pixels : Pixels
        Where: samples of the particles' images (`pycryo.kernels.half_plane`).
    rows : (n,) ints, optional
        Of the particles. Default: all.

    Returns
    -------
    (n, n_pixel) float32

    Raises
    ------
    InputError
        If the file lacks what the CTF needs, or the images have another box.

    Examples
    --------
    >>> particles = pycryo.read_particles(pycryo.betagal() / "particles.star")
    >>> pixels = pycryo.kernels.half_plane(128, 64)
    >>> pycryo.ctf_of(particles, pixels, [0, 7]).shape == (2, len(pixels))
    True
    """
    instance("particles", particles, Particles, "from read_particles")
    particles.require_ctf()
    chosen = np.arange(particles.n) if rows is None else chosen_rows(rows, particles.n)
    boxes = np.unique(particles.optics.box[particles.optics_group[chosen]]).tolist()
    if not isinstance(pixels, Pixels) or any(box != pixels.box for box in boxes):
        told = f"those of {pixels.box} px" if isinstance(pixels, Pixels) else type(pixels).__name__
        raise InputError(f"pixels: expected samples of images of {boxes} px (kernels.half_plane), got {told}")
    return particle_ctf(particles, chosen, pixels)


def image_ctf(
    optics: OpticsGroups,
    group: NDArray[np.int32],
    pixels: Pixels,
    *,
    defocus_u: Array,
    defocus_v: Array,
    defocus_angle: Array,
    phase_shift: Array | float = 0.0,
    b_factor: Array | float = 0.0,
    scale: Array | float = 1.0,
) -> NDArray[np.float32]:
    """(n, n_pixel) float32: that of images of the optics groups numbered `group` (n,).

    Units are those of `pycryo.kernels.ctf.ctf`.
    """
    u, v, angle = (np.array(each, np.float64) for each in (defocus_u, defocus_v, defocus_angle))
    sphere = optics.spherical_aberration[group]
    offset, which = _offsets(optics, group, pixels)
    for g in np.unique(group[optics.is_distorted[group]]):
        mine = group == g
        u[mine], v[mine], angle[mine] = magnified_defocus(u[mine], v[mine], angle[mine], optics.magnification[g])
        sphere[mine] = 0  # |M k|⁴ is in the offset
    found = ctf(
        pixels.kx,
        pixels.ky,
        frequency_step=1 / (optics.box[group] * optics.pixel_size[group]),
        defocus_u=u,
        defocus_v=v,
        defocus_angle=angle,
        voltage=optics.voltage[group],
        spherical_aberration=sphere,
        amplitude_contrast=optics.amplitude_contrast[group],
        phase_shift=phase_shift,
        b_factor=b_factor,
        scale=scale,
        offset=offset,
        which=which,
    )
    _magnify_decay(found, optics, group, pixels, np.broadcast_to(b_factor, len(group)))
    return found


def _offsets(
    optics: OpticsGroups, group: NDArray[np.int32], pixels: Pixels
) -> tuple[Array | None, NDArray[np.int32] | None]:
    """Phases of the CTF that are common to the images of a group, and the row of each image; None: there are none."""
    rows: list[Array] = []
    which = np.full(len(group), -1, np.int32)
    for g in np.unique(group[optics.is_distorted[group] | optics.has_even[group]]):
        x, y = frequencies(optics, g, pixels)
        phase = -even_sum(optics.even_zernike[g], x, y)
        if optics.is_distorted[g]:
            cs, wavelength = 1e7 * optics.spherical_aberration[g], electron_wavelength(optics.voltage[g])
            phase -= np.pi / 2 * cs * wavelength**3 * np.square(x * x + y * y)
        which[group == g] = len(rows)
        rows.append(phase)
    return (np.stack(rows), which) if rows else (None, None)


def _magnify_decay(
    transfer: NDArray[np.float32], optics: OpticsGroups, group: NDArray[np.int32], pixels: Pixels, decay: Array
) -> None:
    """Envelopes, which the kernel takes at k, at M k."""
    for g in np.unique(group[optics.is_distorted[group] & (decay != 0)]):
        mine = np.flatnonzero((group == g) & (decay != 0))
        x, y = frequencies(optics, g, pixels)
        step = 1 / (optics.box[g] * optics.pixel_size[g])
        more = x * x + y * y - step**2 * (pixels.kx.astype(np.float64) ** 2 + pixels.ky.astype(np.float64) ** 2)
        transfer[mine] *= np.exp(-decay[mine, None] / 4 * more).astype(np.float32)


def frequencies(optics: OpticsGroups, g: int, pixels: Pixels) -> tuple[Array, Array]:
    """(n_pixel,) M k of the images of group `g` at `pixels`, 1/Å."""
    step = 1 / (optics.box[g] * optics.pixel_size[g])
    (xx, xy), (yx, yy) = step * optics.magnification[g]
    return xx * pixels.kx + xy * pixels.ky, yx * pixels.kx + yy * pixels.ky


def phase_error(optics: OpticsGroups, g: int, pixels: Pixels) -> Array:
    """(n_pixel,) φ of the antisymmetric aberrations of group `g`, radians: images have exp(iφ)."""
    x, y = frequencies(optics, g, pixels)
    wavelength = float(electron_wavelength(optics.voltage[g]))
    phase = odd_sum(optics.odd_zernike[g], x, y)
    if optics.beam_tilt[g].any():
        phase += tilt_phase(optics.beam_tilt[g], float(optics.spherical_aberration[g]), wavelength, x, y)
    return phase


def turn_phases(
    samples: NDArray[np.float32], optics: OpticsGroups, group: NDArray[np.int32], pixels: Pixels, *, sign: int
) -> None:
    """Multiply Fourier samples (n, 2, n_pixel) of images of the groups `group` (n,) by exp(i·sign·φ), in place.

    -1 takes the antisymmetric aberrations out, 1 puts them in.
    """
    for g in np.unique(group[optics.has_odd[group]]):
        mine = slice(None) if (group == g).all() else group == g
        phase = sign * phase_error(optics, g, pixels)
        cosine, sine = np.cos(phase).astype(np.float32), np.sin(phase).astype(np.float32)
        re, im = samples[mine, 0], samples[mine, 1]
        turned = re * sine
        turned += im * cosine
        re = re * cosine
        re -= im * sine
        samples[mine, 0], samples[mine, 1] = re, turned


def unflip(samples: NDArray[np.float32], particles: Particles, rows: NDArray[np.int64], pixels: Pixels) -> None:
    """Give Fourier samples of images whose phases were flipped the signs of their CTF back, in place.

    Of images that were multiplied by their CTF, CTF² is left, which has no sign.
    """
    optics, group = particles.optics, particles.optics_group[rows]
    mine = np.flatnonzero(optics.is_phase_flipped[group] & ~optics.is_premultiplied[group])
    if len(mine):
        samples[mine] *= np.where(particle_ctf(particles, rows[mine], pixels) < 0, np.float32(-1), np.float32(1))[
            :, None
        ]


def put_into_images(
    particles: Particles, samples: NDArray[np.float32], rows: NDArray[np.int64], pixels: Pixels
) -> None:
    """Make of slices (n, 2, n_pixel), read at M k, what the images `rows` show of them, in place.

    With what was done to the images afterwards: multiplied by their CTF, or by its sign.
    """
    transfer = particle_ctf(particles, rows, pixels)
    optics, group = particles.optics, particles.optics_group[rows]
    flipped, multiplied = optics.is_phase_flipped[group], optics.is_premultiplied[group]
    if flipped.any():
        transfer[flipped] = np.abs(transfer[flipped])
    if multiplied.any():
        transfer[multiplied] = np.square(transfer[multiplied])
    samples *= transfer[:, None]
    turn_phases(samples, optics, group, pixels, sign=1)


def are_premultiplied(particles: Particles, rows: NDArray[np.int64]) -> bool:
    """Whether the images `rows`, of one geometry, were multiplied by their CTF."""
    return bool(particles.optics.is_premultiplied[particles.optics_group[rows[:1]]].any())


def mean_square_ctf(particles: Particles, rows: NDArray[np.int64], pixels: Pixels, n_shell: int) -> Array:
    """(n, n_shell) mean CTF² of the images `rows` in each shell, 10⁻⁹ at least; 1 where no sample is."""
    square = np.square(particle_ctf(particles, rows, pixels).astype(np.float64))
    count = np.bincount(pixels.shell, minlength=n_shell)
    mean = shell_sums(square, pixels.shell, n_shell) / np.maximum(count, 1)
    return np.where(count > 0, np.maximum(mean, 1e-9), 1.0)


def magnification(particles: Particles, rows: NDArray[np.int64]) -> Array | None:
    """(n, 2, 2) M of the images `rows`; None if all are undistorted."""
    group, optics = particles.optics_group[rows], particles.optics
    return optics.magnification[group] if optics.is_distorted[group].any() else None


def stretch(optics: OpticsGroups) -> float:
    """The largest |M k| / |k| of all groups, 1 at least."""
    return max(1.0, float(np.linalg.norm(optics.magnification, ord=2, axis=(1, 2)).max(initial=1.0)))
