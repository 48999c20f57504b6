"""The notebooks of docs/notebooks: valid, without outputs, on public names alone; executed, they run through and say
the same twice (slow)."""

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pycryo

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MODULES = {"pycryo", "numpy", "scipy", "matplotlib", "pathlib", "tempfile"}
# Folders whose functions are public.
PARTS = {"kernels", "filter"}
MOST_SECONDS = 20.0


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code(notebook):
    """Text of its cells of code."""
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} == {"particles_to_map", "operators", "observer", "particle_filter"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_are_valid_and_have_no_outputs(path):
    notebook = read(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    names = [cell["id"] for cell in notebook["cells"]]
    assert len(set(names)) == len(names)
    for cell in notebook["cells"]:
        wanted = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            wanted |= {"execution_count", "outputs"}
            assert (cell["execution_count"], cell["outputs"]) == (None, [])
        assert cell.keys() == wanted
    first = notebook["cells"][0]
    assert first["cell_type"] == "markdown"
    assert first["source"][0].startswith("# ")
    assert path.name in (FOLDER / "index.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_need_public_names_alone(path):
    """No module of pycryo is imported, and each name that is asked of pycryo is public."""
    tree = ast.parse("\n".join(code(read(path))))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name == "pycryo" or not alias.name.startswith("pycryo")
                assert alias.name.split(".")[0] in MODULES
        elif isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] in MODULES - {"pycryo"}
        elif isinstance(node, ast.Attribute) and not node.attr.startswith("__"):
            assert not node.attr.startswith("_")
            owner = ast.unparse(node.value)
            if owner == "pycryo":
                assert node.attr in {*pycryo.__all__, *PARTS}
            elif owner in ("kernels", "pycryo.kernels"):
                assert hasattr(pycryo.kernels, node.attr)
            elif owner == "pycryo.filter":
                assert hasattr(pycryo.filter, node.attr)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run_and_say_the_same_twice(path, tmp_path):
    """In a Jupyter kernel, as in a browser; each takes at most 20 s of processor time."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    told = []
    for _ in range(2):
        notebook = nbformat.read(path, as_version=4)
        began = os.times()
        nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
        ended = os.times()
        used = ended.children_user + ended.children_system - began.children_user - began.children_system
        assert used < MOST_SECONDS
        texts = []
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                assert output["output_type"] != "error"
                data = output.get("data", {})
                texts.append(output.get("text") or data.get("text/html") or data.get("text/plain"))
                texts.append(data.get("image/png"))
        told.append(texts)
    assert any(each for each in told[0])
    assert told[0] == told[1]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run_without_jupyter(path, tmp_path):
    """The same cells as a script."""
    script = tmp_path / "script.py"
    script.write_text("\n".join(code(read(path))), encoding="utf-8")
    began = time.monotonic()
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    subprocess.run([sys.executable, script], check=True, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    assert time.monotonic() - began < 10 * MOST_SECONDS
