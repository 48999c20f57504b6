"""How much memory and cache this machine has for a process, and how Python looks after it."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# mallopt's numbers, and bytes: arrays of batches come from the heap; its end is given back beyond two.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_HEAP_ARRAY = 32 << 20


def keep_freed_memory() -> bool:
    """Let the C library keep some freed memory for the next arrays instead of giving it back; whether it could be told.

    By itself glibc gives back the arrays of each batch, and the system clears new pages for the next: two thirds of all
    pages of a short command.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _HEAP_ARRAY) and mallopt(_TRIM_THRESHOLD, 2 * _HEAP_ARRAY))


def memory() -> tuple[int, int] | None:
    """Bytes available and in all, within the limit of the control group; None where the system does not tell."""
    sizes = {}
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            sizes[name] = int(value.split()[0]) * 1024
        available, total = sizes["MemAvailable"], sizes["MemTotal"]
    except (OSError, ValueError, KeyError, IndexError):
        return None
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return available, total
    return min(available, max(0, limit - used)), min(total, limit)


def core_cache() -> int:
    """Bytes of a core's own cache of the second level; 1 MiB where the system does not tell."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text().strip()
        return int(text.removesuffix("K")) << 10
    except (OSError, ValueError):
        return 1 << 20


@contextmanager
def without_collections(*, for_good: bool = False) -> Iterator[None]:
    """Look for no unreachable cycles of objects meanwhile: for imports and the like, which make much that stays.

    With `for_good` all objects that are there at the end are left out of later searches, too: for commands only, whose
    process has nothing but pycryo's own.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if for_good:
            gc.freeze()
        if was_enabled:
            gc.enable()
