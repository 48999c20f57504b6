"""``pycryo bench``: the microbenchmarks of the package."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from pycryo.benchmark.script import add_options, run_cases
from pycryo.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the sub-command."""
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help="kernels to measure (default: all)")
    parser.add_argument("--list", action="store_true", help="print the names of the benchmarks and stop")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the sub-command; returns the exit code."""
    package = find_package()
    modules = bench_modules(package)
    if args.list:
        print("\n".join(modules))
        return 0
    unknown = sorted(set(args.kernels) - set(modules))
    if unknown:
        raise InputError(f"no benchmark for {', '.join(unknown)}: there are {', '.join(modules)}")
    chosen = [module for name, module in modules.items() if not args.kernels or name in args.kernels]
    return run_cases([importlib.import_module(module).cases for module in chosen], args)


def find_package() -> ModuleType:
    """The package `pycryo_bench` where it is installed, else the folder ``bench`` of the source tree.

    Raises
    ------
    InputError
        If there is neither.
    """
    if importlib.util.find_spec("pycryo_bench") is not None:
        return importlib.import_module("pycryo_bench")
    folder = Path(__file__).resolve().parents[3] / "bench"
    spec = importlib.util.spec_from_file_location(
        "pycryo_bench", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None or not (folder / "__init__.py").is_file():
        raise InputError("the benchmarks are not installed: install pycryo anew or run from its source tree")
    package = importlib.util.module_from_spec(spec)
    sys.modules["pycryo_bench"] = package
    spec.loader.exec_module(package)
    return package


def bench_modules(package: ModuleType) -> dict[str, str]:
    """Name <k> -> full name of the modules bench_<k> in all folders of the benchmarks, sorted by <k>."""
    found = {}
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        name = module.name.rpartition(".")[2]
        if name.startswith("bench_"):
            found[name.removeprefix("bench_")] = module.name
    return dict(sorted(found.items()))
