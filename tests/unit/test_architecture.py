"""The layout of docs/architecture.md holds: files of a kernel, direction of imports, one importer of MPI."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pycryo import _core
from pycryo.io.example_data import betagal

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pycryo"

KERNEL_FILES = (
    "csrc/include/pycryo/{}.hpp",
    "csrc/kernels/{}.cpp",
    "csrc/core/{}.cpp",
    "csrc/bindings/bind_{}.cpp",
    "pycryo/kernels/{}.py",
    "pycryo/kernels/reference/{}.py",
    "tests/unit/kernels/test_{}.py",
    "bench/kernels/bench_{}.py",
)
# Sub-packages by floor; what is not listed (kernels' Python, geometry, parallel, ...) is on the ground.
FLOORS = {"cli": 3, "refine": 2, "filter": 1, "io": 1, "report": 1, "model": 1}
USE_MPI = ("parallel", "model", "refine", "cli", "io", "fsc", "maps", "masks", "slab_transform")


def modules() -> dict[str, Path]:
    """Dotted name -> file of each module of the package."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path) -> set[str]:
    """Dotted names that a module imports anywhere in its text."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import; write the full name"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def subpackage(name: str) -> str:
    """`io` of `pycryo.io.mrc.read_map`; the module's own name on the ground floor."""
    return [*name.split("."), ""][1]


MODULES = modules()
INNER = [name for name in MODULES if name != "pycryo"]


@pytest.mark.parametrize("kernel", _core.kernels)
def test_kernel_has_all_its_files(kernel):
    missing = [file.format(kernel) for file in KERNEL_FILES if not (ROOT / file.format(kernel)).is_file()]
    assert not missing


@pytest.mark.parametrize("name", INNER)
def test_imports_point_down(name):
    own = FLOORS.get(subpackage(name), 0)
    up = [
        each
        for each in imports(name, MODULES[name])
        if each.startswith("pycryo.") and FLOORS.get(subpackage(each), 0) > own
    ]
    assert not up


@pytest.mark.parametrize("name", INNER)
def test_only_parallel_imports_mpi4py(name):
    used = imports(name, MODULES[name])
    if subpackage(name) != "parallel":
        assert not [each for each in used if each.split(".")[0] == "mpi4py"]
    if subpackage(name) not in USE_MPI:
        assert not [each for each in used if each.startswith("pycryo.parallel")]


@pytest.mark.parametrize("name", [name for name in INNER if subpackage(name) == "parallel"])
def test_parallel_knows_no_cryo_em(name):
    allowed = ("pycryo.parallel", "pycryo.errors", "pycryo.threads")
    assert not [
        each for each in imports(name, MODULES[name]) if each.startswith("pycryo.") and not each.startswith(allowed)
    ]


def test_packages_are_listed_in_pyproject():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^packages = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert set(re.findall(r'"(.+)"', listed[1])) == packages | {
        "pycryo_bench",
        "pycryo_bench.kernels",
        "pycryo_bench.refinement",
        "pycryo.examples.betagal",
    }


def test_objects_of_one_instruction_set_have_no_weak_symbols():
    """A weak symbol could be the AVX-512 copy of a shared function, called on a machine without it."""
    objects = list((ROOT / "build").glob("**/kernels_*.dir/**/*.o"))
    if not objects or shutil.which("nm") is None:
        pytest.skip("no objects of a build, or no nm")
    for path in objects:
        symbols = subprocess.run(["nm", "-C", str(path)], check=True, capture_output=True, text=True).stdout
        weak = [line for line in symbols.splitlines() if line[17:18] in set("WVu")]
        assert not weak, f"{path}: {weak[:5]}"


def test_example_data_are_found():
    assert {"particles.star", "particles.mrcs", "reference_40A.mrc", "SOURCES.md"} <= {
        p.name for p in betagal().iterdir()
    }
