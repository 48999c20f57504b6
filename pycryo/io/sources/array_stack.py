"""Images in memory in place of a stack on disc."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class ArrayStack:
    """Images that a program has made or read itself; it stands where the header of a stack does.

    Attributes
    ----------
    images : (n, N, N) float32
    pixel_size : float
        Å.
    path : Path
        What the stack is called when it is written.
    written : dict of Path to stamp
        Files that hold these images, with what `os.stat` said of them.
    """

    images: NDArray[np.float32]
    pixel_size: float
    path: Path
    written: dict[Path, tuple[int, float]] = field(default_factory=dict)

    @property
    def nx(self) -> int:
        """Columns of an image."""
        return int(self.images.shape[2])

    @property
    def nz(self) -> int:
        """Images."""
        return len(self.images)

    @property
    def unsigned_by(self) -> str:
        """As for a file: floats have a sign."""
        return ""

    @property
    def stamp(self) -> tuple[int, float]:
        """Bytes, and a checksum in place of the time of a file's last change."""
        return self.images.nbytes, float(zlib.crc32(np.ascontiguousarray(self.images).data))

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Copies of some images (n,), in that order.

        Raises
        ------
        InputError
            If there are not so many.
        """
        if indices.size and not 0 <= indices.min() <= indices.max() < self.nz:
            raise InputError(f"{self.path} has {self.nz} images in memory; there is no image {int(indices.max()) + 1}")
        return self.images[indices]

    def is_written(self, path: Path) -> bool:
        """Whether a file holds these images, and was not changed since."""
        try:
            found: os.stat_result | Any = os.stat(path)
        except OSError:
            return False
        return self.written.get(path) == (found.st_size, found.st_mtime)

    def note(self, path: Path) -> None:
        """Remember that a file holds these images."""
        found = os.stat(path)
        self.written[path] = found.st_size, found.st_mtime
