"""STAR files: several tables, each a loop or a list of pairs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.atomic import atomic_path
from pycryo.io.table import FIELD, Table, make_table

if TYPE_CHECKING:
    import pandas as pd

# A line that begins a table, a loop or names a column. A row may begin with `data_` too: then it has more values.
_MARK = re.compile(rb"\n[ \t]*(?:data_(\S*)[ \t]*(?:#[^\n]*)?(?=\n)|(loop_)[ \t]*(?:#[^\n]*)?(?=\n)|_(\S+)([^\n]*))")
# A value, by the quotes that may still enclose one in the rest of a line.
_QUOTED = {b'"': rb'"(.*?)"(?=[ \t]|$)', b"'": rb"'(.*?)'(?=[ \t]|$)"}
_TOKENS = {
    quotes: re.compile(rb"[ \t]*(?:" + b"|".join([*(_QUOTED[bytes([q])] for q in quotes), rb"(\#.*)", rb"([^ \t]+))"]))
    for quotes in (b"\"'", b'"', b"'", b"")
}
_NEEDS_TOKENS = re.compile(rb"""[ \t\n]["'#]""")
_CONTENT = re.compile(rb"\n[ \t]*[^\s#]")
_NEEDS_QUOTES = re.compile(rb"""^$|^["'#]|[ \t]""")
_NEEDS_QUOTES_FIRST = re.compile(rb"\n[ \t]*(?:_|data_|loop_)")
_ADDED = re.compile(r"#\d+$")  # to the name of a second table of that name
_CONTROLS_TO_BLANKS = bytes(32 if code < 32 and code not in (9, 10) else code for code in range(256))
_CHUNK = 1 << 20


def read_tables(path: str | os.PathLike[str]) -> dict[str, Table | dict[str, str]]:
    """Read a STAR file without converting the loops.

    Returns
    -------
    dict
        By the table's name without ``data_``, in the order of the file: loops as `Table`, lists of pairs as dict of
        text. A second table of the same name, or in the same data block, has ``#2`` added to its name.

    Raises
    ------
    InputError
        If the file cannot be read or is not STAR; names file and line.
    """
    path = Path(path)
    data = _read(path)
    tables: dict[str, Table | dict[str, str]] = {}
    counts: dict[str, int] = {}  # of the tables that have a name
    for name, table in _blocks(path, data):
        unique = name
        while unique in tables:
            counts[name] = counts.get(name, 1) + 1
            unique = f"{name}#{counts[name]}"
        tables[unique] = table
    if not tables:
        raise InputError(f"{path} holds no table; give a STAR file")
    return tables


def read_star(path: str | os.PathLike[str]) -> dict[str, pd.DataFrame | dict[str, str]]:
    """Read a STAR file; loops as DataFrames of text, lists of pairs as dicts of text (see `read_tables`)."""
    tables = read_tables(path)
    return {name: table.frame() if isinstance(table, Table) else table for name, table in tables.items()}


def read_comments(path: str | os.PathLike[str]) -> list[str]:
    """Comment lines, without ``#``, at the head of a STAR file (before its first table)."""
    comments = []
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            text = line.strip()
            if text and not text.startswith("#"):
                break
            if text:
                comments.append(text[1:].strip())
    return comments


def write_star(
    path: str | os.PathLike[str],
    tables: Mapping[str, Table | pd.DataFrame | Mapping[str, object]],
    *,
    comments: Sequence[str] = (),
    version: int | None = 30001,
) -> None:
    """Write a STAR file as RELION does, atomically.

    Parameters
    ----------
    path : path
        The file.
    tables : mapping of str to Table, DataFrame or dict
        By the table's name without ``data_``. A dict of single values becomes a list of pairs. Numbers get RELION's
        formats, text stays as it is and is quoted where needed.
    comments : sequence of str
        Lines for the head of the file.
    version : int or None
        What each table says of its version; 30001 is RELION 3.1 and later, None (nothing) is older.

    Raises
    ------
    InputError
        If a text cannot be written in a STAR file, or the file cannot be written.
    """
    parts = [b"".join(f"# {line}\n".encode("utf-8", "surrogateescape") for line in comments)]
    for name, table in tables.items():
        mark = "" if version is None else f"# version {version}\n\n"
        parts.append(f"\n{mark}data_{_ADDED.sub('', name)}\n\n".encode())
        if isinstance(table, Table):
            parts.extend(_loop_parts(table))
        elif isinstance(table, Mapping):
            single = make_table({label: np.array([value]) for label, value in table.items()}, f"data_{name}")
            parts.extend(_pair_lines(single))
        else:
            parts.extend(_loop_parts(make_table({str(c): table[c].to_numpy() for c in table.columns}, f"data_{name}")))
        parts.append(b" \n")
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.writelines(parts)


