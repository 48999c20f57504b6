"""Sums of images on the padded half volume as sorted lists of the voxels that they touch (kernel `keyvalue`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo import _core
from pycryo.kernels.backprojector import Accumulators
from pycryo.kernels.entries import Entries, checked_quanta, curvatures, entry_arrays, finite
from pycryo.kernels.sphere import Sphere
from pycryo.threads import threads_or_default


@dataclass(frozen=True, slots=True)
class KeyValues:
    """Sums F and T of some voxels of a sphere: 32 bytes each, where accumulators need 24 for every voxel of a slab.

    Attributes
    ----------
    key : (n,) int64
        Numbers of the voxels in the sphere, ascending, none twice.
    re, im : (n,) float64
        F.
    weight : (n,) float64
        T.

    Examples
    --------
    >>> values = pycryo.kernels.KeyValues(np.array([3, 5, 9]), np.ones(3), np.zeros(3), np.ones(3))
    >>> values.between(4, 9).key.tolist()
    [5]
    """

    key: NDArray[np.int64]
    re: NDArray[np.float64]
    im: NDArray[np.float64]
    weight: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.key)

    def between(self, first: int, last: int) -> KeyValues:
        """Those of the voxels first ... last - 1, not copied."""
        part = slice(*np.searchsorted(self.key, (first, last)))
        return KeyValues(self.key[part], self.re[part], self.im[part], self.weight[part])


def to_key_values(
    sphere: Sphere,
    entries: Entries,
    *,
    box: int,
    padding: int,
    quantum: tuple[float, float],
    layers: tuple[int, int] | None = None,
    threads: int | None = None,
) -> KeyValues:
    """What `insert` (backprojector) adds to empty accumulators, to the last bit, where samples touch voxels.

    Parameters
    ----------
    sphere : Sphere
    entries : Entries
    box, padding : int
        Of the accumulators.
    quantum : (float, float)
        See `pycryo.kernels.backprojector.insert`, and its errors.
    layers : (int, int), optional
        Only voxels of the layers layers[0] ... layers[1] - 1. Default: all.
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    KeyValues

    Examples
    --------
    >>> kernels = pycryo.kernels
    >>> pixels = kernels.half_plane(8, 4)
    >>> samples = pixels.from_images(np.random.default_rng(1).normal(size=(1, 8, 8)))
    >>> entries = kernels.Entries.of(samples, np.eye(3)[None], pixels)
    >>> sphere = kernels.new_accumulators(8, r_high=4).sphere
    >>> found = kernels.to_key_values(sphere, entries, box=8, padding=2, quantum=kernels.entry_quanta(entries))
    >>> 0 < len(found) < sphere.n_voxel, bool(np.all(np.diff(found.key) > 0))
    (True, True)
    """
    return KeyValues(
        *_core.to_key_values(
            *entry_arrays(entries),
            float(box),
            padding * entries.scale,
            *checked_quanta(quantum),
            sphere.radius,
            sphere.start,
            *(layers or (0, sphere.layers)),
            threads_or_default(threads),
        )
    )


def count_key_values(
    sphere: Sphere,
    entries: Entries,
    *,
    padding: int,
    layers: tuple[int, int] | None = None,
    threads: int | None = None,
) -> int:
    """Upper bound of the number of key-values of entries, found from their orientations without making any.

    Of each tile of some thousand voxels it counts the voxels, or 8 for each sample there if that is less.

    Parameters
    ----------
    sphere, entries, padding, layers, threads
        See `to_key_values`.

    Raises
    ------
    InputError
        If shapes disagree or a rotation is not finite.
    """
    return _core.count_key_values(
        finite("rotations", entries.rotations),
        curvatures(entries.curvature),
        entries.kx,
        entries.ky,
        padding * entries.scale,
        sphere.radius,
        sphere.start,
        *(layers or (0, sphere.layers)),
        threads_or_default(threads),
    )


def merge_key_values(parts: Sequence[KeyValues], *, threads: int | None = None) -> KeyValues:
    """All key-values; where several parts have a voxel, their values are added in the order of the parts.

    Parameters
    ----------
    parts : sequence of KeyValues
    threads : int, optional
        Default: `pycryo.threads.get_threads`.

    Returns
    -------
    KeyValues

    Raises
    ------
    InputError
        If the arrays of a part differ in length or its keys do not ascend.

    Examples
    --------
    >>> first = pycryo.kernels.KeyValues(np.array([3, 5]), np.ones(2), np.zeros(2), np.ones(2))
    >>> second = pycryo.kernels.KeyValues(np.array([5, 9]), np.ones(2), np.zeros(2), np.ones(2))
    >>> found = pycryo.kernels.merge_key_values([first, second])
    >>> found.key.tolist(), found.re.tolist()
    ([3, 5, 9], [1.0, 2.0, 1.0])
    """
    lists = [(each.key, each.re, each.im, each.weight) for each in parts]
    return KeyValues(*_core.merge_key_values(lists, threads_or_default(threads)))


def add_key_values(accumulators: Accumulators, key_values: KeyValues, *, threads: int | None = None) -> None:
    """Add those of the key-values that are on the layers of the accumulators, in place.

    Raises
    ------
    InputError
        If the arrays of `key_values` differ in length or its keys do not ascend.
    """
    _core.add_key_values(
        key_values.key,
        key_values.re,
        key_values.im,
        key_values.weight,
        accumulators.sphere.radius,
        accumulators.sphere.start,
        accumulators.first,
        accumulators.last,
        accumulators.re,
        accumulators.im,
        accumulators.weight,
        threads_or_default(threads),
    )
