"""What public functions take for an array: anything that says the same, converted; all else is an `InputError`.

Each function here gets the name of an argument and its value, and returns the array that the compiled code works on:
the same one, if it is such an array already.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.errors import InputError

# A matrix of float32 numbers differs from a rotation by so much.
_NO_ROTATION = 1e-4


def numbers(
    name: str,
    value: ArrayLike,
    dtype: type[np.generic],
    shape: Sequence[int | None] | None = None,
    *,
    finite: bool = False,
) -> NDArray[Any]:
    """An array of real numbers, C-contiguous.

    Parameters
    ----------
    name : str
        Of the argument.
    value : array_like
        Numbers of any type that `dtype` can hold: whole ones if it is an integer.
    dtype : type
    shape : sequence of int or None, optional
        What it must be; None stands for any length.
    finite : bool
        NaN and infinity are refused.

    Raises
    ------
    InputError
        With the argument, what is expected and what came.
    """
    given: Any = value
    is_such = type(value) is np.ndarray and given.dtype == dtype and given.flags.c_contiguous
    if is_such and not finite and (shape is None or _fits(given.shape, shape)):
        return np.asarray(value)
    kind = "whole numbers" if issubclass(dtype, np.integer) else "numbers"
    given = array(name, value, kind)
    if given.dtype.kind not in "biuf":
        raise InputError(f"{name}: expected an array of {kind}, got {described(value)}")
    if shape is not None and not _fits(given.shape, shape):
        expected = ", ".join("any" if each is None else str(each) for each in shape) + ("," if len(shape) == 1 else "")
        raise InputError(f"{name}: expected shape ({expected}), got {given.shape}")
    if given.dtype == np.bool_ and dtype is np.uint8:
        given = given.view(np.uint8)
    found = given if given.dtype == dtype else _converted(name, given, dtype)
    if finite and not np.isfinite(found).all():
        raise InputError(f"{name}: expected finite numbers only, got NaN or infinity")
    return found if found.flags.c_contiguous else np.ascontiguousarray(found)


def array(name: str, value: Any, kind: str = "numbers") -> NDArray[Any]:
    """Anything as the array that NumPy makes of it, of any type.

    Parameters
    ----------
    name : str
    value : array_like
    kind : str
        What the message says that is expected an array of.

    Raises
    ------
    InputError
        If NumPy makes none of it, such as of rows of several lengths or a tensor on a GPU, or elements are masked.
    """
    try:
        given = np.asarray(value)
    except Exception as error:  # of whatever type the object's own conversion raises
        raise InputError(f"{name}: expected an array of {kind}, got {described(value)} ({error})") from error
    masked = sys.modules.get("numpy.ma")  # who has a masked array has imported it
    if masked is not None and masked.is_masked(value):
        raise InputError(f"{name}: expected an array without masked elements: fill them, with its method filled")
    return given


def _fits(shape: tuple[int, ...], expected: Sequence[int | None]) -> bool:
    return len(shape) == len(expected) and all(
        want in (None, extent) for want, extent in zip(expected, shape, strict=True)
    )


def _converted(name: str, given: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    with np.errstate(invalid="ignore", over="ignore"):
        found = given.astype(dtype)
    if issubclass(dtype, np.integer) and not np.array_equal(found, given):
        raise InputError(f"{name}: expected whole numbers of {np.dtype(dtype)}, got {given.dtype} with others")
    if issubclass(dtype, np.floating) and given.dtype.kind == "f" and not _same_infinities(found, given):
        raise InputError(f"{name}: expected numbers that {np.dtype(dtype)} can hold, got larger ones")
    return found


def _same_infinities(found: NDArray[Any], given: NDArray[Any]) -> bool:
    return found.dtype.itemsize >= given.dtype.itemsize or bool((np.isinf(found) == np.isinf(given)).all())


def split(name: str, value: ArrayLike) -> NDArray[np.float32]:
    """Fourier samples (..., 2, n) float32, real parts, then imaginary parts; complex ones (..., n) are taken apart.

    Raises
    ------
    InputError
        If they are neither.
    """
    given = array(name, value)
    if given.dtype.kind == "c":
        given = np.stack([given.real, given.imag], axis=-2)
    found = numbers(name, given, np.float32)
    if found.ndim < 2 or found.shape[-2] != 2:
        raise InputError(
            f"{name}: expected shape (..., 2, n) of real and imaginary parts, or complex (..., n), got {found.shape}"
        )
    return found


def matrices(name: str, value: Any, shape: Sequence[int | None]) -> NDArray[np.float64]:
    """Finite matrices (*shape, 3, 3), rotations or not; `scipy.spatial.transform.Rotation` will do.

    Raises
    ------
    InputError
        If they are none.
    """
    given = value.as_matrix() if hasattr(value, "as_matrix") else value
    return numbers(name, given, np.float64, (*shape, 3, 3), finite=True)


def rotations(name: str, value: Any) -> NDArray[np.float64]:
    """Rotation matrices (n, 3, 3); one matrix or `scipy.spatial.transform.Rotation` will do.

    Raises
    ------
    InputError
        If a matrix is no rotation.
    """
    found = numbers(name, value.as_matrix() if hasattr(value, "as_matrix") else value, np.float64)
    if found.shape == (3, 3):
        found = found[None]
    if found.ndim != 3 or found.shape[1:] != (3, 3):
        raise InputError(
            f"{name}: expected rotation matrices (n, 3, 3) or scipy's Rotation, got {described(value)} of shape "
            f"{found.shape}"
        )
    with np.errstate(invalid="ignore", over="ignore"):  # NaN fails the tests
        error = np.abs(found @ found.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2), initial=0)
        bad = ~((error <= _NO_ROTATION) & (np.linalg.det(found) > 0))
    if bad.any():
        place = int(np.argmax(bad))
        raise InputError(f"{name}: expected rotations, got a matrix that is none at {place}: {found[place].tolist()}")
    return found


def cube(name: str, value: Any) -> NDArray[Any]:
    """A density (N, N, N) of finite numbers: float64 stays float64, all else is float32.

    Raises
    ------
    InputError
        If it is none.
    """
    given = array(name, value)
    found = numbers(name, given, np.float64 if given.dtype == np.float64 else np.float32)
    if found.ndim != 3 or len(set(found.shape)) != 1 or not found.size:
        raise InputError(f"{name}: expected a cube (N, N, N), got shape {found.shape}")
    if not np.isfinite(found).all():
        raise InputError(f"{name}: expected finite numbers only, got NaN or infinity")
    return found


def result(name: str, value: Any, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """The array that a result is written into: the user's, or a new one for None.

    Raises
    ------
    InputError
        If the user's has another shape, type or layout, or cannot be written.
    """
    if value is None:
        return np.empty(shape, dtype)
    if not isinstance(value, np.ndarray) or value.dtype != dtype or not value.flags.carray:
        raise InputError(
            f"{name}: expected a C-contiguous, writeable array of {np.dtype(dtype)}, got {described(value)}"
        )
    if value.shape != shape:
        raise InputError(f"{name}: expected shape {shape}, got {value.shape}")
    return value


def number(name: str, value: Any, *, least: float = -np.inf, most: float = np.inf) -> float:
    """One finite number within limits.

    Raises
    ------
    InputError
        If it is none.
    """
    found = float(scalar(name, value, "a number"))
    if not (np.isfinite(found) and least <= found <= most):
        limits = f" from {least:g} to {most:g}" if np.isfinite(most) else f" of at least {least:g}"
        raise InputError(f"{name}: expected a number{limits if np.isfinite(least) else ''}, got {found:g}")
    return found


def positive(name: str, value: Any, unit: str) -> float:
    """One finite number above 0; `unit` is for the message.

    Raises
    ------
    InputError
        If it is none.
    """
    found = float(scalar(name, value, f"a positive number of {unit}"))
    if not 0 < found < np.inf:
        raise InputError(f"{name}: expected a positive number of {unit}, got {found:g}")
    return found


def whole_number(name: str, value: Any, least: int) -> int:
    """One whole number of at least `least`.

    Raises
    ------
    InputError
        If it is none.
    """
    given = scalar(name, value, "a whole number")
    if (given.dtype.kind == "f" and given != np.floor(given)) or not abs(given) < 2.0**63:
        raise InputError(f"{name}: expected a whole number, got {given[()]}")
    if given < least:
        raise InputError(f"{name}: expected at least {least}, got {given[()]}")
    return int(given)


def scalar(name: str, value: Any, kind: str) -> NDArray[Any]:
    """One number, not a bool; `kind` is what the message says that is expected.

    Raises
    ------
    InputError
        If it is none.
    """
    given = array(name, value)
    if given.shape or given.dtype.kind not in "iuf":
        raise InputError(f"{name}: expected {kind}, got {described(value)}")
    return given


def flag(name: str, value: Any) -> bool:
    """True or False.

    Raises
    ------
    InputError
        If it is neither.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name}: expected True or False, got {described(value)}")
    return bool(value)


