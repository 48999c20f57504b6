"""Simulated particles with aberrations of which their file says nothing, and how far what is found is from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scene import lump

from pycryo.geometry.symmetry import symmetry
from pycryo.io.mrc_stacks import write_stack
from pycryo.io.particles import read_particles
from pycryo.io.star import write_star
from pycryo.io.table import make_table
from pycryo.maps.density import Map
from pycryo.refinement.optics.change import tilt_strength
from pycryo.refinement.optics.reference import from_half_maps
from pycryo.refinement.reconstruct import reconstruct
from pycryo.simulation.options import SimulateOptions
from pycryo.simulation.simulator import Simulator

BOX, PIXEL, N = 48, 1.6, 400
TILT, ODD = (1.5, -2.0), (0, 0, 50.0, 0, 0, -40.0)
EVEN = (2 * -20.0, 3 * 30.0, 3 * -20.0, 0.0, 150.0, 30.0, -20.0, 0.0, -120.0)
MATRIX = (1.012, 0.006, 0.006, 0.988)
HIDDEN = {
    name: ",".join(map(str, values))
    for name, values in (("beam_tilt", TILT), ("odd_zernike", ODD), ("even_zernike", EVEN), ("magnification", MATRIX))
}


def simulated(folder, *, seed=4, **optics):
    """Particles with true poses whose optics table says nothing of `optics`."""
    phantom = replace(lump(n=60, extent=24.0), widths=np.full(60, 1.5))
    model = Map(phantom.volume(BOX, PIXEL).astype(np.float32), PIXEL)
    options = SimulateOptions(n=N, snr=1.0, shift_sd=1.0, defocus_min=6000, defocus_max=12000, seed=seed, **optics)
    simulator = Simulator.from_maps([model], options)
    write_stack(folder / "a.mrcs", simulator.batches(100), (BOX, BOX), PIXEL)
    truth = simulator.truth
    columns = {
        "rlnImageName": [f"{number:06d}@a.mrcs" for number in range(1, N + 1)],
        "rlnMicrographName": [f"mic{number // 40}.mrc" for number in range(N)],
        "rlnOpticsGroup": np.ones(N, int),
        "rlnDefocusU": truth.defocus_u,
        "rlnDefocusV": truth.defocus_v,
        "rlnDefocusAngle": truth.defocus_angle,
        "rlnAngleRot": truth.angles[:, 0],
        "rlnAngleTilt": truth.angles[:, 1],
        "rlnAnglePsi": truth.angles[:, 2],
        "rlnOriginXAngst": truth.origin[:, 0] * PIXEL,
        "rlnOriginYAngst": truth.origin[:, 1] * PIXEL,
        "rlnRandomSubset": truth.half,
    }
    table = {
        "rlnOpticsGroup": [1],
        "rlnOpticsGroupName": ["only"],
        "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [PIXEL],
        "rlnImageSize": [BOX],
        "rlnImageDimensionality": [2],
    }
    write_star(folder / "p.star", {"optics": make_table(table), "particles": make_table(columns)})
    return read_particles(folder / "p.star"), simulator.maps[0]


def half_maps(particles):
    """What the images make at their poses, to be compared with."""
    found = reconstruct(particles, half_maps=True)
    return from_half_maps(*found.half_maps, None, symmetry("C1"))


def deviations(found):
    """Differences to the truth in standard errors, by the parts that were looked for."""
    (group,) = found.groups
    optics = found.particles.optics
    even = (np.array(optics.even_zernike[0]) - EVEN)[4:]
    away = {
        "beam tilt": (optics.beam_tilt[0] - TILT) * abs(tilt_strength(optics, 0)),
        "trefoil": (np.array(optics.odd_zernike[0]) - ODD)[[2, 5]],
        "fourth order": even[[2, 3, 1, 4, 0]] * (6, 4, 4, 1, 1),
        "magnification": (optics.magnification[0].ravel() - MATRIX)[[0, 1, 3]],
    }
    return {part.name: away[part.name] / part.error for part in group.parts}
