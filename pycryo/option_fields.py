"""Options given from Python: each field has the type that its annotation says, or is an `InputError`."""

from __future__ import annotations

import dataclasses
import os
import types
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pycryo.arguments import described, flag, scalar, whole_number
from pycryo.errors import InputError


def check_types(options: Any) -> None:
    """Bring the fields of a frozen dataclass of options to their types; called before values are looked at.

    Whole numbers of any kind do for an int, numbers of any kind for a float; a path does for a str. Values of a Literal
    need only be text: which ones there are is told by the class.

    Parameters
    ----------
    options : dataclass
        Its fields are bool, int, float, str, a Literal, another class, a tuple, or one of these or None.

    Raises
    ------
    InputError
        Names the field, what is expected and what came.
    """
    for name, (kind, takes_none) in _kinds(options.__class__).items():
        value = getattr(options, name)
        if not (value is None and takes_none):
            object.__setattr__(options, name, _converted(name, value, kind))


def choose(kind: type[Any], function: str, given: dict[str, Any]) -> Any:
    """Options of `kind` from the keywords that a function got.

    Raises
    ------
    InputError
        If there is no such option.
    """
    known = [each.name for each in dataclasses.fields(kind)]
    if unknown := set(given) - set(known):
        raise InputError(f"{function} has no option {', '.join(sorted(unknown))}: use {', '.join(known)}")
    return kind(**given)


def given_or_default(kind: type[Any], value: Any) -> Any:
    """The argument ``options`` of a function; `kind()` for None.

    Raises
    ------
    InputError
        If it is no `kind`.
    """
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise InputError(f"options: expected {kind.__name__}, got {described(value)}")
    return value


@cache
def _kinds(options: Any) -> dict[str, tuple[Any, bool]]:
    """The type of each field, and whether None will do."""
    found = {}
    for name, hint in get_type_hints(options).items():
        parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        (kind,) = (part for part in parts if part is not type(None))
        found[name] = (get_origin(kind) or kind, len(parts) > 1)
    return found


def _converted(name: str, value: Any, kind: Any) -> Any:
    if kind is int:
        return whole_number(name, value, -(2**62))
    if kind is float:
        found = float(scalar(name, value, "a number"))  # the class knows which, and whether NaN is one
        return value if type(value) in (int, float) else found
    if kind is bool:
        return flag(name, value)
    if kind is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    if not isinstance(value, str if kind is Literal else kind):
        raise InputError(f"{name}: expected {_words(kind)}, got {described(value)}")
    return value


def _words(kind: Any) -> str:
    return "text" if kind in (str, Literal) else f"a {kind.__name__}"
