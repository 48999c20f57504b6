"""Options of the local resolution."""

from __future__ import annotations

from dataclasses import dataclass

from pycryo.errors import InputError
from pycryo.option_fields import check_types

# An FSC of 0.143 is within the scatter of a window's FSC, 0.1 to 0.3: limits at 0.5 scatter by up to half as much.
THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How `local_resolution` looks.

    Attributes
    ----------
    window : float, optional
        Diameter of the window at half height, Å. Default: 25 Å, and 4 times the resolution of the whole at least;
        doubled where it is less than 1.5 times the resolution of the place.
    step : float, optional
        Between windows, Å. Default: a quarter of `window`.
    threshold : float
        Of the FSC.
    seed : int
        Of the random phases of the whole maps' FSC.

    Raises
    ------
    InputError
        If a value is out of range.

    Examples
    --------
    >>> pycryo.LocalOptions(window=30.0).threshold
    0.5
    >>> pycryo.LocalOptions(threshold=2)
    Traceback (most recent call last):
        ...
    pycryo.errors.InputError: --threshold must be between 0 and 1, not 2
    """

    window: float | None = None
    step: float | None = None
    threshold: float = THRESHOLD
    seed: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("window", "step"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"--{name} must be a positive number of Å, not {value:g}")
        if not 0 < self.threshold < 1:
            raise InputError(f"--threshold must be between 0 and 1, not {self.threshold:g}")
        if self.seed < 0:
            raise InputError(f"--seed must be 0 or more, not {self.seed}")
