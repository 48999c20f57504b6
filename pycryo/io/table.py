"""One loop of a STAR file: rows kept as the text of the file, columns converted when asked for."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.errors import InputError
from pycryo.threads import get_threads

if TYPE_CHECKING:
    import pandas as pd

FIELD = b"\x1f"  # stands between values that may be empty or contain blanks
_CHUNK_BYTES = 4 << 20  # parsed at a time; measured to be faster than all at once, also on one thread
# Loops up to this size are read without pandas, whose import takes longer.
_SMALL_BYTES = 1 << 20
# A number that pandas reads as Python does: it scales the digits by a power of ten, which is exact up to 15 digits and
# 10²². The second kind is that of `format_values`.
_PLAIN = re.compile(rb"[+-]?(?:(?=[\d.]{1,16}$)(?:\d{1,15}(?:\.\d{0,14})?|\.\d{1,14})|\d\.\d{6}e[+-](?:0\d|1[0-5]))")
_NEEDS_FIELD = re.compile(rb"""^$|^["'#]|[ \t]""")
_FORBIDDEN = re.compile(rb"[\n\r\v\f\0\x1f]")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A loop of a STAR file.

    The rows stay in the text of the file: a table of a million particles costs its size on disc, and columns that
    nobody asks for are written back to the letter.

    Attributes
    ----------
    columns : tuple of str
        Labels without the leading underscore.
    body : bytes
        One row a line, each ended by a newline.
    n : int
        Rows.
    separator : bytes or None
        None: values are separated by blanks, and none is quoted. Otherwise `FIELD`.
    where : str
        File and table, for messages.
    """

    columns: tuple[str, ...]
    body: bytes
    n: int
    separator: bytes | None = None
    where: str = "table"

    def __len__(self) -> int:
        return self.n

    def values(self, numbers: Sequence[str] = (), texts: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
        """Convert columns, all in one pass over the text.

        Parameters
        ----------
        numbers : sequence of str
            Columns wanted as float64 (n,).
        texts : sequence of str
            Columns wanted as object arrays (n,) of str; none of them in `numbers`.

        Raises
        ------
        InputError
            If a column is missing or a value of `numbers` is not a number; names table, row and column.
        """
        for name in (*numbers, *texts):
            if name not in self.columns:
                raise InputError(f"{self.where} has no column {name}; add it")
        try:
            return self._parse(numbers, texts)
        except ValueError:  # pandas names neither row nor column
            found = self._parse((), (*numbers, *texts))
            return {name: self._floats(name, found[name]) if name in numbers else found[name] for name in found}

    def frame(self) -> pd.DataFrame:
        """All columns as text in a DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.values(texts=self.columns), columns=list(self.columns), dtype=object)

    def with_columns(
        self,
        values: Mapping[str, ArrayLike],
        *,
        drop: Collection[str] = (),
        rows: NDArray[np.integer[Any]] | None = None,
    ) -> Table:
        """Make a table with columns replaced (in their place), added (at the end) or dropped.

        Parameters
        ----------
        values : mapping of str to (m,) arrays
            Numbers get RELION's formats, text stays as it is.
        drop : collection of str
            Columns to leave out, unless they are in `values`.
        rows : (m,) ints, optional
            Rows to take, in this order; all by default.
        """
        lines = self.body.split(b"\n")[: self.n]
        if rows is not None:
            lines = [lines[row] for row in np.asarray(rows).tolist()]
        arrays = {name: np.asarray(column) for name, column in values.items()}
        for name, array in arrays.items():
            if array.shape != (len(lines),):
                raise ValueError(f"{name}: expected shape ({len(lines)},), got {array.shape}")
        places = {name: i for i, name in enumerate(self.columns) if name in values or name not in drop}
        places |= {name: len(self.columns) + i for i, name in enumerate(arrays)}
        if not arrays and len(places) == len(self.columns):
            made = lines
            separator = self.separator
        else:
            new = [format_values(array) for array in arrays.values()]
            is_text = [array.dtype.kind not in "biuf" for array in arrays.values()]
            odd = any(text and any(map(_NEEDS_FIELD.search, column)) for text, column in zip(is_text, new, strict=True))
            separator = FIELD if odd else self.separator
            if separator:
                new = [c if text else [v.strip() for v in c] for text, c in zip(is_text, new, strict=True)]
            made = _join_rows(lines, self.separator, new, list(places.values()), separator or b" ")
        body = b"\n".join(made) + b"\n" if made else b""
        return Table(tuple(places), body, len(made), separator, self.where)

    def _parse(self, numbers: Sequence[str], texts: Sequence[str]) -> dict[str, NDArray[Any]]:
        types = {name: np.dtype(np.float64) for name in numbers} | {name: np.dtype(object) for name in texts}
        if not types or not self.n:
            return {name: np.empty(self.n, dtype) for name, dtype in types.items()}
        places = {name: self.columns.index(name) for name in types}
        if len(self.body) <= _SMALL_BYTES and (found := self._parse_small(places, numbers)) is not None:
            return found
        import pandas as pd

        # pandas drops a byte order mark even if it is part of the first value.
        if self.separator or self.body.startswith(codecs.BOM_UTF8):
            rows = [line.split(self.separator) for line in self.body.split(b"\n")[: self.n]]
            texts_of = {name: [row[i].decode("utf-8", "surrogateescape") for row in rows] for name, i in places.items()}
            return {name: np.array(column, object).astype(types[name]) for name, column in texts_of.items()}

        def parse(begin: int, end: int) -> pd.DataFrame:
            return pd.read_csv(
                io.BytesIO(self.body[begin:end]),
                sep=r"\s+",
                header=None,
                usecols=sorted(places.values()),
                dtype={places[name]: dtype for name, dtype in types.items()},
                na_filter=False,
                quoting=csv.QUOTE_NONE,
                low_memory=False,
                encoding_errors="surrogateescape",
                engine="c",
            )

        cuts = [0]
        while cuts[-1] < len(self.body):
            cuts.append(self.body.find(b"\n", cuts[-1] + _CHUNK_BYTES) + 1 or len(self.body))
        if len(cuts) == 2:
            frames = [parse(0, len(self.body))]
        else:
            with ThreadPoolExecutor(min(get_threads(), 8)) as pool:
                frames = list(pool.map(parse, cuts[:-1], cuts[1:]))
        return {name: np.concatenate([f[place].to_numpy() for f in frames]) for name, place in places.items()}

    def _parse_small(self, places: Mapping[str, int], numbers: Collection[str]) -> dict[str, NDArray[Any]] | None:
        """Columns at `places`; None if pandas might read a number in another way than Python does."""
        if self.separator:
            return None
        rows = [line.split() for line in self.body.split(b"\n")[: self.n]]
        found: dict[str, NDArray[Any]] = {}
        for name, place in places.items():
            column = [row[place] for row in rows]
            if name not in numbers:
                found[name] = np.array([text.decode("utf-8", "surrogateescape") for text in column], object)
            elif all(map(_PLAIN.fullmatch, column)):
                found[name] = np.array([float(text) for text in column])
            else:
                return None
        return found

    def _floats(self, name: str, texts: NDArray[Any]) -> NDArray[np.float64]:
        numbers = np.empty(len(texts))
        for row, text in enumerate(texts):
            try:
                numbers[row] = float(text)
            except ValueError:
                raise InputError(f"{self.where}, row {row + 1}: {name} is {text!r}, not a number; correct it") from None
        return numbers


