"""pytest in a process that leaves without cleaning up, for the session `tsan` of noxfile.py.

ThreadSanitizer's and OpenMP's runtimes, one from GCC and one from LLVM, crash each other when both end.
"""

import os
import sys

import pytest

if __name__ == "__main__":
    code = int(pytest.main(sys.argv[1:]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
