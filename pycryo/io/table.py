"""One loop of a STAR file: rows kept as the text of the file, columns converted when asked for."""

from __future__ import annotations

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

FIELD = b"\x1f"  # between values that may be empty or contain blanks
_CHUNK_BYTES = 4 << 20  # measured: larger chunks leave the cache, smaller ones pay pandas' start-up
_SPECIAL = re.compile(rb"""^$|^["'#]|[ \t]""")
_SPECIAL_FIRST = re.compile(rb"^(?:_|data_|loop_)")
_FORBIDDEN = re.compile(rb"[\n\r\v\f\0\x1f]")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A loop of a STAR file.

    The rows stay in the text of the file, so that a table of a million particles costs its size on disc and columns
    that nobody asks for are written back to the letter.

    Attributes
    ----------
    columns : tuple of str
        Labels without the leading underscore.
    body : bytes
        One row a line, each ended by a newline.
    n : int
        Rows.
    separator : bytes or None
        None: values are separated by blanks and need no quotes. Otherwise `FIELD`.
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
        """Convert columns in one pass.

        Parameters
        ----------
        numbers : sequence of str
            Columns wanted as float64 (n,).
        texts : sequence of str
            Columns wanted as text: object arrays (n,) of str.

        Raises
        ------
        InputError
            If a value of `numbers` is not a number; names table, row and column.
        """
        try:
            return self._parse(numbers, texts)
        except ValueError:
            found = self._parse((), [*numbers, *texts])
        return {name: self._to_numbers(name, found[name]) if name in numbers else found[name] for name in found}

    def frame(self) -> pd.DataFrame:
        """All columns as text in a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.values(texts=self.columns), columns=list(self.columns), dtype=object)

    def with_columns(
        self, values: Mapping[str, ArrayLike], *, drop: Collection[str] = (), rows: NDArray[np.integer[Any]] | None = None
    ) -> Table:
        """A table with columns replaced (in their place), added (at the end) or dropped.

        Parameters
        ----------
        values : mapping of str to (len(rows),) arrays
            Floats and integers get RELION's formats, text stays as it is.
        drop : collection of str
            Columns to leave out.
        rows : (m,) ints, optional
            Rows to take, in this order; all by default.
        """
        lines = self.body.splitlines()
        if rows is not None:
            lines = [lines[row] for row in rows.tolist()]
        if not values and not drop:
            return Table(self.columns, b"".join([line + b"\n" for line in lines]), len(lines), self.separator, self.where)
        new = {name: format_values(column) for name, column in values.items()}
        for name, column in new.items():
            if len(column) != len(lines):
                raise ValueError(f"{name}: expected {len(lines)} values, got {len(column)}")
        old = {name: i for i, name in enumerate(self.columns) if name not in drop}
        place = {name: len(self.columns) + i for i, name in enumerate(new)}
        order = {**old, **place}
        kept = tuple(self.separator is None and not self._special(order, new) and order.values() or order.values())
        separator = FIELD if self.separator or self._special(order, new) else None
        if separator:
            new = {name: [value.strip() for value in column] for name, column in new.items()}
        take = itemgetter(*kept) if len(kept) > 1 else lambda row: (row[kept[0]],)
        join = (separator or b" ").join
        added: Iterable[tuple[bytes, ...]] = zip(*new.values(), strict=True) if new else [()] * len(lines)
        made = [join(take((*line.split(self.separator), *extra))) for line, extra in zip(lines, added, strict=True)]
        return Table(tuple(order), b"".join([line + b"\n" for line in made]), len(made), separator, self.where)
