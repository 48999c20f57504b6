"""The frame of the maps: nothing in the images holds it.

The half-maps turn and move, each for itself. Half 2 is kept where half 1 is, and in the final iteration both are
brought back to where the start reference was. Poses are found in the frame that the references have come to; the
images are inserted with poses in the other one. So no map is resampled.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pycryo.maps.density import Map, to_points
from pycryo.maps.registration import Expected, Motion, free_parameters, register
from pycryo.maps.slab_map import SlabMap, from_root, gather, resample_grid
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm
from pycryo.refinement.outcome import ClassMaps
from pycryo.refinement.setup import Setup

log = logging.getLogger(__name__)

# Fourier px that are compared, at most: a tenth of a degree is told by them already.
_MOST = 12
# Points of the maps that are compared, over the field of view: not below twice the finest wave.
_POINTS = 32
# A start that resembles the map less has no frame to go back to: a blob.
_LEAST_CORRELATION = 0.7
# Motions that are expected, and the χ² that one must explain for each free parameter; one by chance explains 1. Maps
# drift from the start for a whole refinement, and it tells them by few samples, if it is low-passed: the expectation of
# a motion is better than none. Between the halves one by chance would be undone in every iteration.
_FROM_START, _LEAST_GAIN_START = Expected(turn=4.0, move=0.03, least_correlation=0.75), 1.0
_FROM_FIRST, _LEAST_GAIN_HALVES = Expected(), 1.5


def coarse(comm: Comm, starts: Sequence[Map]) -> tuple[SlabMap, ...]:
    """What is kept of the start references of rank 0: their coarse features on a small grid. Collective."""
    count = comm.broadcast(len(starts))
    maps = [starts[i] if starts else None for i in range(count)]
    return tuple(from_root(comm, None if each is None else to_points(each, min(each.box, _POINTS))) for each in maps)


def motions_to_start(setup: Setup, classes: Sequence[ClassMaps]) -> tuple[Motion | None, ...]:
    """How the map of each class moved against its start. Collective."""
    if setup.prior is not None:
        return ()
    starts = [setup.starts[min(k, len(setup.starts) - 1)] for k in range(len(classes))]
    return tuple(motion_to_start(setup, *each) for each in zip(classes, starts, strict=True))


def motion_to_start(setup: Setup, maps: ClassMaps, start: SlabMap) -> Motion | None:
    """How a map moved against the start: read at M u + c it is like it at u. Collective.

    The half-maps are compared as they were reconstructed, up to their resolution: of the references, which end with the
    mask, the same motion would look many times as significant. None if the symmetry or the start leave the motion
    open, or if it is no more than chance.
    """
    first, second = maps.half_maps
    mean = replace(first, data=np.float32(0.5) * (first.data + second.data))
    names = ("the map", "the reference")
    return _motion(setup, resample_grid(mean, start.box), start, maps, names, _FROM_START, _LEAST_GAIN_START)


def motions_to_first(setup: Setup, classes: Sequence[ClassMaps]) -> tuple[Motion | None, ...]:
    """How the map of half 2 of each class moved against that of half 1. Collective."""
    if setup.prior is not None or not len(free_parameters(setup.group)):
        return ()
    found = []
    for k, maps in enumerate(classes):
        first, second = (resample_grid(each, min(each.box, _POINTS)) for each in maps.half_maps)
        which = f" of class {k + 1}" if len(classes) > 1 else ""
        names = (f"half-map 2{which}", "half-map 1")
        found.append(_motion(setup, second, first, maps, names, _FROM_FIRST, _LEAST_GAIN_HALVES))
    return tuple(found)


def _motion(
    setup: Setup,
    source: SlabMap,
    target: SlabMap,
    maps: ClassMaps,
    names: tuple[str, str],
    expected: Expected,
    least_gain: float,
) -> Motion | None:
    """How one small grid moved against another, up to the resolution of `maps`; None if by chance. Collective."""
    shell = setup.field_of_view / maps.fsc.resolution_0143
    here, there = gather(source), gather(target)

    def find() -> Motion | None:
        assert here is not None
        assert there is not None
        found = register(here, there, setup.group, r_high=min(_MOST, shell), diameter=setup.diameter, expected=expected)
        if found is None:
            return None
        text = f"turn of {found.motion.angle:.2f}°, move of {found.motion.distance:.2f} Å"
        figures = f"correlation {found.correlation:.2f}, χ² {found.gain:.0f} for {found.n_free} parameters"
        if found.correlation < _LEAST_CORRELATION or not found.is_small:
            log.debug("frame: %s stays where it is, it does not resemble %s (%s; %s)", *names, text, figures)
            return None
        if found.gain < least_gain * found.n_free:
            log.debug("frame: %s is where %s is (%s; %s)", *names, text, figures)
            return None
        log.debug("frame: %s moved back onto %s (%s; %s)", *names, text, figures)
        return found.motion

    # Measured by one: processors of another kind might round otherwise.
    return on_root(setup.partition.comm, find)
