"""Float64 twin of `pycryo.shells`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def _sums(
    a: NDArray[np.complexfloating], b: NDArray[np.complexfloating], shell: NDArray[np.integer], n_shell: int
) -> NDArray[np.float64]:
    keep = shell < n_shell
    a, b, shell = a[keep].astype(np.complex128), b[keep].astype(np.complex128), shell[keep]
    terms = ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)
    return np.stack([np.bincount(shell, term, n_shell) for term in terms], axis=1)


def image_shells(
    a: NDArray[np.floating], b: NDArray[np.floating], shell: NDArray[np.integer], n_shell: int
) -> NDArray[np.float64]:
    """Parameters as in `pycryo.shells.image_shells`."""
    pairs = zip(a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1], strict=True)
    return np.array([_sums(*pair, shell, n_shell) for pair in pairs]).reshape(len(a), n_shell, 3)


def volume_shells(a: NDArray[np.floating], b: NDArray[np.floating], n_shell: int) -> NDArray[np.float64]:
    """As `pycryo.shells.volume_shells`, but `a` and `b` are the real (N, N, N) volumes: full transforms are summed."""
    k = np.fft.fftfreq(len(a), 1 / len(a))
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)).astype(int)
    return _sums(np.fft.fftn(a), np.fft.fftn(b), shell, n_shell)
