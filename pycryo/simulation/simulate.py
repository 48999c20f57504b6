"""A simulated data set in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pycryo.errors import InputError
from pycryo.io.particle_set import Particles
from pycryo.maps.density import Map, check_maps
from pycryo.option_fields import choose
from pycryo.progress import Progress, check_listener, told_to
from pycryo.simulation.options import SimulateOptions
from pycryo.simulation.simulator import Simulator, tracked


def simulate(model: Map | Sequence[Map], *, progress: Progress | None = None, **options: Any) -> Particles:
    """Particle images with known truth, in memory.

    Parameters
    ----------
    model : Map, or sequence of Map
        What the images show; several of one box and pixel size: classes.
    progress : callable, optional
        Called with the fraction done, 0 to 1, and the name of the phase.
    **options
        Fields of `SimulateOptions`, such as ``n``, ``snr`` or ``seed``.

    Returns
    -------
    Particles
        With their true poses, defoci, half-sets and classes.

    Raises
    ------
    InputError
        If there is no such option, a value is out of range, or there is nothing to simulate from.

    Examples
    --------
    >>> truth = pycryo.read_map(pycryo.betagal() / "reference_40A.mrc")
    >>> particles = pycryo.simulate(truth, n=20, snr=0.1, seed=3)
    >>> particles
    Particles(20 of particles in memory: 48 px, 6.8302 Å/px, 1 stack(s), 1 optics group(s), CTF and poses)
    >>> particles.images().shape, particles.tilt.shape
    ((20, 48, 48), (20,))
    """
    chosen: SimulateOptions = choose(SimulateOptions, "simulate", options)
    check_listener(progress)
    check_maps("model", model)
    maps = [model] if isinstance(model, Map) else list(model or ())
    if not maps:
        raise InputError("model: expected a Map, or several; got none")
    simulator = Simulator.from_maps(maps, chosen)
    truth, pixel_size = simulator.truth, maps[0].pixel_size
    with told_to(progress):
        images = np.concatenate(list(tracked(simulator)))
    particles = Particles.from_arrays(
        images,
        pixel_size,
        poses=truth.angles,
        origins=truth.origin * pixel_size,
        voltage=chosen.voltage,
        spherical_aberration=chosen.spherical_aberration,
        amplitude_contrast=chosen.amplitude_contrast,
        defocus_u=truth.defocus_u,
        defocus_v=truth.defocus_v,
        defocus_angle=truth.defocus_angle,
        random_subset=truth.half,
        class_number=truth.model + 1,
    )
    table = chosen.optics_table(maps[0].box, pixel_size)
    return replace(
        particles,
        optics=chosen.optics(maps[0].box, pixel_size),
        optics_table=table,
        tables={**particles.tables, "optics": table},
    )
