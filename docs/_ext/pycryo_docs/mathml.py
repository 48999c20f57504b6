"""Formulas as MathML, which browsers draw by themselves: no script is loaded."""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

log = logging.getLogger(__name__)


def put(writer: HTML5Translator, node: nodes.Element, *, as_block: bool) -> None:
    """Write a formula; one that cannot be read is a warning, and stands as it is."""
    try:
        writer.body.append(tex2mathml(node.astext(), as_block=as_block))
    except MathError as error:
        log.warning("a formula cannot be read: %s", error, location=node, type="math")
        writer.body.append(f"<code>{writer.encode(node.astext())}</code>")
    raise nodes.SkipNode


def inline(writer: HTML5Translator, node: nodes.math) -> None:
    put(writer, node, as_block=False)


def block(writer: HTML5Translator, node: nodes.math_block) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="math"))
    try:
        put(writer, node, as_block=True)
    finally:
        writer.body.append("</div>\n")


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
