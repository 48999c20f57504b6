"""Relative links that lead out of docs/: to a page that includes the file, or to a page that shows the source file.

So a page has the same links on GitHub, on the site, and on the site without network.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).resolve().parents[3]
# Files outside of docs/ that a page includes.
INCLUDED = {
    "README.md": "index",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "bench/README.md": "measuring",
}


class FileLinks(SphinxTransform):
    """Links of Markdown pages to files, before Sphinx makes downloads of them."""

    default_priority = 5

    def apply(self, **_: Any) -> None:
        links = [*self.document.findall(addnodes.download_reference), *self.document.findall(addnodes.pending_xref)]
        for link in links:
            if link.get("reftype") == "myst" and (new := self.led(link)) is not None:
                new += link.children
                link.replace_self(new)

    def led(self, link: nodes.Element) -> nodes.Element | None:
        """The link anew; None if it may stay."""
        path, _, heading = link["reftarget"].partition("#")
        heading = heading or link.get("reftargetid") or ""
        if link.get("refdomain") == "doc":
            if path in self.env.found_docs:
                return None
            path += ".md"  # MyST has taken it for a page
        if not path:
            return None
        target = self.file(link, path)
        if target is None:
            return None
        name = target.relative_to(ROOT).as_posix()
        page = INCLUDED.get(name) or self.env.path2doc(str(target))
        if page in self.env.found_docs:
            return addnodes.pending_xref(
                "", refdoc=self.env.docname, refdomain="doc", reftype="myst", refexplicit=True, reftarget=page,
                reftargetid=heading or None,
            )  # fmt: skip
        if target.is_dir():
            return nodes.inline("")
        if b"\0" in target.read_bytes():
            return None  # no text: Sphinx makes a download of it
        sources(self.env).setdefault(self.env.docname, set()).add(name)
        return addnodes.pending_xref("", refdoc=self.env.docname, refdomain="", reftype="source", reftarget=name)

    def file(self, link: nodes.Element, path: str) -> Path | None:
        """The file of the tree that a link leads to: from the file that it is written in, or from the page."""
        folders = (Path(origin(link) or self.document["source"]).parent, self.env.doc2path(self.env.docname).parent)
        places = ((folder / path).resolve() for folder in folders)
        return next((each for each in places if each.exists() and each.is_relative_to(ROOT)), None)


def origin(node: nodes.Node | None) -> str | None:
    """The file that a node was written in; an included one has its own."""
    while node is not None:
        if getattr(node, "source", None):
            return str(node.source)
        node = node.parent
    return None


def sources(env: BuildEnvironment) -> dict[str, set[str]]:
    """Files that each page leads to."""
    if not hasattr(env, "pycryo_sources"):
        env.pycryo_sources = {}  # type: ignore[attr-defined]
    found: dict[str, set[str]] = env.pycryo_sources  # type: ignore[attr-defined]
    return found


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """A page that is read anew, or is gone."""
    sources(env).pop(docname, None)


def resolve(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.Node) -> nodes.Node | None:
    """The link to a page of a source file."""
    if node["reftype"] != "source":
        return None
    uri = app.builder.get_relative_uri(node["refdoc"], f"source/{node['reftarget']}")
    return nodes.reference("", "", *node.children, internal=True, refuri=uri)


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each source file that another page leads to."""
    highlight = app.builder.highlighter.highlight_block  # type: ignore[attr-defined]
    languages = {".py": "python", ".cpp": "cpp", ".hpp": "cpp", ".md": "markdown", ".sh": "bash", ".cmake": "cmake"}
    for name in sorted(set().union(*sources(app.env).values())):
        text = (ROOT / name).read_text(encoding="utf-8")
        try:
            shown = highlight(text, languages.get(Path(name).suffix, "text"), linenos=False)
        except ClassNotFound:
            shown = highlight(text, "text", linenos=False)
        yield f"source/{name}", {"title": name, "body": f"<h1>{name}</h1>{shown}"}, "page.html"


def setup(app: Sphinx) -> None:
    app.add_transform(FileLinks)
    app.connect("env-purge-doc", forget)
    app.connect("missing-reference", resolve)
    app.connect("html-collect-pages", source_pages)
