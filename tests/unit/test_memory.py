"""How Python looks after memory."""

import gc
import os
import subprocess
import sys

import pytest

from pycryo.memory import without_collections


@pytest.mark.parametrize("is_enabled", [True, False])
def test_collections_are_left_out_and_then_as_before(is_enabled):
    def fail():
        with without_collections():
            assert not gc.isenabled()
            raise KeyError

    before = gc.isenabled()
    try:
        (gc.enable if is_enabled else gc.disable)()
        with pytest.raises(KeyError):
            fail()
        assert gc.isenabled() == is_enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_what_is_there_is_left_out_for_good():
    code = (
        "import gc; from pycryo.memory import without_collections\n"
        "with without_collections(): pass\n"
        "print(gc.get_freeze_count())\n"
        "with without_collections(for_good=True): made = [[] for _ in range(5000)]\n"
        "print(gc.get_freeze_count() > 5000, gc.isenabled(), len(gc.get_objects()) < 5000)"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert told == "0\nTrue True True\n"


@pytest.mark.parametrize(
    "command, given, expected",
    [("info", (), ["1", "0"]), ("bench", (), [None, None]), ("info", ("2", "1"), ["2", "1"])],
)
def test_commands_set_what_numpy_does_with_memory_and_threads(command, given, expected):
    """Before NumPy is imported; what the user has set stays, and benchmarks measure NumPy as it is."""
    names = "OPENBLAS_NUM_THREADS", "NUMPY_MADVISE_HUGEPAGE"
    code = (
        "import contextlib, io, os, sys; from pycryo.cli.main import main\n"
        "assert 'numpy' not in sys.modules\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    main(['{command}', '--help'])\n"
        f"print([os.environ.get(name) for name in {names}])"
    )
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= dict(zip(names, given, strict=False))
    told = [sys.executable, "-c", code]
    found = subprocess.run(told, check=True, capture_output=True, text=True, env=environment).stdout
    assert found == f"{expected}\n"


def test_freed_memory_is_kept():
    """Arrays of 8 MiB, four at a time, take new pages once, not in each of ten rounds; in a process of its own."""
    code = (
        "import resource, sys, numpy as np; from pycryo.memory import keep_freed_memory\n"
        "if sys.argv[1] == 'keep' and not keep_freed_memory(): print(-1); sys.exit()\n"
        "def work():\n    [np.ones(1 << 20) for _ in range(4)]\n"
        "work(); work()\n"
        "begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(10): work()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin)"
    )
    told = [sys.executable, "-c", code, "keep"]
    faults = int(subprocess.run(told, check=True, capture_output=True, text=True).stdout)
    if faults < 0:
        pytest.skip("this C library takes no advice")
    # One round has 8192 pages of 4 KiB.
    assert faults < 1000
