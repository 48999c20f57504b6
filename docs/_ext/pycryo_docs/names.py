"""`name` in docstrings: a link to what the site has under that name, and code if it has nothing.

Classes in the types of parameters become links. What begins with ``pycryo.`` must be there to be imported.
"""

import re
from dataclasses import MISSING, Field
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from numpydoc.xref import DEFAULT_LINKS
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode


def found(name: str) -> Any:
    """The object of a dotted name; None if there is none."""
    parts = name.split(".")
    for n_module in range(len(parts), 0, -1):
        try:
            value: Any = import_module(".".join(parts[:n_module]))
        except ImportError:
            continue
        try:
            for part in parts[n_module:]:
                fields = getattr(value, "__dataclass_fields__", {})
                value = fields[part] if part in fields else getattr(value, part)
        except AttributeError:
            return None
        return value
    return None


def home(env: BuildEnvironment, target: str) -> str | None:
    """The name under which the site has an object: `pycryo.fsc` for ``pycryo.maps.fsc.fsc``."""
    value = found(target)
    places = env.domains.python_domain.objects
    last = target.rpartition(".")[2]
    same = [name for name in places if name.rpartition(".")[2] == last and found(name) is value]
    return min(same, key=len, default=None) if value is not None else None


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, code: nodes.Node) -> nodes.Node | None:
    """A link to an object's public name; code where the site does not have it."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    if not target.startswith("pycryo."):
        same = [name for name in env.domains.python_domain.objects if name.rpartition(".")[2] == target]
        return link(app, env, node, same[0], code) if len(same) == 1 and target[:1].isupper() else code
    if found(target) is None:
        return None
    name = home(env, target)
    return code if name is None else link(app, env, node, name, code)


def link(app: Sphinx, env: BuildEnvironment, node: pending_xref, name: str, code: nodes.Node) -> nodes.Node:
    """A reference to one of the site's objects."""
    place = env.domains.python_domain.objects[name]
    return make_refnode(app.builder, node["refdoc"], place.docname, place.node_id, code, name)


def read_plain(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """In docstrings bars are bars, as in |k|, and the pages that they name become links."""
    for number, line in enumerate(lines):
        parts = re.split(r"(``.*?``|`[^`]*`)", line)
        parts[::2] = [re.sub(r"(?<!\\)\|", r"\|", part) for part in parts[::2]]
        touches = [text[-1:] == "|" for text in parts[:-1:2]]
        parts[1::2] = [rf"\ {code}\ " if bar else code for bar, code in zip(touches, parts[1::2], strict=True)]
        lines[number] = re.sub(r"(?<![`/\w])docs/([\w/]+)\.md", r":doc:`docs/\1.md </\1>`", "".join(parts))


def sign(app: Sphinx, what: str, name: str, obj: Any, options: object, signature: str, result: str) -> Any:
    """Classes that functions return are shown without their constructor, options with a directive without fields."""
    fields = getattr(obj, "__dataclass_fields__", {}).values() if what == "class" else ()
    is_made_by_functions = not name.startswith("pycryo.kernels") and len(fields) > 2 and any(map(is_needed, fields))
    is_told_apart = fields and all("help" in each.metadata for each in fields)
    return ("", None) if is_made_by_functions or is_told_apart else None


def is_needed(field: "Field[Any]") -> bool:
    """Whether a field has no default."""
    return field.default is MISSING and field.default_factory is MISSING


def types(pages: Path) -> dict[str, str]:
    """Of the words in the types of parameters, classes on the pages are links, and nothing else is."""
    classes = re.findall(
        r"auto(?:class|exception):: (\S+)", "".join(each.read_text("utf-8") for each in pages.glob("*.md"))
    )
    return {name: name for name in DEFAULT_LINKS} | {name.rpartition(".")[2]: name for name in classes}


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", read_plain)
    app.connect("autodoc-process-signature", sign)
    app.connect("missing-reference", resolve)
