"""Solvent masks: made from a map's own density, or the user's, checked."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.maps import Map, low_pass, soft_sphere

logger = logging.getLogger(__name__)

# Of the span between background and strong density: where the molecule's envelope is drawn at 15 Å.
ENVELOPE_FRACTION = 0.15
# Standard deviations of the filtered background that the envelope must stand above.
NOISE_FACTOR = 2.5
# Parts of the molecule smaller than this fraction of its largest part are taken for noise.
SMALLEST_PART = 0.1
# A largest part below this fraction of the sphere in the box is noise, not a molecule.
SMALLEST_MOLECULE = 0.002


def auto_mask(
    source: Map,
    *,
    resolution: float = 15.0,
    threshold: float | None = None,
    extend_px: float | None = None,
    edge_px: float | None = None,
) -> NDArray[np.float32]:
    """Soft mask around the density of a map.

    The map is low-pass filtered and cut at a threshold; the largest connected part and all parts of at least a tenth
    of its volume are kept, holes filled, the surface moved outwards by `extend_px` and rounded off by a cosine.

    Parameters
    ----------
    source : Map
        White density on a darker background; an average of half-maps.
    resolution : float
        Low-pass filter, Å; three voxels where that is coarser.
    threshold : float, optional
        Grey value of the filtered map where the molecule begins. Default: `envelope_threshold`.
    extend_px, edge_px : float, optional
        Extension of the surface and width of the cosine edge outside it, px. Default: 5 Å, at least 2 px; 10 Å, at
        least 3 px.

    Returns
    -------
    (box, box, box) float32, 0 to 1
        A soft sphere filling the box, with a warning in the log, if no part of the filtered map stands out.

    Raises
    ------
    InputError
        If the map has values that are not finite, or no voxel is above a given `threshold`.
    """
    from scipy import ndimage

    if not np.isfinite(source.data).all():
        raise InputError("the map to be masked has voxels that are not finite (NaN or infinite)")
    extend_px = max(2.0, 5.0 / source.pixel_size) if extend_px is None else extend_px
    edge_px = max(3.0, 10.0 / source.pixel_size) if edge_px is None else edge_px
    filtered = low_pass(source, max(resolution, 3 * source.pixel_size)).data
    level = envelope_threshold(filtered) if threshold is None else threshold
    label, n_part = ndimage.label(filtered > level)
    volume = np.bincount(label.ravel(), minlength=2)
    volume[0] = 0
    if threshold is not None and n_part == 0:
        raise InputError(
            f"no voxel of the filtered map is above the threshold {threshold:g}: its maximum is {filtered.max():g}"
        )
    if threshold is None and volume.max() < SMALLEST_MOLECULE * np.pi / 6 * source.box**3:
        logger.warning("no density stands out of the noise at %.1f Å: the mask is a sphere", resolution)
        return soft_sphere(source.box, max(0.0, source.box / 2 - edge_px), edge_px)
    kept = ndimage.binary_fill_holes((volume >= SMALLEST_PART * volume.max())[label])
    return _soften(kept, extend_px, edge_px)


def envelope_threshold(filtered: NDArray[np.float32]) -> float:
    """Grey value at which the envelope of a molecule is drawn in a low-pass filtered map.

    ``background + max(0.15·(strong − background), 2.5·noise)``: background is the median and strong the 99.9 %
    quantile inside the sphere that fits the box, noise the standard deviation outside it. The first term is the
    envelope of a clean map, the second one takes over where the noise would be connected to the molecule.
    """
    box = len(filtered)
    inside = soft_sphere(box, box / 2, 0) > 0
    background, strong = np.quantile(filtered[inside], (0.5, 0.999))
    noise = filtered[~inside].std() if not inside.all() else 0.0
    return float(background + max(ENVELOPE_FRACTION * (strong - background), NOISE_FACTOR * noise))


def check_mask(mask: Map, box: int, name: str = "mask") -> NDArray[np.float32]:
    """A user's mask as float32 array, checked: cube of `box`, finite, 0 to 1, not empty.

    Parameters
    ----------
    mask : Map
    box : int
        Box of the maps that it is for, px.
    name : str
        How errors call it: the file's path.

    Returns
    -------
    (box, box, box) float32
        Values outside 0..1 by less than 1e-3 (float16 files, resampling) are clipped.

    Raises
    ------
    InputError
    """
    if mask.box != box:
        raise InputError(f"{name}: the mask's box is {mask.box} px but the maps' is {box} px; make one of the same box")
    low, high = float(mask.data.min()), float(mask.data.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # false for NaN as well
        raise InputError(f"{name}: the values of a mask must lie between 0 and 1, these go from {low:g} to {high:g}")
    if high <= 0:
        raise InputError(f"{name}: the mask is 0 everywhere")
    return np.clip(mask.data, 0, 1).astype(np.float32)


def _soften(inside: NDArray[np.bool_], extend_px: float, edge_px: float) -> NDArray[np.float32]:
    """1 up to `extend_px` outside the voxels of `inside`, then a cosine down to 0 over `edge_px`."""
    from scipy import ndimage

    mask = np.zeros(inside.shape, np.float32)
    reach = int(np.ceil(extend_px + edge_px)) + 1
    # The distances are wanted near the molecule only: they cost as much as everything else on the full box.
    near = tuple(
        slice(max(0, part.start - reach), min(n, part.stop + reach))
        for part, n in zip(ndimage.find_objects(inside.astype(np.uint8))[0], inside.shape, strict=True)
    )
    distance = ndimage.distance_transform_edt(~inside[near]) - extend_px
    if edge_px > 0:
        mask[near] = 0.5 * (1 + np.cos(np.pi * np.clip(distance / edge_px, 0, 1)))
    else:
        mask[near] = distance <= 0
    return mask
