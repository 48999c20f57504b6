"""```` ```mermaid ```` fences as SVG in the page, for light and dark, drawn at the build: no script is loaded."""

import hashlib

import mmdr
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# Ours -> Mermaid's.
THEMES = {"only-light": "default", "only-dark": "dark"}


def drawn(source: str, theme: str) -> str:
    """A diagram as SVG with an id of its own."""
    svg: str = mmdr.render(source, theme=theme).svg()
    name = "diagram-" + hashlib.sha1(f"{theme}{source}".encode()).hexdigest()[:12]
    return svg.replace("#merman", f"#{name}").replace('"merman', f'"{name}')


class Mermaid(SphinxDirective):
    """The content of the fence, drawn."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        source = "\n".join(self.content)
        both = [f'<div class="diagram {name}">{drawn(source, theme)}</div>' for name, theme in THEMES.items()]
        return [nodes.raw("", "\n".join(both), format="html")]


def setup(app: Sphinx) -> None:
    app.add_directive("mermaid", Mermaid)
