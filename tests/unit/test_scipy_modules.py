"""Compiled modules of SciPy without their packages."""

import subprocess
import sys

import pytest

from pycryo.scipy_modules import load_compiled


def test_a_module_is_loaded_once():
    module = load_compiled("scipy.ndimage._nd_image")
    assert module is load_compiled("scipy.ndimage._nd_image") is sys.modules["scipy.ndimage._nd_image"]


def test_threads_load_it_once():
    code = (
        "from concurrent.futures import ThreadPoolExecutor; from pycryo.scipy_modules import load_compiled\n"
        "with ThreadPoolExecutor(8) as pool: found = set(pool.map(load_compiled, ['scipy.ndimage._ni_label'] * 8))\n"
        "assert len(found) == 1 and None not in found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["scipy.ndimage._no_such", "scipy.no_such._module"])
def test_none_where_there_is_no_such_module(name):
    assert load_compiled(name) is None
    assert name not in sys.modules