def make_table(columns: Mapping[str, ArrayLike], where: str = "table") -> Table:
    """Make a table from columns of equal length; formats as in `Table.with_columns`."""
    n = len(np.asarray(next(iter(columns.values())))) if columns else 0
    return Table((), b"\n" * n, n, None, where).with_columns(columns)


def format_values(values: NDArray[Any]) -> list[bytes]:
    """Format a column as RELION does: %12d, %12.6f, or %12.6e where six decimals would lose digits; text as it is."""
    if values.dtype.kind in "biu":
        return [b"%12d" % value for value in values.tolist()]
    if values.dtype.kind == "f":
        size = np.abs(values)
        fixed = ~((size > 0) & (size < 1e-3) | (size >= 1e6))
        if fixed.all():
            return [b"%12.6f" % value for value in values.tolist()]
        pairs = zip(values.tolist(), fixed.tolist(), strict=True)
        return [b"%12.6f" % value if plain else b"%12.6e" % value for value, plain in pairs]
    texts = [str(value).encode("utf-8", "surrogateescape") for value in values.tolist()]
    for text in texts:
        if _FORBIDDEN.search(text):
            raise InputError(
                f"a STAR file cannot hold the value {text!r}; remove its line breaks and control characters"
            )
    return texts


def _join_rows(
    lines: Sequence[bytes], separator: bytes | None, new: Sequence[Sequence[bytes]], places: Sequence[int], joint: bytes
) -> list[bytes]:
    """Split each line, append the new values, and join the values at `places`."""
    added: Iterable[tuple[bytes, ...]] = zip(*new, strict=True) if new else [()] * len(lines)
    if len(places) < 2:
        return [
            b"".join([(*line.split(separator), *more)[i] for i in places])
            for line, more in zip(lines, added, strict=True)
        ]
    take = itemgetter(*places)
    return [joint.join(take((*line.split(separator), *more))) for line, more in zip(lines, added, strict=True)]


def check_finite(where: str, label: str, values: NDArray[np.float64]) -> None:
    """Raise InputError, naming the row, if a value of a column is not finite."""
    if np.any(bad := ~np.isfinite(values)):
        raise InputError(f"{where}, row {int(np.argmax(bad)) + 1}: {label} is not finite; correct or remove the row")


def whole_numbers(where: str, values: NDArray[np.float64], label: str) -> NDArray[np.int32]:
    """A column as int32; raises InputError, naming the row, if a value is no whole number from 0."""
    if np.any(bad := ~((values >= 0) & (values < 2**31) & (values == np.floor(values)))):
        row = int(np.argmax(bad))
        raise InputError(f"{where}, row {row + 1}: {label} is {values[row]:g}, not a whole number from 0; correct it")
    return values.astype(np.int32)
