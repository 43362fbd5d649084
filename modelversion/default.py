"""What works on the default registry, which is found when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from modelversion.registry import Registry
    from modelversion.run import Target
    from modelversion.serializers import Allow
    from modelversion.tracking import F


@overload
def track(model: F, /) -> F: ...


@overload
def track(
    model: str,
    /,
    *,
    registry: Registry | None = None,
    ignore: Collection[str] = (),
    returns: str | Collection[str] = (),
    on_error: str = "discard",
    not_secret: Collection[str] = (),
    allow_secrets: bool = False,
) -> Callable[[F], F]: ...


def track(
    model: Any,
    /,
    *,
    registry: Registry | None = None,
    ignore: Collection[str] = (),
    returns: str | Collection[str] = (),
    on_error: str = "discard",
    not_secret: Collection[str] = (),
    allow_secrets: bool = False,
) -> Any:
    """Commit what a function returns as a version, each time it is called.

    Bound arguments become params, frames and arrays are recorded by type, shape and dtypes,
    `modelversion.log_metrics` inside it adds metrics. The function returns what it returns. An
    exception leaves no version. Functions, methods, classmethods, staticmethods, coroutines and
    generators stay what they are; a generator commits when it has ended.

    Args:
        model: The model's name. Bare `@track` takes the function's name, and refuses names that
            say nothing, such as `train`.
        registry: Where to; by default the default registry, found at each call.
        ignore: Names of arguments that are not recorded.
        returns: Names the parts of a returned tuple: `model`, `metrics`, `params`, `data`,
            `artifacts`, and `_` for what is not kept. By default the whole value is the object.
        on_error: `"keep"` commits what was logged before an exception, marked as failed.
        not_secret: Paths such as `params.token_kind` that are not redacted, as
            `version.redactions` gives them.
        allow_secrets: Store objects and artifacts although they hold secrets.

    Raises:
        InvalidNameError: The name is no model name, or says nothing.
        InvalidInputError: An option is not one of those that there are, or `registry` is none.
        SecretError: At the call, if the result holds a secret; it is in `.value`.
        SaveError: At the call, if the commit failed: the result is in `.value`.
    """
    from modelversion.tracking import check_options, track_as_named
    from modelversion.tracking import track as track_into

    target = _default_target if registry is None else _target_in(registry)
    options = check_options(
        ignore, returns, on_error, not_secret=not_secret, allow_secrets=allow_secrets
    )
    if callable(model) or isinstance(model, (classmethod, staticmethod)):
        return track_as_named(model, target=target, options=options)
    return track_into(model, target=target, options=options)


def _default_target() -> Target:
    from modelversion.registry import Registry

    return Registry()._writer.target()


def _target_in(registry: Any) -> Callable[[], Target]:
    from modelversion.errors import InvalidInputError
    from modelversion.registry import Registry

    if not isinstance(registry, Registry):
        # A URL may hold a password, so it is not shown.
        found = f"found a {type(registry).__name__}; open one with modelversion.Registry(...)"
        raise InvalidInputError(f"registry must be a Registry, {found}")
    return registry._writer.target


def load(reference: str, *, mmap: bool = False, allow_pickle: Allow | None = None) -> Any:
    """Load the object that a reference names from the default registry; see `Registry.load`."""
    from modelversion.registry import Registry

    return Registry().load(reference, mmap=mmap, allow_pickle=allow_pickle)
