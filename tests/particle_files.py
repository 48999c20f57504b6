"""STAR files of particles with their stacks, for tests."""

import numpy as np

from pycryo.io.mrc_stacks import write_stack

OPTICS = {
    "rlnOpticsGroup": "1",
    "rlnOpticsGroupName": "first",
    "rlnVoltage": "300",
    "rlnSphericalAberration": "2.7",
    "rlnAmplitudeContrast": "0.1",
    "rlnImagePixelSize": "1.5",
    "rlnImageSize": "8",
    "rlnImageDimensionality": "2",
}
PARTICLE = {
    "rlnImageName": "{i:06d}@a.mrcs",
    "rlnOpticsGroup": "1",
    "rlnDefocusU": "10000.5",
    "rlnDefocusV": "9000.25",
    "rlnDefocusAngle": "30",
    "myColumn": "x{i}",
}


def loop(name, rows):
    """Text of a loop; all rows have the columns of the first."""
    labels = "".join(f"_{label} #{i}\n" for i, label in enumerate(rows[0], 1))
    return f"data_{name}\n\nloop_\n{labels}" + "".join(" ".join(row.values()) + "\n" for row in rows) + "\n"


def particle(i, change=()):
    return {label: value.format(i=i) for label, value in {**PARTICLE, **dict(change)}.items() if value}


def star_31(folder, *, n=3, optics=(), rows=(), extra="", stack=5, box=8):
    """A 3.1 file with `n` particles and its stack; `optics` and `rows` (by index) change or remove (empty) values."""
    write_stack(folder / "a.mrcs", [np.random.default_rng(1).normal(size=(stack, box, box))], (box, box), 1.5)
    rows = dict(rows)
    first = {label: value for label, value in {**OPTICS, **dict(optics)}.items() if value}
    text = loop("optics", [first]) + loop(
        "particles", [particle(i + 1, rows.get(i, rows.get("all", ()))) for i in range(n)]
    )
    (folder / "in.star").write_text(text + extra)
    return folder / "in.star"


def star_30(folder, *, columns=(), n=2):
    row = {
        "rlnVoltage": "300",
        "rlnSphericalAberration": "2.7",
        "rlnAmplitudeContrast": "0.1",
        "rlnDetectorPixelSize": "5",
        "rlnMagnification": "25000",
        "rlnOriginX": "3",
        "rlnOriginY": "-1.5",
        "rlnClassNumber": "2",
        "rlnOpticsGroup": "",
    }
    write_stack(folder / "a.mrcs", [np.random.default_rng(1).normal(size=(5, 8, 8))], (8, 8), 1.0)
    (folder / "old.star").write_text(loop("images", [particle(i + 1, {**row, **dict(columns)}) for i in range(n)]))
    return folder / "old.star"
