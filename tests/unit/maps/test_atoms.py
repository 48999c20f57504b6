"""Density of small atomic models written here."""

import gzip

import numpy as np
import pytest

from pycryo.errors import InputError
from pycryo.maps.atoms import is_model, model_density

ATOM = "ATOM  {number:5d}  CA  GLY A{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00 20.00           C\n"
HYDROGEN = "ATOM      9  H   GLY A   1      50.000  50.000  50.000  1.00 20.00           H\n"
WATER = "HETATM   10  O   HOH A 200     -50.000  50.000  50.000  1.00 20.00           O\n"
# One copy as it is and one turned by 180° about z.
ASSEMBLY = """\
REMARK 350 BIOMOLECULE: 1
REMARK 350 AUTHOR DETERMINED BIOLOGICAL UNIT: DIMERIC
REMARK 350 APPLY THE FOLLOWING TO CHAINS: A
REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000
REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000
REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000
REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        0.00000
"""


def write_pdb(path, atoms, extra="", head=""):
    lines = "".join(ATOM.format(number=i, x=x, y=y, z=z) for i, (x, y, z) in enumerate(atoms, 1))
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        file.write(head + lines + extra + "END\n")
    return path


@pytest.mark.parametrize("name", ["m.pdb", "m.pdb.gz"])
@pytest.mark.parametrize("box", [24, 25])
def test_atoms_are_where_they_should_be(tmp_path, name, box):
    # Mean of the atoms at (14, 20, 30); relative to it x = ±8, the hydrogen and the water do not count.
    path = write_pdb(tmp_path / name, [(6, 20, 30), (22, 20, 30), (14, 24, 30), (14, 16, 30)], HYDROGEN + WATER)
    density = model_density(path, box, 2.0, b_factor=100.0)
    centre = box // 2
    peaks = np.argwhere(density.data > 0.5 * density.data.max())
    found = {tuple(p - centre) for p in peaks}
    assert {(0, 0, -4), (0, 0, 4), (0, 2, 0), (0, -2, 0)} <= found  # (z, y, x) px
    assert density.pixel_size == 2.0
    # Four carbon atoms of mean inner potential form factor 2.5 Å each: the sum over the box times the voxel volume.
    assert density.data.sum() * 8 == pytest.approx(4 * 2.5, rel=0.03)


def test_assembly(tmp_path):
    path = write_pdb(tmp_path / "m.pdb", [(8, 0, 0), (8, 6, 0)], head=ASSEMBLY)
    density = model_density(path, 32, 2.0, assembly="1").data
    turned = np.roll(density[:, ::-1, ::-1], 1, axis=(1, 2))
    np.testing.assert_allclose(density, turned, atol=1e-4 * density.max())  # gemmi cuts each atom's density at 1e-5
    assert density.sum() == pytest.approx(2 * model_density(path, 32, 2.0).data.sum(), rel=1e-3)
    with pytest.raises(InputError, match="no assembly '7', only 1"):
        model_density(path, 32, 2.0, assembly="7")


def test_what_is_a_model():
    assert all(is_model(name) for name in ("a.pdb", "a.PDB.gz", "x/a.cif", "a.cif.gz", "a.ent", "a.mmcif"))
    assert not any(is_model(name) for name in ("a.mrc", "a.map", "a.mrc.gz", "pdb"))


def test_errors(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        model_density(tmp_path / "none.pdb", 16, 2.0)
    (tmp_path / "empty.pdb").write_text("END\n")
    with pytest.raises(InputError, match="no atoms"):
        model_density(tmp_path / "empty.pdb", 16, 2.0)
    (tmp_path / "broken.cif").write_text("this is no mmCIF {")
    with pytest.raises(InputError, match="no atomic model could be read"):
        model_density(tmp_path / "broken.cif", 16, 2.0)
    far = write_pdb(tmp_path / "far.pdb", [(0, 0, 0), (100, 0, 0)])
    with pytest.raises(InputError, match="100 Å across, the box only 32 Å: take a box of at least 63 px"):
        model_density(far, 16, 2.0)
