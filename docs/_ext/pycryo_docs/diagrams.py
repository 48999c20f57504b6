"""```` ```mermaid ```` fences as SVG in the page, for light and dark, drawn at the build: no script is loaded."""

import hashlib
import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# Furo's classes -> what is put before the source.
THEMES = {"only-light": "", "only-dark": '%%{init: {"theme": "dark"}}%%\n'}


# Of the natural size; narrower pages scroll.
SMALLEST = 0.5


def drawn(source: str) -> str:
    """A diagram as SVG with an id of its own."""
    import mmdr  # only where it draws: at the end of a process whose garbage is frozen it complains

    svg: str = mmdr.render(source).svg()
    (natural,) = re.findall(r"max-width:\s*([\d.]+)px", svg)[:1]
    svg = svg.replace("max-width:", f"min-width:{SMALLEST * float(natural):.0f}px;max-width:", 1)
    name = "diagram-" + hashlib.sha1(source.encode()).hexdigest()[:12]
    return svg.replace("#merman", f"#{name}").replace('"merman', f'"{name}')


class Mermaid(SphinxDirective):
    """The content of the fence, drawn."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        source = "\n".join(self.content)
        both = [f'<div class="diagram {name}">{drawn(theme + source)}</div>' for name, theme in THEMES.items()]
        return [nodes.raw("", "\n".join(both), format="html")]


def setup(app: Sphinx) -> None:
    app.add_directive("mermaid", Mermaid)