def path(name: str, value: Any) -> Path:
    """The path of a file or folder.

    Raises
    ------
    InputError
        If it is none.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(f"{name}: expected a path, got {described(value)}")
    return Path(value)


def instance(name: str, value: Any, kind: type | tuple[type, ...], source: str) -> None:
    """Check that an argument is an object of pycryo.

    Parameters
    ----------
    name : str
    value : object
    kind : type, or tuple of them
    source : str
        Where such objects come from, for the message.

    Raises
    ------
    InputError
        If it is none.
    """
    if not isinstance(value, kind):
        names = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise InputError(f"{name}: expected {names} ({source}), got {described(value)}")


def complex_numbers(name: str, value: Any) -> NDArray[Any]:
    """An array of complex numbers, or of real ones.

    Raises
    ------
    InputError
        If it is none.
    """
    given = array(name, value)
    if given.dtype.kind not in "biufc":
        raise InputError(f"{name}: expected an array of complex numbers, got {described(value)}")
    return given


def transform(name: str, value: Any) -> NDArray[np.complexfloating]:
    """Half (N, N, N//2 + 1) of a cube's transform: complex64 stays so, all else is complex128.

    Raises
    ------
    InputError
        If it is none.
    """
    given = complex_numbers(name, value)
    box = given.shape[0] if given.ndim else 0
    if given.shape != (box, box, box // 2 + 1):
        raise InputError(f"{name}: expected shape (N, N, N//2 + 1), got {given.shape}")
    return given.astype(np.complex64 if given.dtype == np.complex64 else np.complex128, copy=False)


def described(value: Any) -> str:
    """A value in few words."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    try:
        text = repr(value)
    except Exception:  # of an object of the user's
        text = ""
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"
