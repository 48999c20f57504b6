"""pytest in a process that leaves without cleaning up, for the session `tsan` of noxfile.py.

With ThreadSanitizer's runtime from GCC and OpenMP's from LLVM the process crashes at its end; the tests are done then.
"""

import os
import sys

import pytest

if __name__ == "__main__":
    code = int(pytest.main(sys.argv[1:]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
