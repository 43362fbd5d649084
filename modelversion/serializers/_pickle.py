"""Any Python object: cloudpickle, protocol 5, buffers out of band, own code by value.

Format: PEP 574. The stream holds no buffer above `IN_STREAM`; those of `OWN_FILE` and more are
a file each, so that they are hashed, moved, shared and mapped by themselves; the rest are
packed into one file at offsets that are multiples of 64, which mapped arrays need.
"""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

import attrs
import cloudpickle

from modelversion import reconstruct, source
from modelversion.errors import UnpicklableError, UntrustedPickleError
from modelversion.layout import OBJECT
from modelversion.records import BufferRecord, ObjectRecord
from modelversion.redaction import masked
from modelversion.sameness import class_digest, global_names
from modelversion.serializers import Allow, Source, secret_error
from modelversion.serializers._indices import MisledError, check_indices
from modelversion.serializers._reducers import Holders, reducers
from modelversion.serializers._scan import Scanned, scan
from modelversion.storage import Withheld
from modelversion.storage.spool import Spool, Watch

NAME = "cloudpickle"
IN_STREAM = 4096
OWN_FILE = 2**20
ALIGNMENT = 64
STREAM = f"{OBJECT}/object.pkl"
PACKED = f"{OBJECT}/buffers.bin"

_OWN_STATE = reconstruct.own_state

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
            SecretError: A part is a secret; its path is named.
        """
        buffers: list[pickle.PickleBuffer] = []
        with spool.writer(STREAM) as stream:
            try:
                _pickle(value, stream, buffers)
            except Withheld as e:
                path = _path_to_secret(value, spool.watch)
                raise secret_error(path, e.rule, value=value) from None
            except Exception as e:  # the object's own __reduce__ may raise anything
                if isinstance(e, OSError) and _failure(value) is None:
                    raise  # not the object: its file could not be written
                raise _refusal(value, e) from e
        stream_blob = spool.blobs[-1]
        scanned = scan(stream_blob.read())
        _check_own_globals(value, scanned.globals)
        return ObjectRecord(
            serializer=NAME,
            type=type_name(value),
            stream=STREAM,
            buffers=_add_buffers(buffers, spool),
            globals=scanned.globals,
            data_only=not (scanned.misused or untrusted(scanned.globals)),
        )

    def load(self, record: ObjectRecord, source: Source, *, mmap: bool, allow: Allow) -> Any:
        """Unpickle, after every byte was verified and the globals were allowed.

        Raises:
            UntrustedPickleError: A global is not allowed.
        """
        stream = source.read(record.stream)
        if allow is not True:
            given = frozenset() if isinstance(allow, bool) else frozenset(allow)
            scanned = scan(stream, given)
            check_allowed(scanned, given)
        files = source.views(sorted({buffer.path for buffer in record.buffers}), mmap=mmap)
        buffers = [files[b.path][b.offset : b.offset + b.size] for b in record.buffers]
        value = pickle.loads(stream, buffers=buffers, fix_imports=False)  # noqa: S301 - verified and allowed above
        if allow is not True:
            check_loaded(value, scanned, given)
        return value


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
        if isinstance(obj, ModuleType):
            return _own_module(obj)
        if isinstance(obj, TypeVar):
            return _untracked(cloudpickle.Pickler.dispatch_table[TypeVar](obj))
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) == 6:
            return _own_class(obj, reduced)
        return reduced


def _own_class(cls: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Wrap cloudpickle's reduction of a class so that loading prefers one that is the same.

    cloudpickle gives a class an id of the process, and loading a class of a known id changes
    the one that is there: the class of one version would get the code of another.
    """
    if source.is_compiled(cls.__module__):
        raise pickle.PicklingError(f"{cls.__module__} is compiled code and not installed")
    make, (*args, _, extra), state, _, _, setter = reduced
    args = (*args, None, extra)
    state[0].pop("__slotnames__", None)  # copyreg notes it there when an instance is pickled
    code = class_digest(cls)
    if code is None or "<locals>" in cls.__qualname__:
        return make, args, state, None, None, setter
    sources = source.module_sources(cls.__module__) if source.is_own(cls.__module__) else None
    where = (cls.__module__, cls.__qualname__, code, sources or "", reconstruct.running_python())
    pending = [code]
    filling = (setter, state, pending)
    return reconstruct.own_class, (where, make, args, pending), filling, None, None, _OWN_STATE


