"""Check what a wheel and a source distribution contain: check_packages.py FILE...

A wheel has the package, its typed stubs, the example data, the texts of all licenses and, where it is for manylinux,
the libraries that it bundles; nothing else. A source distribution has what a build and the tests need, nothing that is
built.
"""

import re
import sys
import tarfile
import zipfile
from pathlib import Path

MODULES = (
    "pycryo/_core",
    "pycryo/filter/_points",
    "pycryo/filter/_sampling",
    "pycryo/filter/_weights",
    "pycryo/geometry/_turns",
    "pycryo/io/_pixels",
    "pycryo/kernels/_samples",
    "pycryo/refinement/data/_background",
    "pycryo/refinement/expectation/_families",
)
LICENSES = {
    "LICENSE",
    "examples/betagal/LICENSE-mrcfile.txt",
    "examples/betagal/SOURCES.md",
    "licenses/GCC-exception-3.1.txt",
    "licenses/GPL-3.0.txt",
    "licenses/README.md",
}
EXAMPLE = "pycryo/examples/betagal"
EXAMPLES = {f"{EXAMPLE}/{name}" for name in ("particles.mrcs", "particles.star", "reference_40A.mrc", "SOURCES.md")}
# Each file of a wheel has one of these forms; {} is the dist-info's stem.
IN_WHEEL = (
    r"pycryo/.+\.pyi?",
    r"pycryo_bench/.+\.py",
    r"pycryo/py\.typed",
    r"pycryo/report/[\w.]+\.(j2|js)",
    r"pycryo/examples/betagal/[\w.-]+\.(mrcs|mrc|star|md|txt)",
    r"pycryo/(\w+/)*_\w+\.cpython-[\w-]+\.so",
    r"pycryo\.libs/libgomp-[\w.-]+\.so[\d.]*",
    r"{}\.dist-info/(METADATA|WHEEL|RECORD|entry_points\.txt|top_level\.txt|licenses/.+)",
    r"{}\.dist-info/sboms/auditwheel\.cdx\.json",
)
IN_SDIST = (
    ".ci/check_demo.py",
    "PKG-INFO",
    "CHANGELOG.md",
    "CITATION.cff",
    "CMakeLists.txt",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "bench/kernels/bench_ctf.py",
    "cmake/PycryoKernels.cmake",
    "csrc/kernels/ctf.cpp",
    "docs/architecture.md",
    "examples/betagal/particles.mrcs",
    "examples/observer.py",
    "noxfile.py",
    "pycryo/_version.py",
    "pycryo/filter/_weights.pyx",
    "pyproject.toml",
    "setup.py",
    "tests/conftest.py",
    "tests/mpi/conftest.py",
    "tests/unit/test_architecture.py",
)
NOT_IN_SDIST = r".*\.(so|py[cod]|o)$|(\.(?!ci/)|build/|dist/|demo_run/).*|.*/__pycache__/.*"


def wheel_faults(path: Path) -> list[str]:
    """What a wheel lacks, and what it should not have."""
    names = {name for name in zipfile.ZipFile(path).namelist() if not name.endswith("/")}
    stem = "-".join(path.name.split("-")[:2])
    forms = [re.compile(form.format(re.escape(stem)) if "{}" in form else form) for form in IN_WHEEL]
    wanted = EXAMPLES | {f"{stem}.dist-info/licenses/{name}" for name in LICENSES} | {"pycryo/py.typed"}
    wanted |= {f"{module}.pyi" for module in MODULES} | {"pycryo/_version.py"}
    faults = [f"lacks {name}" for name in sorted(wanted - names)]
    for module in MODULES:
        if len([name for name in names if re.fullmatch(re.escape(module) + r"\.cpython-[\w-]+\.so", name)]) != 1:
            faults.append(f"lacks {module}")
    if "manylinux" in path.name and not any(name.startswith("pycryo.libs/libgomp-") for name in names):
        faults.append("lacks libgomp")
    strays = [name for name in names if not any(form.fullmatch(name) for form in forms)]
    return faults + [f"has {name}" for name in sorted(strays)]


def sdist_faults(path: Path) -> list[str]:
    """What a source distribution lacks, and what it should not have."""
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    faults = [f"lacks {name}" for name in sorted({*IN_SDIST, *LICENSES} - names)]
    return faults + [f"has {name}" for name in sorted(names) if re.fullmatch(NOT_IN_SDIST, name)]


def main() -> int:
    wrong = 0
    for path in map(Path, sys.argv[1:]):
        faults = wheel_faults(path) if path.suffix == ".whl" else sdist_faults(path)
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, " + ("good" if not faults else "wrong"))
        for fault in faults:
            print(f"  it {fault}")
        wrong += len(faults)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
