"""``pycryo bench``: the microbenchmarks of the package."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from pycryo.bench import add_options, run_cases
from pycryo.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the sub-command."""
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help="kernels to measure (default: all)")
    parser.add_argument("--list", action="store_true", help="print the names of the benchmarks and stop")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the sub-command; returns the exit code."""
    package = find_package()
    names = bench_names(package)
    if args.list:
        print("\n".join(names))
        return 0
    unknown = sorted(set(args.kernels) - set(names))
    if unknown:
        raise InputError(f"no benchmark for {', '.join(unknown)}: there are {', '.join(names)}")
    chosen = [name for name in names if not args.kernels or name in args.kernels]
    return run_cases([importlib.import_module(f"{package.__name__}.bench_{name}").cases for name in chosen], args)


def find_package() -> ModuleType:
    """The package `pycryo_bench` where it is installed, else the folder ``bench`` of the source tree.

    Raises
    ------
    InputError
        If there is neither.
    """
    if importlib.util.find_spec("pycryo_bench") is not None:
        return importlib.import_module("pycryo_bench")
    folder = Path(__file__).resolve().parents[2] / "bench"
    spec = importlib.util.spec_from_file_location(
        "pycryo_bench", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None or not (folder / "__init__.py").is_file():
        raise InputError("the benchmarks are not installed: install pycryo anew or run from its source tree")
    package = importlib.util.module_from_spec(spec)
    sys.modules["pycryo_bench"] = package
    spec.loader.exec_module(package)
    return package


def bench_names(package: ModuleType) -> list[str]:
    """Names <k> of the modules bench_<k>, sorted."""
    prefix = "bench_"
    return sorted(
        m.name.removeprefix(prefix) for m in pkgutil.iter_modules(package.__path__) if m.name.startswith(prefix)
    )