def _untracked(reduced: Any) -> Any:
    """Take cloudpickle's id of the process out of the reduction of a type variable."""
    if not isinstance(reduced, tuple) or reduced[0] is not cloudpickle.cloudpickle._make_typevar:
        return reduced
    make, (*args, _) = reduced
    return make, (*args, None)


def _own_module(module: ModuleType) -> Any:
    """Reduce a module of the user's own code to its contents, filled in once it is made.

    Modules that name each other would never end if the contents were arguments.
    """
    if not source.is_own(module.__name__):
        return NotImplemented
    state = {name: value for name, value in vars(module).items() if name not in _IMPORT_SYSTEM}
    return ModuleType, (module.__name__,), state


_IMPORT_SYSTEM = frozenset(
    ["__builtins__", "__cached__", "__loader__", "__path__", "__spec__", "__warningregistry__"]
)


def _add_buffers(buffers: list[pickle.PickleBuffer], spool: Spool) -> tuple[BufferRecord, ...]:
    """Spool each large buffer as a file of its own, and the small ones packed into one."""
    views = [buffer.raw() for buffer in buffers]
    packed = _pack([view for view in views if view.nbytes < OWN_FILE], spool)
    large: list[tuple[str, memoryview]] = []
    records = []
    for view in views:
        path, offset = PACKED, 0
        if view.nbytes >= OWN_FILE:
            path = f"{OBJECT}/buffer-{len(large)}.bin"
            large.append((path, view))
        else:
            offset = next(packed)
        records.append(BufferRecord(path=path, offset=offset, size=view.nbytes))
    spool.add_views(large)
    return tuple(records)


def _pack(views: list[memoryview], spool: Spool) -> Iterator[int]:
    """Write views one behind the other, aligned, and give their offsets."""
    offsets = []
    if views:
        with spool.writer(PACKED, watched=False) as file:
            end = 0
            for view in views:
                padding = -end % ALIGNMENT
                file.write(b"\0" * padding)
                file.write(view)
                offsets.append(end + padding)
                end += padding + view.nbytes
    return iter(offsets)


def _check_own_globals(value: Any, names: tuple[str, ...]) -> None:
    """Refuse a stream that needs a module which only this machine has."""
    for name in names:
        module = name.partition(":")[0]
        if module == "__main__" or source.is_own(module):
            raise UnpicklableError(
                f"object needs {name.replace(':', '.')} of your own code, which could not be "
                "stored by value; define it in Python source, or install its package",
                value=value,
            )


# ---- which part cannot be pickled


def _refusal(value: Any, e: Exception) -> UnpicklableError:
    path, part, cause = _blame("object", value, e, [value]) or ("object", value, e)
    return UnpicklableError(
        f"{path} is a {type_name(part)} and cannot be pickled ({masked(str(cause))}); "
        "remove it before saving, or leave it out in __getstate__",
        value=value,
        path=path,
    )


_DEEPEST = 100


def _blame(
    path: str, part: Any, cause: Exception, seen: list[Any]
) -> tuple[str, Any, Exception] | None:
    """Walk down to the smallest part that fails by itself.

    Returns:
        None if the part fails only because of one that was seen before.
    """
    explained = False
    for step, child in _children(part) if len(seen) < _DEEPEST else ():
        failure = _failure(child)
        if failure is None:
            continue
        explained = True
        if not any(child is one for one in seen):
            seen.append(child)
            found = _blame(path + step, child, failure, seen)
            if found is not None:
                return found
    return None if explained else (path, part, cause)


def _failure(part: Any) -> Exception | None:
    try:
        _pickle(part, _Nowhere(), [])
    except Exception as e:  # noqa: BLE001 - the object's own __reduce__ may raise anything
        return e
    return None


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)


def _children(part: Any) -> Iterator[tuple[str, Any]]:
    """Give what a value is made of, with the step that leads there."""
    rules = (
        (dict, lambda: ((f"[{key!r}]", child) for key, child in part.items())),
        ((list, tuple), lambda: ((f"[{i}]", child) for i, child in enumerate(part))),
        ((set, frozenset), lambda: (("{...}", child) for child in part)),
        (FunctionType, lambda: _of_function(part)),
        (MethodType, lambda: [(".__func__", part.__func__), (".__self__", part.__self__)]),
        (partial, lambda: ((f".{n}", getattr(part, n)) for n in ("func", "args", "keywords"))),
        ((staticmethod, classmethod), lambda: [(".__func__", part.__func__)]),
        (property, lambda: ((f".{n}", getattr(part, n)) for n in ("fget", "fset", "fdel"))),
    )
    for kind, children in rules:
        if isinstance(part, kind):
            yield from children()
    yield from _of_object(part)


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        with contextlib.suppress(ValueError):  # an empty cell holds nothing
            yield f".<closure {name}>", cell.cell_contents
    yield ".__defaults__", function.__defaults__
    yield ".__kwdefaults__", function.__kwdefaults__
    for name in global_names(code):
        if name in function.__globals__:
            yield f".<global {name}>", function.__globals__[name]


