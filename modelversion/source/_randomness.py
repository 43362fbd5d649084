"""What the random generators were at when the code started; nothing here draws from them."""

from __future__ import annotations

import hashlib
import sys
from typing import Any


def random_states() -> dict[str, Any]:
    """Give the state of the global generators of what is imported: a seed, or a digest.

    Two runs with one digest drew the same numbers from there on; which seed led there cannot be
    told, except for torch, which remembers it. Generators that code makes for itself, and those
    of a GPU, are not seen.
    """
    found = {name: read() for name, read in _READERS.items() if name in sys.modules}
    return {name: state for name, state in found.items() if state is not None}


def _python() -> str | None:
    get_state = _function("random", "getstate")
    return None if get_state is None else _digest(repr(get_state()).encode())


def _numpy() -> str | None:
    get_state = _function("numpy.random", "get_state")
    if get_state is None:
        return None  # it is being imported
    name, keys, *rest = get_state()
    return _digest(repr((name, *(float(part) for part in rest))).encode() + keys.tobytes())


def _torch() -> dict[str, int] | None:
    initial_seed = _function("torch", "initial_seed")
    return None if initial_seed is None else {"seed": int(initial_seed())}


def _function(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()[:16]}"


_READERS = {"random": _python, "numpy.random": _numpy, "torch": _torch}
