"""Density of an atomic model, as an electron microscope would see it without lens errors."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pycryo.errors import InputError
from pycryo.maps.density import Map, low_pass, resample

if TYPE_CHECKING:
    import gemmi

logger = logging.getLogger(__name__)

# More than any molecule has; coordinates and occupancies beyond are a mistake.
_MOST_ANGSTROM = 1e7
_MOST_OCCUPANCY = 1e3
MODEL_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")


def is_model(path: Path | str) -> bool:
    """Whether the name is that of an atomic model (PDB or mmCIF, plain or .gz)."""
    name = str(path).lower().removesuffix(".gz")
    return name.endswith(MODEL_SUFFIXES)


def model_density(
    path: Path | str, box: int, pixel_size: float, *, assembly: str | None = None, b_factor: float = 60.0
) -> Map:
    """Electron-scattering density of the atoms of a PDB or mmCIF file, their mean at the centre voxel.

    Hydrogens, waters and all but the first of alternative conformations are left out. The atoms' form factors (gemmi's,
    International Tables C) are summed at half the pixel size and brought to `pixel_size` without aliasing, with a soft
    edge below Nyquist.

    Parameters
    ----------
    path : Path
    box : int
        px.
    pixel_size : float
        Å.
    assembly : str, optional
        Name of the biological assembly to build from the file's operators, such as "1".
    b_factor : float
        One B-factor for all atoms, Å².

    Returns
    -------
    Map

    Raises
    ------
    InputError
        If the file is no model, has no such assembly or its molecule does not fit the box.
    """
    import gemmi

    structure = _read(path, assembly)
    atoms = [site.atom for site in structure[0].all()]
    position = np.array([atom.pos.tolist() for atom in atoms])
    if not (np.abs(position) < _MOST_ANGSTROM).all():
        raise InputError(f"{path}: an atom has coordinates that are no numbers of Å; correct the file")
    if not (np.abs([atom.occ for atom in atoms]) < _MOST_OCCUPANCY).all():
        raise InputError(f"{path}: an atom has an occupancy that is no share; correct the file")
    position -= position.mean(axis=0)
    radius = float(np.linalg.norm(position, axis=1).max())
    if 2 * radius > box * pixel_size:
        raise InputError(
            f"{path}: the molecule is {2 * radius:.0f} Å across, the box only {box * pixel_size:.0f} Å: "
            f"take a box of at least {int(np.ceil(2.5 * radius / pixel_size))} px"
        )
    logger.info(
        "%s: %d atoms, diameter %.0f Å, %.2f of the box", path, len(atoms), 2 * radius, 2 * radius / box / pixel_size
    )
    spacing = pixel_size / 2
    # Beyond its last atom the density of a Gaussian of this B falls below 1e-4 within 4 standard deviations.
    margin = 4 * np.sqrt(b_factor / (8 * np.pi**2)) + 3.0
    fine_box = 2 * int(np.ceil((radius + margin) / spacing))
    edge = fine_box * spacing
    for atom, at in zip(atoms, position + edge / 2, strict=True):
        atom.pos = gemmi.Position(*at)
        atom.b_iso = b_factor
        atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)
    calculator = gemmi.DensityCalculatorE()
    calculator.d_min = 2 * spacing
    calculator.grid.set_unit_cell(gemmi.UnitCell(edge, edge, edge, 90, 90, 90))
    calculator.grid.spacegroup = gemmi.SpaceGroup("P 1")
    calculator.grid.set_size(fine_box, fine_box, fine_box)
    calculator.add_model_density_to_grid(structure[0])
    fine = Map(np.asarray(calculator.grid.array, np.float32).transpose(2, 1, 0), spacing)
    # The filter's edge ends at Nyquist: 4 Fourier px wide, centred 2 px below.
    coarse = resample(fine, box, pixel_size)
    return low_pass(coarse, box * pixel_size / max(1.0, box / 2 - 2), edge_px=4.0)


def _read(path: Path | str, assembly: str | None) -> gemmi.Structure:
    """Structure with the heavy atoms of the molecule only."""
    import gemmi

    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, IndexError, OverflowError) as error:
        raise InputError(f"{path}: no atomic model could be read: {error}") from error
    if assembly is not None:
        names = [each.name for each in structure.assemblies]
        if assembly not in names:
            raise InputError(f"{path}: has no assembly {assembly!r}, only {', '.join(names) or 'none'}")
        structure.transform_to_assembly(assembly, gemmi.HowToNameCopiedChain.AddNumber)
    structure.remove_alternative_conformations()
    structure.remove_hydrogens()
    structure.remove_waters()
    structure.remove_empty_chains()
    if len(structure) == 0 or next(iter(structure[0].all()), None) is None:
        raise InputError(f"{path}: the model has no atoms")
    return structure
