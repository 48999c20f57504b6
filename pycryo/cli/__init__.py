"""The command line: `main` reads it and imports the module of ``commands`` that it asks for.

Doors: `main`, and what commands share: `session`, `logs`, `ranks`, `option_arguments`.
"""
