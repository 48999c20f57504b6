"""What the site needs beside the extensions of Sphinx: commands, options, diagrams, formulas, links to files, names."""

from sphinx.application import Sphinx

from pycryo_docs import commands, diagrams, formulas, links, names, options


def setup(app: Sphinx) -> dict[str, bool]:
    for each in (commands, diagrams, formulas, links, names, options):
        each.setup(app)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
