"""Whether anything is tracked here: off by a block, by a variable, or since rank 0 does it."""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import warnings
from collections.abc import Iterator

from modelversion import current
from modelversion.errors import InvalidValueError, NothingRecordedWarning

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
    """Tell whether tracking is off: by `disabled`, by `$MODELVERSION_MODE`, or by our rank.

    Raises:
        InvalidValueError: The variable is neither `on` nor `off`.
    """
    mode = os.environ.get(VARIABLE, "on") or "on"
    if mode not in ("on", "off"):
        raise InvalidValueError(f"{VARIABLE} must be 'on' or 'off', found {mode!r:.80}")
    return mode == "off" or _DISABLED.get() or rank() > 0


def rank() -> int:
    """Give this process's rank in torch's distributed training, 0 where there is none.

    torchrun tells it by variables before the process group is made.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    given = os.environ.get("RANK", "0") if "TORCHELASTIC_RUN_ID" in os.environ else "0"
    return int(given) if given.isdecimal() else 0


def warn_of_rank(model: str) -> None:
    """Say that another process of a distributed training makes the version."""
    if rank() > 0:
        warnings.warn(
            f"this is rank {rank()} of a distributed training: rank 0 commits {model!r}, and "
            "nothing is recorded here",
            NothingRecordedWarning,
            stacklevel=current.user_level(),
        )
