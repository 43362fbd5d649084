"""Whether anything is tracked here: off by a block, or for the process by a variable."""

from __future__ import annotations

import contextlib
import contextvars
import os
from collections.abc import Iterator

from modelversion.errors import InvalidValueError

VARIABLE = "MODELVERSION_MODE"

_DISABLED: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "modelversion_disabled", default=False
)


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """Track nothing in the body: tracked functions just run, `log_*` do nothing."""
    token = _DISABLED.set(True)
    try:
        yield
    finally:
        _DISABLED.reset(token)


def is_disabled() -> bool:
    """Tell whether tracking is off, by `disabled` or by `$MODELVERSION_MODE`.

    Raises:
        InvalidValueError: The variable is neither `on` nor `off`.
    """
    mode = os.environ.get(VARIABLE, "on") or "on"
    if mode not in ("on", "off"):
        raise InvalidValueError(f"{VARIABLE} must be 'on' or 'off', found {mode!r:.80}")
    return mode == "off" or _DISABLED.get()
