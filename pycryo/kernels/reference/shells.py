"""Float64 twin of `pycryo.kernels.shells`."""

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
    """Parameters as in `pycryo.kernels.shells.image_shells`."""
    pairs = zip(a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1], strict=True)
    return np.array([_sums(*pair, shell, n_shell) for pair in pairs]).reshape(len(a), n_shell, 3)


def volume_shells(a: NDArray[np.floating], b: NDArray[np.floating], n_shell: int) -> NDArray[np.float64]:
    """As the kernel's, but `a` and `b` are the real (N, N, N) volumes: full transforms are summed."""
    return _sums(np.fft.fftn(a), np.fft.fftn(b), _shell(len(a)), n_shell)


def layer_shells(a: NDArray[np.floating], b: NDArray[np.floating], n_shell: int) -> NDArray[np.float64]:
    """As `pycryo.kernels.shells.layer_shells` of all layers, but of real volumes."""
    box = len(a)
    half = np.arange(box // 2 + 1)
    alone = half[2 * half % box == 0]  # their mates are in the half volume, too
    layers = list(zip(np.fft.fftn(a), np.fft.fftn(b), _shell(box), strict=True))
    both, single = (
        np.array([_sums(x[:, kx], y[:, kx], shell[:, kx], n_shell) for x, y, shell in layers]) for kx in (half, alone)
    )
    return np.asarray(2 * both - single)


def _shell(box: int) -> NDArray[np.int64]:
    k = np.fft.fftfreq(box, 1 / box)
    return np.asarray(np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2)), np.int64)
