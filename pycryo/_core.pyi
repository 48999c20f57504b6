# Bindings check their arguments themselves; the typed functions are pycryo.<kernel>.
from typing import Any

kernels: tuple[str, ...]

def isa() -> str: ...
def __getattr__(name: str) -> Any: ...
