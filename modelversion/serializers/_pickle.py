"""Any Python object: cloudpickle, protocol 5, buffers out of band, own code by value.

Format: PEP 574. The stream holds no buffer above `IN_STREAM`; those of `OWN_FILE` and more are
a file each, so that they are hashed, moved, shared and mapped by themselves; the rest are
packed into one file at offsets that are multiples of 64, which mapped arrays need.
"""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import cloudpickle

from modelversion import reconstruct, source
from modelversion.errors import UnpicklableError, UntrustedPickleError
from modelversion.layout import OBJECT
from modelversion.records import BufferRecord, ObjectRecord
from modelversion.serializers import Allow, Source
from modelversion.serializers._reducers import Holders, reducers
from modelversion.serializers._scan import pickle_globals
from modelversion.spool import Spool

NAME = "cloudpickle"
IN_STREAM = 4096
OWN_FILE = 2**20
ALIGNMENT = 64
STREAM = f"{OBJECT}/object.pkl"
PACKED = f"{OBJECT}/buffers.bin"

# cloudpickle keeps the modules that go by value in one list of the process.
_BY_VALUE = threading.RLock()


class CloudpickleSerializer:
    """Saves what cloudpickle pickles, which is nearly everything."""

    name = NAME

    def accepts(self, value: Any) -> bool:
        """Accept every object."""
        return True

    def dump(self, value: Any, spool: Spool) -> ObjectRecord:
        """Write the stream and the buffers.

        Raises:
            UnpicklableError: A part cannot be pickled; its path is named.
        """
        buffers: list[pickle.PickleBuffer] = []
        with spool.writer(STREAM) as stream:
            try:
                _pickle(value, stream, buffers)
            except Exception as e:  # the object's own __reduce__ may raise anything
                raise _refusal(value, e) from e
        stream_blob = spool.blobs[-1]
        names = pickle_globals(stream_blob.read())
        _check_own_globals(value, names)
        return ObjectRecord(
            serializer=NAME,
            type=type_name(value),
            stream=STREAM,
            buffers=_add_buffers(buffers, spool),
            globals=names,
        )

    def load(self, record: ObjectRecord, source: Source, *, mmap: bool, allow: Allow) -> Any:
        """Unpickle, after every byte was verified and the globals were allowed.

        Raises:
            UntrustedPickleError: A global is not allowed.
        """
        stream = source.read(record.stream)
        if allow is not True:
            check_allowed(pickle_globals(stream), allow)
        files = source.views(sorted({buffer.path for buffer in record.buffers}), mmap=mmap)
        buffers = [files[b.path][b.offset : b.offset + b.size] for b in record.buffers]
        return pickle.loads(stream, buffers=buffers)


def type_name(value: Any) -> str:
    """Give the full name of an object's type."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


# ---- dumping


def _pickle(value: Any, file: Any, buffers: list[pickle.PickleBuffer]) -> None:
    def keep_in_stream(buffer: pickle.PickleBuffer) -> bool:
        if buffer.raw().nbytes < IN_STREAM:
            return True
        buffers.append(buffer)
        return False

    with _BY_VALUE, _OwnByValue():
        _Pickler(file, buffer_callback=keep_in_stream).dump(value)


class _OwnByValue:
    """Registers the user's own modules with cloudpickle, and takes them out again."""

    def __enter__(self) -> None:
        before = cloudpickle.list_registry_pickle_by_value()
        self._added = [m for m in source.own_modules() if m.__name__ not in before]
        for module in self._added:
            cloudpickle.register_pickle_by_value(module)

    def __exit__(self, *exception: object) -> None:
        for module in self._added:
            cloudpickle.unregister_pickle_by_value(module)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: Any, *, buffer_callback: Any) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self._reducers = reducers()
        self._holders = Holders()

    def reducer_override(self, obj: Any) -> Any:
        reducer = self._reducers.get(type(obj))
        if reducer is not None:
            return reducer(obj, self._holders)
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) == 6:
            return _importable_or_new(obj, reduced)
        return reduced


