"""``python -m pycryo``: the command line."""

import sys

from pycryo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
