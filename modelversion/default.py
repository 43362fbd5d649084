"""What works on the default registry, which is found when it is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from modelversion.registry import Registry
from modelversion.serializers import Allow
from modelversion.tracking import F, Target, track_as_named
from modelversion.tracking import track as track_into


@overload
def track(model: F, /) -> F: ...


@overload
def track(model: str, /, *, registry: Registry | None = None) -> Callable[[F], F]: ...


def track(model: Any, /, *, registry: Registry | None = None) -> Any:
    """Commit what a function returns as a version, each time it is called.

    Bound arguments become params, frames and arrays are recorded by type, shape and dtypes,
    `modelversion.log_metrics` inside it adds metrics. The function returns what it returns. An
    exception leaves no version.

    Args:
        model: The model's name. Bare `@track` takes the function's name, and refuses names that
            say nothing, such as `train`.
        registry: Where to; by default the default registry, found at each call.

    Raises:
        InvalidNameError: The name is no model name, or says nothing.
        SaveError: At the call, if the commit failed: the result is in `.value`.
    """
    target = _default_target if registry is None else registry._target
    if callable(model):
        return track_as_named(model, target=target)
    return track_into(model, target=target)


def _default_target() -> Target:
    return Registry()._target()


def load(reference: str, *, mmap: bool = False, allow_pickle: Allow | None = None) -> Any:
    """Load the object that a reference names from the default registry; see `Registry.load`."""
    return Registry().load(reference, mmap=mmap, allow_pickle=allow_pickle)
