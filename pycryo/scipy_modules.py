"""Compiled modules of SciPy, loaded without the packages that they are in, whose import takes long.

Nearly all that time goes to array libraries other than NumPy. The functions of such a module take arrays of NumPy as
they are, with no checks.
"""

from __future__ import annotations

import os
import sys
import threading
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Any

# A compiled module can be loaded only once; RLock, for it may import others.
_lock = threading.RLock()


def load_compiled(name: str) -> Any:
    """The module of this full name, ``scipy.package.module``; None where it cannot be had."""
    with _lock:
        if name not in sys.modules:
            scipy = find_spec("scipy")
            places = [] if scipy is None else scipy.submodule_search_locations or []
            found = PathFinder.find_spec(name, [os.path.join(place, *name.split(".")[1:-1]) for place in places])
            if found is None or found.loader is None:
                return None
            module = module_from_spec(found)
            try:
                found.loader.exec_module(module)
            except ImportError:  # it needs more of its package
                return None
            # So that its package, if it is imported later, finds it instead of loading it again.
            sys.modules[name] = module
        return sys.modules[name]
