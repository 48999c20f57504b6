"""Where the example data are: beside the package in a source tree, inside it when installed."""

from __future__ import annotations

from pathlib import Path

from pycryo.errors import RunError


def betagal() -> Path:
    """Folder of the real β-galactosidase particles: particles.star, particles.mrcs and reference_40A.mrc.

    Raises
    ------
    RunError
        If they are not there.

    Examples
    --------
    >>> sorted(path.name for path in pycryo.betagal().glob("*.mrc*"))
    ['particles.mrcs', 'reference_40A.mrc']
    """
    package = Path(__file__).resolve().parents[1]
    folders = [root / "examples" / "betagal" for root in (package, package.parent)]
    for folder in folders:
        if (folder / "particles.star").is_file():
            return folder
    raise RunError(f"the example particles are neither in {folders[0]} nor in {folders[1]}: install pycryo again")
