"""``.. options:: pycryo.RefineOptions``: each field of a dataclass of options, as its metadata tell."""

import dataclasses
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Literal, get_args, get_origin, get_type_hints

from sphinx.application import Sphinx

from pycryo_docs.restructured import TextDirective, indented, plain


def said(field: "dataclasses.Field[Any]") -> str:
    """What a field means; the help of a switch that is on by default is that of its ``--no-`` flag."""
    text = str(field.metadata["help"])
    return f"False: {text}" if field.default is True else text


def kind(hint: Any) -> str:
    """A type as it is told: `'slab' | 'sharded' | None`."""
    if get_origin(hint) is Literal:
        return " | ".join(map(repr, get_args(hint)))
    return " | ".join(map(kind, get_args(hint))) or ("None" if hint is type(None) else hint.__name__)


class Options(TextDirective):
    """Type, default and meaning of each field, by groups."""

    def text(self) -> Iterator[str]:
        module, _, name = self.arguments[0].rpartition(".")
        chosen = getattr(import_module(module), name)
        fields, hints = dataclasses.fields(chosen), get_type_hints(chosen)
        yield from (f".. py:currentmodule:: {module}", "")
        group = ""
        for field in fields:
            if field.metadata.get("group", "") != group:
                group = field.metadata["group"]
                yield from (f".. rubric:: {group}", "")
            yield from (f".. py:attribute:: {name}.{field.name}", f"   :type: {kind(hints[field.name])}")
            yield from (f"   :value: {field.default!r}", "", indented(plain(said(field))), "")


def setup(app: Sphinx) -> None:
    app.add_directive("options", Options)
