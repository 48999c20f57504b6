"""The folder of a run, and what must hold for it: no half file at any time, in the end those of an undisturbed run."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import h5py
from scene import lump, scene

from pycryo.io.mrc import read_map, write_map
from pycryo.io.star import read_star

# The same to the last bit; other files hold times, or the name of the folder.
COMPARED = ("*.mrc", "run_it*_data.star", "run_data.star", "run_fsc.star", "run_fsc.xml", "*.bild")
N_IMAGE, ITERATIONS = 40, 5


def refine_words(data: Path, out: Path) -> list[str]:
    return [
        "refine", str(data / "particles.star"), "--ref", str(data / "reference.mrc"), "--out", str(out),
        "--max-iter", str(ITERATIONS), "--threads", "1",
    ]  # fmt: skip


def make_data(folder: Path) -> None:
    """particles.star, its stack, and reference.mrc."""
    folder.mkdir()
    _, _, reference = scene(folder, lump(), N_IMAGE, snr=0.8)
    write_map(folder / "reference.mrc", reference.data, reference.pixel_size)


def temporary_files(folder: Path) -> list[Path]:
    """Files that are being written, or were when their writer was killed."""
    return [path for part in (folder, folder / "checkpoint") for path in part.glob(".*.tmp*")]


def half_files(folder: Path) -> list[str]:
    """Files under their final names that cannot be read, with the reason."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            _read(path)
        except Exception as error:
            found.append(f"{path.name} cannot be read ({type(error).__name__}: {error})")
    return found


def differences(folder: Path, expected: Path) -> list[str]:
    """Files that are missing, too many, left behind or different."""
    names = [{path.name for path in each.iterdir()} for each in (folder, expected)]
    found = [f"{name} is missing" for name in sorted(names[1] - names[0])]
    found += [f"{name} is left behind" for name in sorted(names[0] - names[1])]
    found += [f"checkpoint/{path.name} is left behind" for path in (folder / "checkpoint").glob(".*")]
    for path in sorted(path for pattern in COMPARED for path in expected.glob(pattern)):
        other = folder / path.name
        if other.is_file() and other.read_bytes() != path.read_bytes():
            found.append(f"{path.name} differs")
    return found


def _read(path: Path) -> None:
    if path.suffix == ".mrc":
        read_map(path)
    elif path.suffix == ".star":
        if not read_star(path):
            raise ValueError("no table")
    elif path.suffix == ".json":
        json.loads(path.read_text("utf-8"))
    elif path.suffix == ".xml":
        ElementTree.parse(path)
    elif path.suffix == ".h5":
        with h5py.File(path, locking=False) as file:
            json.loads(file["header"][()])
    elif path.suffix == ".html" and not path.read_text("utf-8").rstrip().endswith("</html>"):
        raise ValueError("it has no end")
