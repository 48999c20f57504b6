"""Formulas as SVG in the page, drawn at the build with STIX Two Math: no script and no font is loaded."""

import re
from functools import cache

import ziamath
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

log = logging.getLogger(__name__)

# px of an em. The letters of STIX are smaller than those of the text.
EM, SCALE = 16, 1.1
ziamath.config.math.color = "currentColor"
ziamath.config.precision = 2


@cache
def drawn(tex: str, *, is_inline: bool) -> str:
    """A formula as SVG, its size and depth below the line in em.

    Raises
    ------
    ValueError
        If a part of it is not understood.
    """
    try:
        unknown = re.findall(r"\\\w+", convert(tex))
        svg = ziamath.Latex(tex, size=SCALE * EM, inline=is_inline, title=tex).svg()
    except Exception as error:  # of many kinds, assertions among them
        raise ValueError(f"{type(error).__name__} {error}") from error
    if unknown:
        raise ValueError(", ".join(unknown))
    _, top, width, height = map(float, re.search(r'viewBox="(\S+) (\S+) (\S+) (\S+)"', svg).groups())
    style = f"width:{width / EM:.3f}em;height:{height / EM:.3f}em"
    if is_inline:
        style += f";vertical-align:{-(top + height) / EM:.3f}em"
    return re.sub(r'width="\S+" height="\S+"', f'class="formula" role="img" style="{style}"', svg, count=1)


def put(writer: HTML5Translator, node: nodes.Element, *, is_inline: bool) -> None:
    """Write a formula; one that is not understood is a warning, and stands as it is."""
    try:
        writer.body.append(drawn(node.astext(), is_inline=is_inline))
    except ValueError as error:
        log.warning("a formula is not understood: %s", error, location=node, type="math")
        writer.body.append(f"<code>{writer.encode(node.astext())}</code>")


def inline(writer: HTML5Translator, node: nodes.math) -> None:
    put(writer, node, is_inline=True)
    raise nodes.SkipNode


def block(writer: HTML5Translator, node: nodes.math_block) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="math"))
    put(writer, node, is_inline=False)
    writer.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("svg", (inline, None), (block, None))
