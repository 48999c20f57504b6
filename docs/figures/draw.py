"""Draw the figures of docs/method.md into docs/images: ``python docs/figures/draw.py [NAME ...]``."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = ("iteration", "slice", "likelihood", "filter", "insertion", "resolution", "stages")

if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        import_module(name).draw()
