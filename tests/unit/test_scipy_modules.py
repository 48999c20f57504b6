"""Compiled modules of SciPy without their packages."""

import sys

import pytest

from pycryo.scipy_modules import load_compiled


def test_a_module_is_loaded_once():
    module = load_compiled("scipy.ndimage._nd_image")
    assert module is load_compiled("scipy.ndimage._nd_image") is sys.modules["scipy.ndimage._nd_image"]


@pytest.mark.parametrize("name", ["scipy.ndimage._no_such", "scipy.no_such._module"])
def test_none_where_there_is_no_such_module(name):
    assert load_compiled(name) is None
    assert name not in sys.modules
