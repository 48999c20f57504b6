"""The map's surface: its level, a still picture from three sides, and what a browser needs to turn it."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pycryo.maps.density import Map, low_pass, resample
from pycryo.postprocessing.contour import VOLUME_PER_DALTON

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Volume = NDArray[np.float32]

# Voxels of the resolution, and voxels along an edge of what the browser gets, by the number of maps.
_PER_RESOLUTION, _LEAST_BOX, MOST_BOX, MANY_BOX = 6.0, 24, 96, 60
# Along an edge of the map that the still picture is made of.
_STILL_BOX = 180
# Maps that can be turned, at the most.
MOST_MAPS = 6
_LIGHT = np.array([0.8, 0.4, 0.45]) / np.linalg.norm([0.8, 0.4, 0.45])
_SCRIPT = "plotly.min.js"
# 1 to 9: the highest saves 4 % of the library and takes 2.4 times as long.
_COMPRESSION = 4


@dataclass(frozen=True, slots=True)
class Shown:
    """A map as it is shown.

    Attributes
    ----------
    map : Map
        Cropped to the particle, as fine as its resolution needs.
    level : float
        Grey value of the surface.
    """

    map: Map
    level: float


def shown(source: Map, mask: Map | None, diameter: float, resolution: float, *, most: int = MOST_BOX) -> Shown:
    """A map cropped to the particle and sampled for its resolution, with the level of its surface.

    Parameters
    ----------
    source : Map
        Filtered, or half-maps' average: it is filtered here.
    mask : Map, optional
        Of the molecule, on the grid of the map.
    diameter, resolution : float
        Å.
    most : int
        Voxels along an edge.
    """
    field = source.box * source.pixel_size
    extent = min(field, 1.3 * diameter)
    if mask is not None and mask.box == source.box:
        extent = min(field, max(0.5 * diameter, 2.1 * _reach(mask)))
    resolution = max(resolution, 2 * source.pixel_size)
    size = max(resolution / _PER_RESOLUTION, extent / most)
    box = max(_LEAST_BOX, 2 * round(extent / size / 2))
    smooth = low_pass(source, resolution) if mask is None else source
    found = resample(smooth, box, extent / box)
    inside = _ball(box, 0.5 * diameter / found.pixel_size)
    if mask is not None:
        inside = resample(mask, box, extent / box).data > 0.5
    level = surface_level(found.data[inside] if inside.any() else found.data.ravel())
    low, high = _range(found.data)
    # One of the levels that the slider has.
    return Shown(found, low + round(255 * (level - low) / (high - low)) * (high - low) / 255)


def surface_level(values: Volume) -> float:
    """The grey value that parts voxels inside a mask best into two kinds, molecule and solvent (Otsu's threshold)."""
    count, edges = np.histogram(values, 256)
    middle = (edges[1:] + edges[:-1]) / 2
    below, first = np.cumsum(count), np.cumsum(count * middle)
    above = below[-1] - below
    between = (first[-1] * below / below[-1] - first) ** 2 / np.maximum(below * above, 1)
    # Where bins are empty in between, their middle.
    return float(middle[np.flatnonzero(between == between.max())].mean())


def enclosed(source: Shown) -> tuple[float, float]:
    """Volume within the surface, nm³, and the mass of protein that fills it, kDa."""
    low, high = _range(source.map.data)
    level = round(255 * (source.level - low) / (high - low))
    volume = float((_bytes(source.map.data) > level).sum()) * source.map.pixel_size**3
    return volume / 1000, volume / VOLUME_PER_DALTON / 1000


def _range(data: Volume) -> tuple[float, float]:
    low = float(data.min())
    return low, max(float(data.max()), float(np.nextafter(np.float32(low), np.float32(np.inf))))


def _bytes(data: Volume) -> NDArray[np.uint8]:
    """0 for the lowest and 255 for the highest grey value."""
    low, high = _range(data)
    return np.asarray(np.rint((data - low) * (255 / (high - low))), np.uint8)


def _reach(mask: Map) -> float:
    """Å from the centre to the mask's furthest voxel along an axis."""
    middle, furthest = mask.box // 2, 0
    for axis in range(3):
        other = tuple(each for each in range(3) if each != axis)
        where = np.flatnonzero(mask.data.max(axis=other) > 0.5)
        furthest = max(furthest, *(abs(int(each) - middle) for each in where[[0, -1]])) if len(where) else furthest
    return furthest * mask.pixel_size


def _ball(box: int, radius: float) -> NDArray[np.bool_]:
    x = np.arange(box) - box // 2
    return np.asarray(x[:, None, None] ** 2 + x[:, None] ** 2 + x**2 <= radius**2)


def still_figure(source: Shown) -> Figure:
    """The surface seen along x, y and z, lit from the upper right, with a bar of 50 Å or so."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    colours = LinearSegmentedColormap.from_list("surface", ["#10233a", "#5b8fc7", "#e9f2fb"])
    extent = source.map.box * source.map.pixel_size
    box = max(source.map.box, min(_STILL_BOX, 2 * source.map.box))
    fine = resample(source.map, box, extent / box).data
    figure = Figure(figsize=(9.6, 3.4))
    figure.subplots_adjust(left=0, right=1, bottom=0, top=0.92, wspace=0.02)
    # Seen from the positive end of the axis: what is right, up and near.
    views = (("along x", (2, 0, 1)), ("along y", (1, 0, 2)), ("along z", (0, 1, 2)))
    for place, (name, order) in enumerate(views, 1):
        axes = figure.add_subplot(1, 3, place)
        seen = fine.transpose(order)[::-1]
        seen = seen[:, :, ::-1] if name == "along y" else seen
        half = extent / 2
        axes.imshow(
            _shaded(seen, source.level), cmap=colours, vmin=0, vmax=1, origin="lower", extent=(-half, half, -half, half)
        )
        bar = 10 ** np.floor(np.log10(extent / 3))
        bar *= max(each for each in (1, 2, 5) if each * bar <= extent / 3)
        axes.plot([-0.45 * extent, -0.45 * extent + bar], [-0.46 * extent] * 2, color="black", linewidth=2)
        axes.text(-0.45 * extent, -0.44 * extent, f"{bar:g} Å", fontsize=8, va="bottom")
        axes.set_title(f"seen {name}", fontsize=10, y=1.0)
        axes.set_axis_off()
    return figure


def _shaded(data: Volume, level: float) -> NDArray[np.float64]:
    """(n, n) brightness of the surface seen along the first axis, NaN where there is none: Lambert's law."""
    steps, inside = len(data), data > level
    hit = inside.any(axis=0)
    first: NDArray[np.intp] = np.where(hit, inside.argmax(axis=0), 0)
    places: list[NDArray[np.intp]] = [first, *np.indices(hit.shape, np.intp)]
    gradient = np.empty((3, *hit.shape))
    for axis in range(3):
        low, high = (
            data[tuple(np.clip(each + step, 0, steps - 1) if k == axis else each for k, each in enumerate(places))]
            for step in (-1, 1)
        )
        gradient[axis] = high - low
    normal = gradient / np.maximum(np.linalg.norm(gradient, axis=0), 1e-12)
    # Away from the viewer density grows; to the right and up the light comes from where it falls.
    light = _LIGHT * np.array([1, -1, -1])
    brightness = np.clip(np.tensordot(light, normal, 1), 0.08, 1) * (1 - 0.4 * first / steps)
    return np.where(hit, brightness, np.nan)


def plotly_script() -> Path | None:
    """The JavaScript library that comes with plotly; None where plotly is not installed. Nothing is imported."""
    found = find_spec("plotly")
    for folder in [] if found is None else (found.submodule_search_locations or []):
        path = Path(folder) / "package_data" / _SCRIPT
        if path.is_file():
            return path
    return None


def interactive(maps: Mapping[str, Shown], still: str) -> str:
    """HTML of surfaces that can be turned, in a page that needs nothing else; a still picture stands there before.

    Parameters
    ----------
    maps : mapping of str to Shown
        By name.
    still : str
        HTML of the picture, which stays where there is no JavaScript or WebGL, and on paper.

    Returns
    -------
    str
        Only the picture, and how to get more, if plotly is not installed.
    """
    script = plotly_script()
    if script is None:
        return (
            f'{still}\n<p class="hint">To turn the map here with the mouse, install plotly (<code>pip install plotly'
            "</code>) and build the page again (<code>pycryo report DIR</code>).</p>"
        )
    content = [_content(name, each) for name, each in maps.items()]
    own = resources.files("pycryo.report").joinpath("surface.js").read_text("utf-8")
    return "\n".join(
        [
            f'<div id="surface" class="surface"><div class="still">{still}</div>',
            '<div class="turn" hidden></div><div class="controls" hidden></div>',
            '<p class="hint" role="status"><noscript>With JavaScript the map can be turned here.</noscript></p></div>',
            f"<!-- {_notice()} -->",
            f'<script type="text/plain" id="surface-library">{_packed_file(script)}</script>',
            f'<script type="application/json" id="surface-maps">{json.dumps(content)}</script>',
            f"<script>\n{own}</script>",
        ]
    )


def _content(name: str, each: Shown) -> dict[str, Any]:
    """A map for the browser."""
    low, high = _range(each.map.data)
    return {
        "name": html.escape(name),
        "box": each.map.box,
        "pixel": each.map.pixel_size,
        "level": round(255 * (each.level - low) / (high - low)),
        "low": low,
        "high": high,
        "dalton": VOLUME_PER_DALTON,
        "data": _packed(_bytes(each.map.data).tobytes()),
    }


def _packed(data: bytes) -> str:
    # Without a time in it: the same run makes the same page.
    return base64.b64encode(gzip.compress(data, _COMPRESSION, mtime=0)).decode("ascii")


@cache
def _packed_file(path: Path) -> str:
    return _packed(path.read_bytes())


def _notice() -> str:
    """Copyright and licence of the library."""
    text = "plotly.js, Copyright Plotly, Inc., MIT License"
    installed = metadata.distribution("plotly")
    licence = installed.read_text("licenses/LICENSE.txt") or installed.read_text("LICENSE.txt")
    return f"{text}:\n{licence}".replace("--", "—") if licence else text
