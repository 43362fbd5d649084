"""How objects become files and come back: one Protocol, and a list that plug-ins join.

A serializer is found by the object when saving and by its recorded name when loading. There is
no fall-back from one to another: what one refuses is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from modelversion.errors import InvalidInputError, SecretError
from modelversion.records import BufferRecord, ObjectRecord
from modelversion.storage.spool import Spool

ENTRY_POINTS = "modelversion.serializers"
Allow = bool | Collection[str]


class Source(Protocol):
    """The verified files of one version, for a serializer that reads them."""

    def read(self, path: str) -> bytearray:
        """Give a file's bytes once size and digest were found right."""

    def views(self, paths: list[str], *, mmap: bool) -> dict[str, memoryview]:
        """Give files as flat memory, verified; mapped and read-only with `mmap`."""


class Serializer(Protocol):
    """What saves and loads one kind of object."""

    name: str

    def accepts(self, value: Any) -> bool:
        """Tell whether this serializer saves the object."""

    def dump(self, value: Any, spool: Spool) -> ObjectRecord:
        """Write the object's files below `object/` and say how they are read."""

    def load(self, record: ObjectRecord, source: Source, *, mmap: bool, allow: Allow) -> Any:
        """Rebuild the object; refuse before running code that `allow` does not cover."""


_REGISTERED: list[Serializer] = []


def register(serializer: Serializer) -> None:
    """Add a serializer; the last one added that accepts an object saves it.

    Raises:
        InvalidInputError: It lacks a part, or its name is taken by the one for all objects.
    """
    lacking = [p for p in ("name", "accepts", "dump", "load") if not hasattr(serializer, p)]
    if lacking or not isinstance(serializer.name, str) or serializer.name == _cloudpickle().name:
        found = f"lacks {', '.join(lacking)}" if lacking else f"has the name {serializer.name!r}"
        raise InvalidInputError(
            "a serializer has a name of its own and the methods accepts, dump and load; "
            f"{type(serializer).__name__} {found}"
        )
    _REGISTERED.append(serializer)


def unregister(serializer: Serializer) -> None:
    """Take a serializer out again; versions that it saved still find it by its entry point."""
    _REGISTERED.remove(serializer)


def for_object(value: Any) -> Serializer:
    """Give the serializer that saves an object."""
    for serializer in reversed(_REGISTERED):
        if serializer.accepts(value):
            return serializer
    return _cloudpickle()


def named(name: str) -> Serializer:
    """Give the serializer that a version was saved with.

    Raises:
        InvalidInputError: No serializer of that name is registered or installed.
    """
    for serializer in (*reversed(_REGISTERED), _cloudpickle()):
        if serializer.name == name:
            return serializer
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS, name=name):
        register(point.load())
        return _REGISTERED[-1]
    raise InvalidInputError(
        f"the object was saved with the serializer {name!r}, which is not installed; "
        f"install the package that provides the entry point {ENTRY_POINTS}:{name}"
    )


def _cloudpickle() -> Serializer:
    from modelversion.serializers._pickle import CloudpickleSerializer

    return CloudpickleSerializer()


def secret_error(path: str, rule: str, *, value: Any = None) -> SecretError:
    """Give the refusal of something that holds a secret, which is not in the message."""
    return SecretError(
        f"{path} holds a secret ({rule}); nothing was committed: take it out and read it from the "
        "environment where it is used, wrap it in mv.Secret, which is not stored, or give "
        "allow_secrets=True to store it as it is",
        value=value,
        path=path,
        rule=rule,
    )


__all__ = [
    "Allow",
    "BufferRecord",
    "ObjectRecord",
    "Serializer",
    "Source",
    "Spool",
    "for_object",
    "named",
    "register",
    "secret_error",
    "unregister",
]