def _read(path: Path) -> bytearray:
    """The text with a newline at both ends and no control characters but newlines and tabs."""
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            data = bytearray(size + 2)
            count = 0
            while count < size and (step := file.readinto(memoryview(data)[1 + count : 1 + size])):
                count += step
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    data[0] = data[1 + count] = ord("\n")
    del data[2 + count :]
    if data[1:4] == b"\xef\xbb\xbf":
        data[1:4] = b"   "
    if b"\0" in data:
        raise InputError(f"{path} is not a text file; give a STAR file")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data.translate(_CONTROLS_TO_BLANKS) if _has_controls(data) else data


def _has_controls(data: bytearray) -> bool:
    text = np.frombuffer(data, np.uint8)
    for begin in range(0, len(text), _CHUNK):  # a chunk stays in the cache
        part = text[begin : begin + _CHUNK]
        if np.count_nonzero(part < 32) > np.count_nonzero(part == 10) + np.count_nonzero(part == 9):
            return True
    return False


def _line_number(data: bytearray, position: int) -> int:
    """Line of the file at which the character after a newline at `position` stands."""
    return data.count(b"\n", 0, position) + 1


def _blocks(path: Path, data: bytearray) -> Iterator[tuple[str, Table | dict[str, str]]]:
    """Tables of the file, in order."""
    name: str | None = None
    labels: dict[str, None] | None = None  # of a loop whose rows have not begun
    pairs: dict[str, str] | None = None
    begin = 0  # where the text since the last mark begins

    def finished(end: int) -> Iterator[tuple[str, Table | dict[str, str]]]:
        if labels is not None:
            yield name or "", _loop(path, name or "", tuple(labels), data, begin, end)
        elif (stray := _content(data, begin, end)) is not None:
            line = _line_number(data, stray)
            raise InputError(f"{path}, line {line}: this line belongs to no table; check that the file is STAR")
        if pairs is not None:
            yield name or "", pairs

    for mark in _MARK.finditer(data):
        block, loop, label, rest = mark.groups()
        if block is not None:
            yield from finished(mark.start())
            name, labels, pairs = _name(block), None, None
        elif name is None:
            line = _line_number(data, mark.start())
            raise InputError(f"{path}, line {line}: no data_ line stands before this; check that the file is STAR")
        elif loop is not None:
            yield from finished(mark.start())
            labels, pairs = {}, None
        elif labels is not None and _content(data, begin, mark.start()) is None:
            text = _name(label)
            if text in labels:
                line = _line_number(data, mark.start())
                raise InputError(f"{path}, line {line}: column {text} occurs twice in data_{name}; remove one")
            labels[text] = None
        else:
            if labels is not None or _content(data, begin, mark.start()) is not None:
                yield from finished(mark.start())
                labels = None
            pairs = {} if pairs is None else pairs
            tokens = _tokens(rest)
            if len(tokens) > 1:
                line = _line_number(data, mark.start())
                raise InputError(f"{path}, line {line}: more than one value follows _{_name(label)}; quote it")
            pairs[_name(label)] = (tokens or [b""])[0].decode("utf-8", "surrogateescape")
        begin = mark.end()
    yield from finished(len(data))


def _name(text: bytes | bytearray) -> str:
    """A label as str; unlike values, labels must be UTF-8 for pandas."""
    return text.decode("utf-8", "backslashreplace")


def _content(data: bytearray, begin: int, end: int) -> int | None:
    """Where the first line that is neither blank nor a comment begins; `begin` is at the newline before a line."""
    match = _CONTENT.search(data, begin, end)
    return match.start() if match else None


def _tokens(line: bytes | bytearray) -> list[bytes]:
    """Values of a line; quotes end before a blank, comments begin after one."""
    line = line.strip(b" \t")
    found: list[bytes] = []
    quotes, begin = b"\"'", 0
    while begin < len(line):
        for match in _TOKENS[quotes].finditer(line, begin):
            *quoted, comment, plain = match.groups()
            if comment is not None:
                return found
            found.append(plain if plain is not None else next(text for text in quoted if text is not None))
            begin = match.end()
            if plain is not None and plain[:1] in quotes and quotes:
                # No quote of this kind ends in the rest either: nobody looks for it at each of them.
                quotes = quotes.replace(plain[:1], b"")
                break
    return found


