"""The arguments of a call: bound to their names, and sorted into params and data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modelversion.fingerprints import is_data
from modelversion.metrics import MAX_KEY
from modelversion.params import bound_params, params_of
from modelversion.schema import Json

MAX_ITEMS = 64
_MAX_DEPTH = 3
_NONE: Any = object()


def bind(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Give the object that a method is called on, None for none, and the other arguments."""
    import inspect

    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return None, {}  # the call itself will raise, or there is no signature to read
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    first = next(iter(arguments), None)
    own = arguments.pop(first) if first in ("self", "cls") else None
    return own, arguments


def sort_arguments(arguments: Mapping[str, Any]) -> tuple[Json, dict[str, Any]]:
    """Sort arguments into params, and what is to be described as data.

    Tables, arrays and tensors inside lists, tuples and dicts are data of their own.

    Returns:
        Params as tagged JSON; and by role, such as `df`, `arrays[0]` or `splits.train`, the
        data and whatever is no plain value.
    """
    data: dict[str, Any] = {}
    kept = {name: _without_data(name, value, data, 0) for name, value in arguments.items()}
    params, rest = bound_params({n: value for n, value in kept.items() if value is not _NONE})
    return params, {**data, **rest}


def _without_data(role: str, value: Any, data: dict[str, Any], depth: int) -> Any:
    """Move what is data from a value into `data`; give what is left, `_NONE` if nothing is."""
    if is_data(value):
        data[role] = value
        return _NONE
    if not _holds_data(value, depth):
        return value
    mapped = isinstance(value, dict)
    rest = {
        key: left
        for inner, key, item in named_items(role, value)
        if (left := _without_data(inner, item, data, depth + 1)) is not _NONE
    }
    if not rest:
        return _NONE
    return rest if mapped else list(rest.values())


def _holds_data(value: Any, depth: int) -> bool:
    if depth >= _MAX_DEPTH or not is_container(value):
        return False
    items = value.values() if isinstance(value, dict) else value
    return any(is_data(item) or _holds_data(item, depth + 1) for item in items)


def is_container(value: Any) -> bool:
    """Tell whether a value is a list, tuple or dict of few enough items to go through."""
    return isinstance(value, (list, tuple, dict)) and 0 < len(value) <= MAX_ITEMS


def named_items(role: str, value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Give (role, key, item) of each item of a container."""
    if isinstance(value, dict):
        pairs = list(value.items())
    else:
        pairs = list(zip(getattr(value, "_fields", range(len(value))), value, strict=False))
    for i, (key, item) in enumerate(pairs):
        named = isinstance(key, str) and key.isprintable() and "`" not in key and key
        inner = f"{role}.{key}" if named else f"{role}[{i}]"
        yield (inner if len(inner) <= MAX_KEY else f"{role}[{i}]"), key, item


def owner_params(owner: Any) -> Json:
    """Give the params of the object that a method is called on, none if it knows none."""
    try:
        return bound_params(params_of(owner) or {})[0]
    except Exception:  # noqa: BLE001 - a foreign object may raise anything, capture never
        return {}
