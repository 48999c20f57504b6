"""Command files for ChimeraX that show what pycryo has made."""

from __future__ import annotations

import numpy as np

# Fine to coarse: distinct without red and green, and light enough under ChimeraX's lamps.
PALETTE = ("#2c3fbf", "#3f93d8", "#5fd0c0", "#f3ecb0", "#f2a23c", "#c4261d")


def colour_by_resolution(density: str, resolution: str, level: float, finest: float, coarsest: float) -> str:
    """Commands that open a map and colour its surface by local resolution, with a key.

    Parameters
    ----------
    density, resolution : str
        Files in the folder of the command file, of the map and of its local resolution (Å).
    level : float
        Of the surface.
    finest, coarsest : float
        Å, the ends of the key; what is beyond has its colours.
    """
    coarsest = max(coarsest, finest + 0.01)
    values = np.linspace(finest, coarsest, len(PALETTE))
    palette = ":".join(f"{value:.3f},{colour}" for value, colour in zip(values, PALETTE, strict=True))
    key = " ".join(f"{colour}:{value:.2f}" for value, colour in zip(values, PALETTE, strict=True))
    return "\n".join(
        [
            "# Local resolution on the surface of the map; open this file in ChimeraX.",
            "close",
            f'open "{density}"',
            f'open "{resolution}"',
            f"volume #1 style surface step 1 level {level:.6g}",
            "hide #2 models",
            f"color sample #1 map #2 palette {palette}",
            f"key {key} pos 0.3,0.06 size 0.4,0.035 fontSize 18",
            '2dlabels text "local resolution (Å)" xpos 0.3 ypos 0.115 size 18',
            "set bgColor white",
            "lighting soft",
            "graphics silhouettes true",
            "view",
            "",
        ]
    )
