"""Values of a STAR file that another program means in another unit, or that no microscope has."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pycryo.checks.maps import SAME_PIXEL
from pycryo.findings import Findings
from pycryo.io.particles import Particles

# Å. Nobody takes images so near to focus, but with a phase plate; defocus in µm or m is smaller.
_LEAST_DEFOCUS, _LEAST_WITH_PHASE_PLATE = 50.0, 5.0
# Å. Of most images below it: nm, perhaps; above it: no CTF at any resolution; above the last: no microscope.
_SMALL_DEFOCUS, _LARGE_DEFOCUS, _MOST_DEFOCUS = 3000.0, 150_000.0, 1_000_000.0
# Largest defocus below it, as it stands in the file: metres, millimetres; above: micrometres.
_METRES, _MILLIMETRES = 2e-5, 2e-2
# Å, and as a share of the larger defocus: nobody takes images with more astigmatism.
_ASTIGMATISM, _ASTIGMATIC = 3000.0, 0.5
# kV
_VOLTAGES, _USUAL_VOLTAGES = (10.0, 10_000.0), (60.0, 1300.0)
# mm; none is as low as the first.
_LEAST_CS, _MOST_CS = -0.5, 20.0
# Å
_PIXELS, _USUAL_PIXELS = (0.2, 100.0), (0.35, 20.0)
# More images than this share are not a few bad ones.
_MANY = 0.1
# Fewer poses may be anywhere.
_FEW = 20


def check_particles(particles: Particles, findings: Findings, *, uses_ctf: bool, poses: str) -> None:
    """Look at units and ranges.

    Parameters
    ----------
    particles : Particles
    findings : Findings
    uses_ctf : bool
        A CTF will be applied.
    poses : str
        What to do if the file has no poses, for a message; empty: they do not count.
    """
    if not particles.n:
        return
    if uses_ctf:
        for complaint in particles.ctf_complaints():
            findings.error("ctf", complaint)
        _check_defocus(particles, findings)
        _check_microscope(particles, findings)
    _check_pixel_size(particles, findings)
    _check_headers(particles, findings)
    with findings.collect("pose"):
        if poses:
            particles.require_poses(poses)
    _check_shifts(particles, findings, poses)
    if poses and particles.has_poses:
        _check_angles(particles, findings)


def _first(particles: Particles, which: NDArray[np.bool_]) -> tuple[int, int]:
    """Of some particles (n,), the one that stands first in the file: its index, and its row there, from 1."""
    places = np.flatnonzero(which)
    index = int(places[particles.rows[places].argmin()])
    return index, int(particles.rows[index]) + 1


def _check_defocus(particles: Particles, findings: Findings) -> None:
    path = particles.path
    mean = (particles.defocus_u + particles.defocus_v) / 2
    known = np.isfinite(mean) & (mean != 0)
    zero = int(np.count_nonzero(particles.has_no_defocus))
    if 0 < zero < particles.n:
        _, row = _first(particles, particles.has_no_defocus)
        findings.warn(
            "defocus", f"{path}: the defocus of {zero} particles (the first in row {row}) is 0 or none: left out"
        )
    if not known.any():
        return
    size = np.maximum(np.abs(particles.defocus_u), np.abs(particles.defocus_v))
    least = np.where(particles.phase_shift == 0, _LEAST_DEFOCUS, _LEAST_WITH_PHASE_PLATE)
    small = known & (size < least)
    if n_small := int(np.count_nonzero(small)):
        typical = float(np.median(size[small]))
        unit, factor = (
            ("metres", "1e10")
            if typical < _METRES
            else ("millimetres", "1e7")
            if typical < _MILLIMETRES
            else ("micrometres", "10000")
        )
        many = n_small > _MANY * particles.n
        add = findings.error if many else findings.warn
        which = "" if n_small == particles.n else f" of {n_small} of {particles.n} particles"
        index, row = _first(particles, small)
        add(
            "defocus",
            f"{path}: rlnDefocusU and rlnDefocusV{which} are about {typical:.3g}, row {row} has "
            f"{particles.defocus_u[index]:.6g}: they seem to be in {unit}, Å are meant; multiply them by {factor}",
        )
    else:
        typical = float(np.median(size[known]))
        is_plate = bool(np.median(np.abs(particles.phase_shift[known])) > 0)
        if typical < _SMALL_DEFOCUS and not is_plate:
            findings.warn(
                "defocus",
                f"{path}: rlnDefocusU and rlnDefocusV are about {typical:.0f} Å, very near to focus; if they are in "
                "nanometres, multiply them by 10",
            )
        if typical > _MOST_DEFOCUS:
            findings.error(
                "defocus",
                f"{path}: the defoci are about {typical:.3g}: very large, Å are meant; if they are in picometres, "
                "divide them by 100",
            )
        elif typical > _LARGE_DEFOCUS:
            findings.warn(
                "defocus",
                f"{path}: the defoci are about {typical:.3g}: very large for Å: check it",
            )
    apart = np.abs(particles.defocus_u - particles.defocus_v)
    uneven = known & (apart > _ASTIGMATISM) & (apart > _ASTIGMATIC * size)
    if np.count_nonzero(uneven) > 0.5 * np.count_nonzero(known):
        row = int(np.argmax(uneven))
        findings.error(
            "defocus",
            f"{path}: rlnDefocusU and rlnDefocusV are far from each other, in row {row + 1} "
            f"{particles.defocus_u[row]:.6g} and {particles.defocus_v[row]:.6g}: both are Å, underfocus is positive; "
            "correct their units or signs",
        )
    elif negative := int(np.count_nonzero(mean[known] < 0)):
        text = "pycryo and RELION count underfocus as positive"
        if negative == np.count_nonzero(known):
            findings.error("defocus", f"{path}: the defocus of all particles is negative: {text}; change the signs")
        else:
            _, row = _first(particles, known & (mean < 0))
            findings.warn(
                "defocus", f"{path}: the defocus of {negative} particles (the first in row {row}) is negative: {text}"
            )
    phase = np.abs(particles.phase_shift)
    if particles.n >= _FEW and phase.min() > 0 and phase.max() <= np.pi + 1e-3:
        findings.warn("phase shift", f"{path}: no rlnPhaseShift is above {phase.max():.3g}: radians? Degrees are meant")


def _groups(particles: Particles, values: NDArray[np.float64]) -> Iterator[tuple[str, float]]:
    """Name and finite value of each optics group that has particles."""
    for group in np.unique(particles.optics_group).tolist():
        if np.isfinite(values[group]):
            name = f" of {particles.optics.name[group]}" if len(particles.optics) > 1 else ""
            yield name, float(values[group])


def _check_microscope(particles: Particles, findings: Findings) -> None:
    path, optics = particles.path, particles.optics
    for name, voltage in _groups(particles, optics.voltage):
        if voltage >= _VOLTAGES[1]:
            findings.error(
                "voltage",
                f"{path}: rlnVoltage{name} is {voltage:g}: it seems to be in V, kV are meant; divide by 1000",
            )
        elif 0 < voltage < _VOLTAGES[0]:
            findings.error("voltage", f"{path}: rlnVoltage{name} is {voltage:g}: kV are meant, such as 300; correct it")
        elif voltage > 0 and not _USUAL_VOLTAGES[0] <= voltage <= _USUAL_VOLTAGES[1]:
            findings.warn("voltage", f"{path}: rlnVoltage{name} is {voltage:g} kV, which is unusual: check it")
    for name, cs in _groups(particles, optics.spherical_aberration):
        if abs(cs) > _MOST_CS:
            unit = "Å" if abs(cs) > 1e5 else "µm" if abs(cs) > 100 else "another unit"
            advice = {"Å": "divide it by 1e7", "µm": "divide it by 1000"}.get(unit, "correct it")
            findings.error(
                "spherical aberration",
                f"{path}: rlnSphericalAberration{name} is {cs:g}: it seems to be in {unit}; mm are meant, such as 2.7: "
                f"{advice}",
            )
        elif cs < _LEAST_CS:
            findings.warn(
                "spherical aberration",
                f"{path}: rlnSphericalAberration{name} is {cs:g} mm; microscopes have a positive one: check its sign",
            )
        elif 0.0005 < cs < 0.005:
            findings.warn(
                "spherical aberration",
                f"{path}: rlnSphericalAberration{name} is {cs:g} mm: right for a corrected microscope; if it is in m, "
                "multiply it by 1000",
            )
    for name, contrast in _groups(particles, optics.amplitude_contrast):
        if not 0 <= contrast <= 1:
            advice = (
                f"it seems to be in percent: divide it by 100 ({contrast / 100:g})" if contrast > 1 else "correct it"
            )
            findings.error(
                "amplitude contrast",
                f"{path}: rlnAmplitudeContrast{name} is {contrast:g}, but a share from 0 to 1 is meant; {advice}",
            )


def _check_pixel_size(particles: Particles, findings: Findings) -> None:
    path = particles.path
    for name, size in _groups(particles, particles.optics.pixel_size):
        if not size > 0:
            continue
        if size < _PIXELS[0]:
            unit, factor = ("m", 1e10) if size < 1e-6 else ("nm", 10)
            findings.error(
                "pixel size",
                f"{path}: the pixel size{name} is {size:g}: it seems to be in {unit}; Å are meant: multiply it by "
                f"{factor:g} ({factor * size:g})",
            )
        elif size >= _PIXELS[1]:
            findings.error(
                "pixel size",
                f"{path}: the pixel size{name} is {size:g}: it seems to be in pm; Å are meant: divide it by 100",
            )
        elif not _USUAL_PIXELS[0] <= size <= _USUAL_PIXELS[1]:
            unit = "; if it is in nm, multiply it by 10" if size < 1 else ": check it"
            findings.warn("pixel size", f"{path}: the pixel size{name} is {size:g} Å, which is unusual{unit}")


def _check_headers(particles: Particles, findings: Findings) -> None:
    """Pixel sizes in the headers of the stacks; 0 and 1 are what programs write that do not know it."""
    if not particles.headers:
        return
    stacks, first = np.unique(particles.stack, return_index=True)
    told = particles.pixel_size[first]
    header = np.array([particles.headers[stack].pixel_size for stack in stacks.tolist()])
    differs = (header > 0) & (header != 1) & (told > 0) & (np.abs(header / told - 1) > SAME_PIXEL)
    if n := int(np.count_nonzero(differs)):
        place = int(np.argmax(differs))
        more = f", and {n - 1} further stacks" if n > 1 else ""
        findings.warn(
            "pixel size",
            f"{particles.headers[int(stacks[place])].path} has a pixel size of {header[place]:g} Å in its header, the "
            f"STAR file {told[place]:g} Å{more}: that of the STAR file counts; check which is right",
        )


def _check_shifts(particles: Particles, findings: Findings, poses: str) -> None:
    """Origins that move the particle out of its image, and two columns that contradict each other."""
    path, columns = particles.path, particles.table.columns
    pixel_size = particles.pixel_size
    half = 0.5 * particles.optics.box[particles.optics_group]
    away = np.maximum(np.abs(particles.origin_x), np.abs(particles.origin_y)) / pixel_size
    out = (half > 0) & (away > half)
    if n_out := int(np.count_nonzero(out)):
        in_px = "rlnOriginX" in columns and "rlnOriginXAngst" not in columns
        as_angstrom = in_px and not np.any(away / pixel_size > half)
        label = "rlnOriginX and rlnOriginY" if in_px else "rlnOriginXAngst and rlnOriginYAngst"
        advice = (
            "they seem to be in Å, px are meant: call them rlnOriginXAngst and rlnOriginYAngst"
            if as_angstrom
            else "correct them, or check the pixel size"
        )
        index, row = _first(particles, out)
        add = findings.error if poses and n_out > _MANY * particles.n else findings.warn
        add(
            "shift",
            f"{path}: {label} move {n_out} of {particles.n} particles out of their images (row "
            f"{row}: {away[index]:.0f} px, the box is {2 * half[index]:.0f} px): {advice}",
        )
    if {"rlnOriginX", "rlnOriginXAngst"} <= set(columns):
        pixels = particles.table.values(["rlnOriginX"])["rlnOriginX"][particles.rows] * pixel_size
        if np.any(np.abs(pixels - particles.origin_x) > 0.1 * pixel_size):
            findings.warn(
                "shift", f"{path}: rlnOriginX (px) and rlnOriginXAngst (Å) contradict each other: the latter counts"
            )


def _check_angles(particles: Particles, findings: Findings) -> None:
    angles = np.abs(np.stack([particles.rot, particles.tilt, particles.psi]))
    most = float(angles.max())
    if particles.n >= _FEW and 0.1 < most <= np.pi + 1e-3:
        findings.warn(
            "pose",
            f"{particles.path}: no angle of the poses is above {most:.3g}: radians? Degrees are meant",
        )
