"""How much memory and cache this machine has for a process, and how Python looks after it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
def without_collections() -> Iterator[None]:
    """Look for no unreachable cycles of objects meanwhile: for imports and the like, which make much that stays."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
