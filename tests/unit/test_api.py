"""What ``import pycryo`` offers, and that it is quick."""

import ast
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from phantom import blobs, write_set

import pycryo
from pycryo.cli.main import COMMANDS

# Imported only by what needs them.
HEAVY = ("numpy", "pandas", "scipy", "matplotlib", "gemmi", "h5py", "mpi4py", "rich", "jinja2")


def python(code):
    """Output of a new interpreter."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("name", pycryo.__all__)
def test_everything_is_there_and_documented(name):
    assert callable(getattr(pycryo, name))
    assert getattr(pycryo, name).__doc__
    assert name in dir(pycryo)


def test_types_are_those_of_the_names():
    """The stub takes each public name from where it is found."""
    stub = (Path(pycryo.__file__).parent / "__init__.pyi").read_text(encoding="utf-8")
    typed = {
        alias.name: node.module
        for node in ast.walk(ast.parse(stub))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == {**pycryo._HOMES, "__version__": "pycryo.version", **dict.fromkeys(pycryo._PARTS, "pycryo")}


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'pycryo' has no attribute 'refin'"):
        _ = pycryo.refin


def test_import_is_light():
    loaded = python("import sys, pycryo; print(*sys.modules)").split()
    assert not [name for name in HEAVY if name in loaded]


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_is_light(words):
    """Help needs no library but NumPy, of whose types some options are."""
    code = f"""
import contextlib, io, sys
from pycryo.cli.main import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main({words})
print(*sys.modules)
"""
    loaded = python(code).split()
    assert not [name for name in HEAVY if name in loaded and (name != "numpy" or words == ["--help"])]


def test_idle_threads_sleep():
    code = "import os; {}; import pycryo; print(os.environ['OMP_WAIT_POLICY'])"
    assert python(code.format("os.environ.pop('OMP_WAIT_POLICY', None)")) == "passive"
    assert python(code.format("os.environ['OMP_WAIT_POLICY'] = 'active'")) == "active"


def test_from_particles_to_map(tmp_path):
    """The lines of the README: read, reconstruct, project, compare."""
    with mrcfile.new(tmp_path / "ref.mrc") as file:
        file.set_data(blobs().volume(32, 3.0).astype(np.float32))
        file.voxel_size = 3.0
    particles = pycryo.read_particles(write_set(tmp_path, blobs(), 100))
    reference = pycryo.read_map(tmp_path / "ref.mrc")
    assert isinstance(particles, pycryo.Particles)
    assert isinstance(reference, pycryo.Map)
    found = pycryo.reconstruct(particles)
    assert pycryo.fsc(found.map, reference)[1:10].min() > 0.99
    images = pycryo.project(found.map, np.eye(3)[None])
    assert images.shape == (1, 32, 32)
    # Seen along z; the projector leaves out what lies beyond |k| = Nyquist.
    assert np.corrcoef(images.ravel(), found.map.data.sum(0).ravel())[0, 1] > 0.998
    assert np.asarray(reference, np.float64).dtype == np.float64


def test_ctf():
    k = np.array([0, 5], np.int32)
    values = pycryo.ctf(
        k,
        k,
        frequency_step=1 / 96,
        defocus_u=1e4,
        defocus_v=1e4,
        defocus_angle=0,
        voltage=300,
        spherical_aberration=2.7,
        amplitude_contrast=0.1,
    )
    assert values.shape == (1, 2)
    assert values[0, 0] == pytest.approx(0.1, abs=1e-6)
