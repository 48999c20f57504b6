"""The program that tests the kernels without Python (csrc/self_test): it finds what is wrong, and nothing is."""

import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import kernel_vectors
import numpy as np
import pytest

from pycryo import _core

KERNELS = {*_core.kernels, "tiles"}


@pytest.fixture(scope="module")
def program() -> list[str]:
    """The words of the command: those of PYCRYO_SELF_TEST, or the program of a build with -DPYCRYO_SELF_TEST=ON."""
    if words := os.environ.get("PYCRYO_SELF_TEST"):
        return shlex.split(words)
    found = sorted((Path(__file__).parents[3] / "build").glob("**/pycryo_self_test"))
    if not found:
        pytest.skip("no program of a build with -DPYCRYO_SELF_TEST=ON")
    return [str(found[-1])]


@pytest.fixture(scope="module")
def cases() -> list[kernel_vectors.Case]:
    return kernel_vectors.all_cases()


def run(program, path, isa=""):
    done = subprocess.run([*program, str(path)], capture_output=True, text=True, env=os.environ | {"PYCRYO_ISA": isa})
    *lines, last = done.stdout.splitlines() or [""]
    return done, {line.split()[0]: line.split()[-1] for line in lines if line[0] != " "}, last


def wrong(case):
    """The last number of the last result is off by three tolerances, and by 1e-4 or one at least."""
    name, (values, tolerance) = list(case.results.items())[-1]
    values = np.array(values)
    values.flat[-1] += max(3 * tolerance, 1 if values.dtype.kind == "i" else 1e-4)
    return replace(case, results=case.results | {name: (values, tolerance)})


def test_each_kernel_has_cases_that_can_fail(cases):
    assert {case.kernel for case in cases} == KERNELS
    for case in cases:
        for values, tolerance in case.results.values():
            assert np.all(np.isfinite(values))
            if tolerance and np.any(values):
                assert tolerance < 1e-2 * np.abs(values).max(), (case.function, tolerance)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_all_is_as_expected(isa, program, cases, tmp_path):
    kernel_vectors.write(tmp_path / "vectors", cases)
    done, kernels, last = run(program, tmp_path / "vectors", isa)
    assert done.returncode == 0, done.stdout + done.stderr
    assert kernels == dict.fromkeys(KERNELS, "ok")
    assert last.startswith(f"{len(KERNELS)} of {len(KERNELS)} kernels as expected, instruction set ")


def test_a_wrong_number_is_found(program, cases, tmp_path):
    """In each kernel, and in one alone."""
    last_of = {case.kernel: number for number, case in enumerate(cases)}
    for chosen in (KERNELS, {"shells"}):
        changed = list(cases)
        for kernel in chosen:
            changed[last_of[kernel]] = wrong(cases[last_of[kernel]])
        kernel_vectors.write(tmp_path / "vectors", changed)
        done, kernels, last = run(program, tmp_path / "vectors")
        assert done.returncode == 1
        assert {kernel for kernel, end in kernels.items() if end == "FAILED"} == chosen
        assert last.startswith(f"{len(KERNELS - chosen)} of {len(KERNELS)} kernels as expected")


def test_what_is_missing_is_found(program, cases, tmp_path):
    """Cases of a kernel, the end of the file, arguments, the file."""
    path = tmp_path / "vectors"
    kernel_vectors.write(path, [case for case in cases if case.kernel != "mates"])
    done, kernels, _ = run(program, path)
    assert (done.returncode, kernels["mates"], kernels["ctf"]) == (1, "FAILED", "ok")
    path.write_bytes(path.read_bytes()[:-8])
    assert "ends too early" in run(program, path)[0].stderr
    arguments = {name: value for name, value in cases[0].arguments.items() if name != "kx"}
    kernel_vectors.write(path, [replace(cases[0], arguments=arguments)])
    done = run(program, path)[0]
    assert (done.returncode, done.stderr) == (2, "ctf: the file has no kx\n")
    assert run(program, tmp_path / "none")[0].returncode == 2
