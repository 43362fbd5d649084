"""Params: what objects say of themselves, as typed JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

from modelversion._json import dumps, encode
from modelversion.errors import InvalidValueError
from modelversion.schema import Json

MAX_ARGUMENT = 64 * 1024
_MAX_DEPTH = 8


def params_of(value: Any) -> dict[str, Any] | None:
    """Give the params of an object that knows its own, None for one that does not.

    Estimators tell them by `get_params`; dataclasses, attrs classes, pydantic models, named
    tuples, omegaconf containers and argparse namespaces by their fields.
    """
    if isinstance(value, type):
        return None
    for knows, read in _READERS:
        if knows(value):
            return {str(name): item for name, item in read(value).items()}
    return None


def encoded(value: Any, path: str) -> Any:
    """Give an argument as tagged JSON, objects within it by their params.

    Raises:
        InvalidValueError: A part is neither a plain value nor an object that knows its params.
    """
    return encode(_plain(value, path, 0), path)


def _plain(value: Any, path: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise InvalidValueError(f"{path} is nested deeper than {_MAX_DEPTH}")
    if isinstance(value, Mapping):
        return {k: _plain(v, f"{path}.{k}", depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        items = [_plain(v, f"{path}[{i}]", depth + 1) for i, v in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Enum) and not isinstance(value, (int, float, str)):
        return value.name
    own = params_of(value)
    if own is None:
        return _name(value) if isinstance(value, type) or _is_function(value) else value
    # The type stands with the params: two estimators may have the same ones.
    fields = {k: _plain(v, f"{path}.{k}", depth + 1) for k, v in own.items()}
    return {"type": _name(type(value)), **fields} if _is_estimator(value) else fields


def _is_function(value: Any) -> bool:
    return callable(value) and hasattr(value, "__qualname__") and hasattr(value, "__module__")


def _name(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


# ---- who knows its own ---------------------------------------------------------------------------


def _is_estimator(value: Any) -> bool:
    return callable(getattr(type(value), "get_params", None))


def _estimator(value: Any) -> Mapping[str, Any]:
    try:
        found = value.get_params(deep=False)
    except TypeError:
        found = value.get_params()
    return found if isinstance(found, Mapping) else {}


def _is_pydantic(value: Any) -> bool:
    return isinstance(getattr(type(value), "model_fields", None), Mapping) and hasattr(
        value, "model_dump"
    )


def _is_config(value: Any) -> bool:
    kinds = getattr(sys.modules.get("omegaconf"), "Container", None)
    return kinds is not None and isinstance(value, kinds)


def _config(value: Any) -> Mapping[str, Any]:
    found = sys.modules["omegaconf"].OmegaConf.to_container(value, resolve=True)
    return found if isinstance(found, dict) else {"items": found}


def _is_namespace(value: Any) -> bool:
    import types

    kinds: tuple[Any, ...] = (types.SimpleNamespace,)
    argparse = sys.modules.get("argparse")
    return isinstance(value, kinds if argparse is None else (*kinds, argparse.Namespace))


def _dataclass(value: Any) -> Mapping[str, Any]:
    return {name: getattr(value, name) for name in type(value).__dataclass_fields__}


def _attrs(value: Any) -> Mapping[str, Any]:
    return {field.name: getattr(value, field.name) for field in type(value).__attrs_attrs__}


def _pydantic(value: Any) -> Mapping[str, Any]:
    return {name: getattr(value, name) for name in type(value).model_fields}


_READERS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Mapping[str, Any]]], ...] = (
    (_is_config, _config),
    (_is_estimator, _estimator),
    (lambda value: hasattr(type(value), "__dataclass_fields__"), _dataclass),
    (lambda value: hasattr(type(value), "__attrs_attrs__"), _attrs),
    (_is_pydantic, _pydantic),
    (lambda value: isinstance(value, tuple) and hasattr(value, "_asdict"), lambda v: v._asdict()),
    (_is_namespace, vars),
)


def bound_params(arguments: Mapping[str, Any]) -> tuple[Json, dict[str, Any]]:
    """Sort arguments into params, and what is no plain value.

    Returns:
        Params as tagged JSON, and the arguments that are none: too large, or not JSON.
    """
    params: Json = {}
    rest: dict[str, Any] = {}
    for name, value in arguments.items():
        text = _encoded_or_none(name, value)
        if text is None:
            rest[name] = value
        else:
            params[name] = text[0]
    return params, rest


def _encoded_or_none(name: str, value: Any) -> tuple[Any] | None:
    try:
        found = encoded(value, name)
    except Exception:  # noqa: BLE001 - a foreign object may raise anything, capture never
        return None
    return (found,) if len(dumps(found)) <= MAX_ARGUMENT else None