def _importable_or_new(cls: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Wrap cloudpickle's reduction of a class so that loading prefers the importable one."""
    make, args, state, _, _, setter = reduced
    digest = source.digest_if_current(cls) if source.is_own(cls.__module__) else None
    if digest is None:
        return reduced
    wanted = (cls.__module__, cls.__qualname__, digest, make, args)
    return reconstruct.own_class, wanted, (setter, state), None, None, reconstruct.own_state


def _add_buffers(
    buffers: list[pickle.PickleBuffer], spool: Spool
) -> Iterator[BufferRecord] | tuple[BufferRecord, ...]:
    views = [buffer.raw() for buffer in buffers]
    packed = io.BytesIO()
    large: list[tuple[str, memoryview]] = []
    records = []
    for view in views:
        if view.nbytes >= OWN_FILE:
            path, offset = f"{OBJECT}/buffer-{len(large)}.bin", 0
            large.append((path, view))
        else:
            packed.write(b"\0" * (-packed.tell() % ALIGNMENT))
            path, offset = PACKED, packed.tell()
            packed.write(view)
        records.append(BufferRecord(path=path, offset=offset, size=view.nbytes))
    if packed.tell():
        spool.add(PACKED, packed.getvalue())
    spool.add_views(large)
    return tuple(records)


def _check_own_globals(value: Any, names: tuple[str, ...]) -> None:
    """Refuse a stream that needs a module which only this machine has."""
    for name in names:
        module = name.partition(":")[0]
        if source.is_own(module):
            raise UnpicklableError(
                f"object needs {name.replace(':', '.')} of your own code, which could not be "
                "stored by value; define it in Python source, or install its package",
                value=value,
            )


# ---- which part cannot be pickled


def _refusal(value: Any, e: Exception) -> UnpicklableError:
    path, part, cause = _blame(value, e)
    return UnpicklableError(
        f"{path} is a {type_name(part)} and cannot be pickled ({cause}); "
        "remove it before saving, or leave it out in __getstate__",
        value=value,
        path=path,
    )


def _blame(value: Any, e: Exception) -> tuple[str, Any, Exception]:
    """Walk down to the smallest part that fails by itself."""
    path, part, cause, seen = "object", value, e, {id(value)}
    for _ in range(100):
        for step, child in _children(part):
            failure = None if id(child) in seen else _failure(child)
            if failure is not None:
                seen.add(id(child))
                path, part, cause = path + step, child, failure
                break
        else:
            break
    return path, part, cause


def _failure(part: Any) -> Exception | None:
    try:
        _pickle(part, _Nowhere(), [])
    except Exception as e:  # the object's own __reduce__ may raise anything
        return e
    return None


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)


def _children(part: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(part, dict):
        yield from ((f"[{key!r}]", child) for key, child in part.items())
    elif isinstance(part, (list, tuple)):
        yield from ((f"[{i}]", child) for i, child in enumerate(part))
    elif isinstance(part, (set, frozenset)):
        yield from (("{...}", child) for child in part)
    closure = getattr(part, "__closure__", None)
    if closure:
        names = part.__code__.co_freevars
        yield from (
            (f".<closure {n}>", c.cell_contents) for n, c in zip(names, closure, strict=True)
        )
    if hasattr(part, "__code__"):
        used = (n for n in part.__code__.co_names if n in part.__globals__)
        yield from ((f".<global {name}>", part.__globals__[name]) for name in used)
    state = getattr(part, "__dict__", None)
    if isinstance(state, dict):
        yield from ((f".{name}", child) for name, child in state.items())


# ---- loading


def check_allowed(names: tuple[str, ...], allow: Allow) -> None:
    """Refuse a pickle whose globals are not all on a list of exact names.

    Raises:
        UntrustedPickleError: One is not; the message has the line to write.
    """
    allowed = set() if isinstance(allow, bool) else set(allow)
    refused = tuple(name for name in names if name not in allowed)
    if refused:
        shown = ", ".join(refused[:8]) + (", ..." if len(refused) > 8 else "")
        raise UntrustedPickleError(
            f"loading would import {shown}, which allow_pickle does not name; if you trust who "
            f"wrote this version, load with allow_pickle=True or allow_pickle={list(refused)[:8]!r}",
            globals=refused,
        )
