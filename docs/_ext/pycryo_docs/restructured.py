"""Directives that write reStructuredText, to be used in an ``{eval-rst}`` block."""

import re
from collections.abc import Iterator

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


def plain(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def indented(text: str) -> str:
    """A paragraph below a directive."""
    return f"   {text}"


class TextDirective(SphinxDirective):
    """One whose result is `text`, parsed."""

    required_arguments = 1

    def text(self) -> Iterator[str]:
        """Lines of reStructuredText."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        parent = nodes.Element()
        lines = [line for block in self.text() for line in block.split("\n")]
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), self.content_offset, parent)
        return parent.children