def _loop(path: Path, name: str, labels: tuple[str, ...], data: bytearray, begin: int, end: int) -> Table:
    """The loop whose rows are data[begin:end]."""
    where = f"{path}, table data_{name}"
    if not labels:
        line = _line_number(data, begin)
        raise InputError(f"{path}, line {line}: no column names follow loop_; check that the file is whole")
    begin, end = _trimmed(data, begin, end)
    if begin == end:
        return Table(labels, b"", 0, None, where)
    has_special = any(data.find(char, begin, end) >= 0 for char in (b'"', b"'", b"#"))
    separator = FIELD if has_special and _NEEDS_TOKENS.search(data, begin - 1, end) else None
    counts = _count_values(data, begin, end)
    if separator or not counts.all():
        lines = bytes(memoryview(data)[begin:end]).split(b"\n")
        for row, text in enumerate(lines):
            tokens = _tokens(text)
            counts[row], lines[row] = len(tokens), FIELD.join(tokens) + b"\n" if tokens else b""
        table = Table(labels, b"".join(lines), int(np.count_nonzero(counts)), FIELD, where)
    else:
        table = Table(labels, bytes(memoryview(data)[begin : end + 1]), len(counts), None, where)
    wrong = np.flatnonzero((counts != len(labels)) & (counts > 0))
    if wrong.size:
        line = _line_number(data, begin - 1) + int(wrong[0])
        raise InputError(
            f"{path}, line {line}: {counts[wrong[0]]} values for the {len(labels)} columns of data_{name}; "
            f"correct the line, or copy the file again if it is cut off"
        )
    return table


def _trimmed(data: bytearray, begin: int, end: int) -> tuple[int, int]:
    """The range without blank and comment lines at its ends; `begin` at a line's start, `end` at a newline."""
    while begin < end:
        next_line = data.find(b"\n", begin, end)
        line = data[begin : next_line if next_line >= 0 else end].strip()
        if line and not line.startswith(b"#"):
            break
        begin = next_line + 1 if next_line >= 0 else end
    while begin < end:
        last_line = data.rfind(b"\n", begin, end) + 1 or begin
        line = data[last_line:end].strip()
        if line and not line.startswith(b"#"):
            break
        end = max(begin, last_line - 1)
    return begin, end


def _count_values(data: bytearray, begin: int, end: int) -> NDArray[np.int64]:
    """Values in each line of data[begin:end], which begins after a newline and ends before one."""
    text = np.frombuffer(data, np.uint8)
    found = []
    while begin <= end:
        stop = data.find(b"\n", min(begin + _CHUNK, end), end + 1)
        blank = text[begin - 1 : stop + 1] <= 32
        starts = np.flatnonzero(blank[:-1] > blank[1:])
        newlines = np.flatnonzero(text[begin : stop + 1] == 10)
        found.append(np.diff(np.searchsorted(starts, newlines), prepend=0))
        begin = stop + 1
    return np.concatenate(found)


def _quoted(value: bytes, *, is_first: bool, where: str) -> bytes:
    """The value as it stands in a file, quoted where needed."""
    if not _NEEDS_QUOTES.search(value) and not (is_first and _NEEDS_QUOTES_FIRST.match(b"\n" + value)):
        return value
    for quote in (b'"', b"'"):
        if not re.search(quote + rb"[ \t]", value):
            return quote + value + quote
    raise InputError(f"{where}: a STAR file cannot hold both kinds of quotes in {value.decode(errors='replace')!r}")


def _loop_parts(table: Table) -> Iterator[bytes]:
    yield b"loop_ \n"
    yield "".join(f"_{label} #{i} \n" for i, label in enumerate(table.columns, 1)).encode("utf-8", "surrogateescape")
    if table.separator is None and not _NEEDS_QUOTES_FIRST.search(b"\n" + table.body):
        yield table.body
        return
    for line in table.body.split(b"\n")[: table.n]:
        values = line.split(table.separator)
        yield b" ".join(_quoted(v, is_first=i == 0, where=table.where) for i, v in enumerate(values)) + b" \n"


def _pair_lines(single: Table) -> Iterator[bytes]:
    values = single.body[:-1].split(single.separator) if single.n else []
    for label, value in zip(single.columns, values, strict=True):
        text = _quoted(value, is_first=False, where=single.where)
        yield f"_{label:<40} ".encode("utf-8", "surrogateescape") + text + b"\n"
