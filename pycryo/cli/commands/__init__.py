"""One module per sub-command, with ``add_arguments(parser)`` and ``run(args) -> int``; `pycryo.cli.main` lists them."""
