"""The layout of docs/architecture.md holds: files of a kernel, floors, doors, no circle, one importer of MPI."""

import ast
import importlib
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
    "csrc/self_test/check_{}.cpp",
    "pycryo/kernels/{}.py",
    "pycryo/kernels/reference/{}.py",
    "tests/unit/kernels/test_{}.py",
    "bench/kernels/bench_{}.py",
)
# Floors from the ground up: a module imports from its own floor and below. Names are of `pycryo.<name>`; the folders of
# the refinement are storeys within its floor, its modules beside the folders are on none.
FLOORS = (
    ("_core", "_version"),
    (
        "arguments",
        "display",
        "errors",
        "findings",
        "fourier",
        "memory",
        "neighbours",
        "option_fields",
        "progress",
        "scipy_modules",
        "threads",
        "timer",
        "version",
    ),
    ("geometry", "kernels", "parallel"),
    ("filter", "maps"),
    ("io", "model"),
    ("checks", "postprocessing", "report", "simulation", "benchmark"),
    ("refinement",),
    ("cli", "__main__"),
)
STOREYS = ("data", "expectation", "maximization", "optics", "resources", "files", "start")
# Who may import `pycryo.parallel`: what works on ranks.
USE_MPI = ("parallel", "maps", "io", "model", "postprocessing", "refinement", "cli")
MOST_LINES, MOST_MODULES = 350, 16


def modules() -> dict[str, Path]:
    """Dotted name -> file of each module of the package."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path) -> set[str]:
    """Dotted names of modules that a module imports anywhere in its text, for type checking too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import; write the full name"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES or inner == "pycryo._core" else node.module)
    return found


MODULES = modules()
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}
INNER = sorted(name for name in MODULES if name != "pycryo")
IMPORTS = {name: imports(name, path) for name, path in MODULES.items()}
OURS = {name: {each for each in found if each.split(".")[0] == "pycryo"} for name, found in IMPORTS.items()}


def part(name: str, level: int) -> str:
    """`io` at level 1 and `mrc` at level 2 of `pycryo.io.mrc`; empty where there is none."""
    return [*name.split("."), "", ""][level]


def folder(name: str) -> str:
    """The package that a module is in; a package is in itself."""
    return name if name in PACKAGES else name.rpartition(".")[0]


@pytest.mark.parametrize("kernel", _core.kernels)
def test_kernel_has_all_its_files(kernel):
    missing = [file.format(kernel) for file in KERNEL_FILES if not (ROOT / file.format(kernel)).is_file()]
    assert not missing


def test_no_import_circle():
    """Of modules, those for type checking included: taking away what imports nothing that is left leaves nothing."""
    left = {name: {each for each in found if each in MODULES and each != name} for name, found in OURS.items()}
    while free := [name for name, found in left.items() if not found & left.keys()]:
        for name in free:
            del left[name]
    assert not left


@pytest.mark.parametrize("name", INNER)
def test_imports_point_down(name):
    floor = {each: number for number, floor in enumerate(FLOORS) for each in floor}
    assert part(name, 1) in floor, "a new folder needs a floor"
    # The face, `pycryo` itself, is above all: nobody inside imports it.
    up = [each for each in OURS[name] if each == "pycryo" or floor[part(each, 1)] > floor[part(name, 1)]]
    assert not up
    if part(name, 2) in STOREYS:
        storey = STOREYS.index(part(name, 2))
        inside = [each for each in OURS[name] if part(each, 1) == "refinement" and part(each, 2) in STOREYS]
        assert not [each for each in inside if STOREYS.index(part(each, 2)) > storey]


@pytest.mark.parametrize("name", INNER)
def test_only_parallel_imports_mpi4py(name):
    if part(name, 1) != "parallel":
        assert not [each for each in IMPORTS[name] if each.split(".")[0] == "mpi4py"]
    if part(name, 1) not in USE_MPI:
        assert not [each for each in OURS[name] if part(each, 1) == "parallel"]


@pytest.mark.parametrize("name", [name for name in INNER if part(name, 1) == "parallel"])
def test_parallel_knows_no_cryo_em(name):
    assert {part(each, 1) for each in OURS[name]} <= {"parallel", "errors", "fourier", "neighbours", "threads"}


@pytest.mark.parametrize("package", sorted(PACKAGES - {"pycryo", "pycryo.cli.commands", "pycryo.kernels.reference"}))
def test_folders_are_entered_by_their_doors(package):
    """Others import from the modules that the docstring of a package names, and each of these is there."""
    text = MODULES[package].read_text(encoding="utf-8")
    tree = ast.parse(text)
    docstring = ast.get_docstring(tree)
    assert docstring
    assert len(docstring.splitlines()) <= 5
    if package not in ("pycryo.filter", "pycryo.kernels"):  # whose functions are public
        assert len(tree.body) == 1, "a package says what it is for; what it offers is in its modules"
    doors = set(re.findall(r"`(\w+)`", docstring))
    inside = {name.rpartition(".")[2] for name in INNER if name.rpartition(".")[0] == package}
    assert doors <= inside
    entered = {
        each.rpartition(".")[2]
        for name in INNER
        if not f"{name}.".startswith(f"{package}.")
        for each in OURS[name]
        if folder(each) == package
    }
    assert entered <= doors


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_folders_are_small_and_files_short(package):
    inside = [name for name in INNER if name.rpartition(".")[0] == package and name not in PACKAGES]
    # A list, not a room: one module per sub-command.
    assert len(inside) <= MOST_MODULES or package == "pycryo.cli.commands"
    for name in inside:
        assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= MOST_LINES, name


@pytest.mark.parametrize("name", INNER)
def test_functions_take_few_arguments(name):
    """What belongs together is one dataclass; but kernels and their twins are functions on arrays."""
    long = []
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            taken = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            if len([each for each in taken if each not in ("self", "cls")]) > 9:
                long.append(node.name)
    if part(name, 1) != "kernels":
        assert not long


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_no_name_is_a_module_and_something_else(name):
    """`pycryo.refine` is the function whatever was imported before.

    In `pycryo.kernels` the function takes the place of its module, which is still imported from.
    """
    package = importlib.import_module(name)
    if name == "pycryo.kernels":
        return
    for other in INNER:
        if other.rpartition(".")[0] == name:
            assert getattr(package, other.rpartition(".")[2], None) in (None, importlib.import_module(other))
    if name == "pycryo":
        assert not {other.rpartition(".")[2] for other in INNER if other.count(".") == 1} & set(package.__all__)


def test_lower_folders_mirror_the_package():
    """A test of a folder is in the folder of its name; so is a benchmark."""
    known = {name.removeprefix("pycryo.").replace(".", "/") for name in PACKAGES} | {"bench"}
    for root in (ROOT / "tests" / "unit", ROOT / "bench"):
        found = {str(path.parent.relative_to(root)) for path in root.rglob("*.py")} - {".", "paper"}
        assert found <= known


def test_packages_are_listed_in_pyproject():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^packages = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    others = {
        "pycryo.examples.betagal",
        "pycryo_bench",
        "pycryo_bench.io",
        "pycryo_bench.kernels",
        "pycryo_bench.refinement",
    }
    assert set(re.findall(r'"(.+)"', listed[1])) == PACKAGES | others


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