def _of_object(part: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(part, type) and source.is_compiled(part.__module__):
        return
    with contextlib.suppress(Exception):  # its class may have made __dict__ anything
        yield from ((f".{name}", child) for name, child in vars(part).items())
    for cls in type(part).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            with contextlib.suppress(AttributeError):
                yield f".{name}", object.__getattribute__(part, name)
    if not isinstance(part, type):
        yield ".__class__", type(part)


# ---- which part holds a secret


def _path_to_secret(value: Any, watch: Callable[[], Watch]) -> str:
    """Walk down to the smallest part that holds the secret by itself."""
    path, part, seen = "object", value, [value]
    while len(seen) < _DEEPEST:
        others = [(s, c) for s, c in _children(part) if not any(c is one for one in seen)]
        found = _first_with_secret(others, watch)
        if found is None:
            break
        step, part = found
        # A key may be the secret.
        path += step if watch()(step.encode("utf-8", "replace")) is None else "[...]"
        seen.append(part)
    return path


def _first_with_secret(
    children: list[tuple[str, Any]], watch: Callable[[], Watch]
) -> tuple[str, Any] | None:
    """Find the first child that holds a secret by halving, since there may be a million."""
    while len(children) > 1:
        half = children[: len(children) // 2]
        inside = _holds_secret([child for _, child in half], watch)
        children = half if inside else children[len(half) :]
    return children[0] if children and _holds_secret(children[0][1], watch) else None


def _holds_secret(part: Any, watch: Callable[[], Watch]) -> bool:
    try:
        _pickle(part, _Watched(watch()), [])
    except Withheld:
        return True
    except Exception:  # noqa: BLE001 - the object's own __reduce__ may raise anything
        return False
    return False


@attrs.frozen
class _Watched:
    watch: Watch

    def write(self, data: Any) -> int:
        rule = self.watch(bytes(data))
        if rule is not None:
            raise Withheld(rule)
        return len(data)


# ---- loading


def untrusted(names: Iterable[str]) -> tuple[str, ...]:
    """Give the names of a pickle that are not on the list of those that run no code."""
    from modelversion.serializers._trusted import TRUSTED

    return tuple(name for name in names if name not in TRUSTED)


_SPELT_OUT = 8


def _line_to_write(refused: tuple[str, ...]) -> str:
    if len(refused) <= _SPELT_OUT:
        return repr(list(refused))
    return f"list(e.globals), where e is this error: it has all {len(refused)} names"


def check_allowed(scanned: Scanned, given: Collection[str]) -> None:
    """Refuse a pickle that imports, or calls otherwise, what a list of exact names has not.

    Raises:
        UntrustedPickleError: One is not; the message has the line to write.
    """
    imported = tuple(name for name in untrusted(scanned.globals) if name not in given)
    refused = tuple(sorted({*imported, *scanned.misused}))
    if not refused:
        return
    reasons = []
    if imported:
        reasons.append(
            f"import {_shown(imported)}, which allow_pickle does not name and which is not on "
            "the list of names that run no code"
        )
    if scanned.misused:
        reasons.append(
            f"call or change {_shown(scanned.misused)} as its own library's pickles do not, which "
            "could forge memory"
        )
    raise UntrustedPickleError(
        f"loading would {' and '.join(reasons)}; if you trust who wrote this version, load with "
        f"allow_pickle=True or allow_pickle={_line_to_write(refused)}",
        globals=refused,
    )


def check_loaded(value: Any, scanned: Scanned, given: Collection[str]) -> None:
    """Refuse an object that would lead compiled code out of its own memory.

    Raises:
        UntrustedPickleError: It would; the message has the line to write.
    """
    try:
        check_indices(value, scanned.globals, given)
    except MisledError as e:
        raise UntrustedPickleError(
            f"what was loaded would lead compiled code out of its own memory ({e}); if you trust "
            f"who wrote this version, load with allow_pickle=True or "
            f"allow_pickle={_line_to_write(e.names)}",
            globals=e.names,
        ) from e


def _shown(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_SPELT_OUT]) + (", ..." if len(names) > _SPELT_OUT else "")
