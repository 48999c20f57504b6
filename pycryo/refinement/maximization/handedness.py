"""Half-sets of opposite hands, and how they come to the same one.

What is coarse of a map, of a symmetric one above all, is nearly its own inverse. From a start without detail each
half-set chooses a hand by chance, and if they choose differently they never agree where the hand begins to tell.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry.rotations import multiply
from pycryo.maps.fsc import Fsc, fsc, resolution_at
from pycryo.maps.slab_map import alone, inverted
from pycryo.parallel.collective_errors import on_root
from pycryo.refinement.expectation.half_pass import HalfResult
from pycryo.refinement.maximization.resolution import SMALL
from pycryo.refinement.state import Pair

# Shells by which the halves must agree further, and what FSC must be gained in all, before one is inverted.
_GAIN = 1.0
# Half a turn in the image: a view of the inverted map is the map's own, turned so.
_HALF_TURN = np.array([0.0, 0.0, 0.0, 1.0])


def hands_differ(pair: Pair, curves: Fsc) -> bool:
    """Whether half 1 agrees better with the inverse of half 2 than with half 2, see `curves`. Collective."""
    comm = pair[0].comm
    if comm.size > 1 and pair[0].box <= SMALL:
        whole = alone(*pair)
        return on_root(comm, lambda: hands_differ((whole[0], whole[1]), curves))
    first, second = pair
    here = curves.unmasked
    other = fsc(first.data, inverted(second).data, comm=first.comm)[: len(here)] * (here != 0)
    shells = [first.box * first.pixel_size / resolution_at(each, first.box, first.pixel_size) for each in (here, other)]
    return bool(shells[1] > shells[0] + _GAIN and (other - here).sum() > _GAIN)


def second_inverted(pair: Pair) -> Pair:
    """The maps with half 2 inverted. Collective."""
    return pair[0], inverted(pair[1])


def inverted_result(result: HalfResult | None, classes: list[int]) -> HalfResult | None:
    """What was found for particles, with their poses in the inverted maps of some classes."""
    if result is None or result.posterior is None:
        return result
    posterior = result.posterior
    support = replace(
        posterior.support, quaternion=_turned(posterior.support.quaternion, posterior.support.class_index, classes)
    )
    mode = _turned(posterior.mode_quaternion, posterior.mode_class, classes)
    return replace(result, posterior=replace(posterior, support=support, mode_quaternion=mode))


def _turned(quaternion: NDArray[np.float64], class_index: NDArray[np.int32], classes: list[int]) -> NDArray[np.float64]:
    return np.where(np.isin(class_index, classes)[..., None], multiply(_HALF_TURN, quaternion), quaternion)
