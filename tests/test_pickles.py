"""How objects are kept: buffers out of band, refusals that blame the part, trust in the reader."""

import contextlib
import copy
import functools
import hashlib
import io
import os
import pickle
import pickletools
import threading
from collections import OrderedDict
from pathlib import Path

import fresh
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelversion as mv
from modelversion.errors import (
    RecordError,
    SaveError,
    UnpicklableError,
    UntrustedPickleError,
)
from modelversion.serializers._scan import pickle_globals

MIB = 2**20


def _kept(version):
    """The version's object record, and path -> size of its object's files."""
    opened = version._open()
    sizes = {file.path: file.size for file in opened.record.files}
    return opened.record.object, {p: size for p, size in sizes.items() if p.startswith("object/")}


# ---- out of band


def _frame():
    import pandas as pd

    return pd.DataFrame(np.arange(400_000.0).reshape(-1, 2), columns=["a", "b"])


def _polars():
    import polars as pl
    import pyarrow  # noqa: F401 - frames go out of band where it is there

    return pl.DataFrame({"a": np.arange(400_000.0), "t": np.arange(400_000).astype("M8[us]")})


def _arrow():
    import pyarrow as pa

    return pa.table({"a": np.arange(400_000.0), "b": np.arange(400_000)})


def _torch(dtype):
    import torch

    return torch.ones(800_000, dtype=getattr(torch, dtype))


LARGE = {
    "floats": lambda: np.arange(400_000.0),
    "fortran": lambda: np.asfortranarray(np.ones((1000, 500))),
    "times": lambda: np.arange(400_000).astype("M8[ns]"),
    "fortran times": lambda: np.asfortranarray(np.ones((1000, 500), dtype="m8[s]")),
    "structured": lambda: np.zeros(100_000, dtype=[("a", "i8"), ("b", "f8")]),
    "frame": _frame,
    "frame of times": lambda: _frame().assign(t=np.arange(200_000).astype("M8[us]")),
    "polars": _polars,
    "arrow": _arrow,
    "torch": lambda: _torch("float32"),
    "torch bfloat16": lambda: _torch("bfloat16"),
    "torch module": lambda: __import__("torch").nn.Linear(1000, 500),
}


@pytest.mark.parametrize("kind", LARGE)
def test_large_buffers_stay_out_of_the_stream(registry, kind):
    """Arrays, frames and tensors go to files of their own, and the stream stays small."""
    value = LARGE[kind]()

    record, sizes = _kept(registry.save("m", value))

    assert sizes[record.stream] < 8192
    assert sum(buffer.size for buffer in record.buffers) >= MIB
    own = [buffer for buffer in record.buffers if buffer.size >= MIB]
    assert own and len({buffer.path for buffer in own}) == len(own)
    assert all(b.offset == 0 and sizes[b.path] == b.size for b in own)


def test_each_large_buffer_is_a_file_and_small_ones_are_packed(registry):
    """From 1 MiB on a buffer has a file; from 4 KiB on it is packed at a multiple of 64 bytes."""
    sizes = [4095, 4096, 5001, MIB - 1, MIB, MIB + 1, 70_000]
    arrays = [np.full(size, i, dtype="u1") for i, size in enumerate(sizes)]

    record, files = _kept(registry.save("m", arrays))

    assert [buffer.size for buffer in record.buffers] == sizes[1:]
    packed = [b for b in record.buffers if b.path == "object/buffers.bin"]
    assert [b.size for b in packed] == [4096, 5001, MIB - 1, 70_000]
    assert all(b.offset % 64 == 0 for b in packed)
    assert packed[-1].offset + 70_000 == files["object/buffers.bin"]
    assert {p for p in files if p.startswith("object/buffer-")} == {
        "object/buffer-0.bin",
        "object/buffer-1.bin",
    }


def test_digests_are_those_of_sha256sum(registry, tmp_path):
    """Every file's digest is the sha256 of the bytes that stand on the disk."""
    version = registry.save("m", [np.arange(300_000.0), np.arange(3000)])

    folder = tmp_path / "registry" / "models" / "m" / "versions" / "1"
    for file in version._open().record.files:
        assert hashlib.sha256((folder / file.path).read_bytes()).hexdigest() == file.sha256


def test_a_view_is_kept_once_where_pickle_keeps_it_once(registry):
    """One array that is held twice has one buffer, and is one array after loading."""
    array = np.arange(300_000.0)

    version = registry.save("m", [array, array])
    first, second = version.load()

    assert len(_kept(version)[0].buffers) == 1
    assert first is second


def test_plain_loading_gives_arrays_that_can_be_written(registry):
    """Whatever its size, a loaded array is writable and nobody else's memory."""
    version = registry.save("m", [np.arange(n, dtype="f8") for n in (3, 3000, 300_000)])

    for array in version.load():
        array += 1

    assert [array[0] for array in version.load()] == [0, 0, 0]


@pytest.mark.parametrize("dtype", ["f8", "M8[us]", [("a", "i4"), ("b", "f4")]])
def test_mapped_loading_gives_read_only_arrays_without_a_copy(registry, dtype):
    """With `mmap=True` arrays refuse writes, own no memory, and are 64-byte aligned."""
    version = registry.save("m", [np.zeros(n, dtype=dtype) for n in (3000, 5001, 300_000)])

    for array in version.load(mmap=True):
        assert not array.flags.owndata and not array.flags.writeable
        assert array.ctypes.data % 64 == 0
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


MAPPED_TENSOR = """
import sys
import modelversion as mv

version = mv.Registry(sys.argv[1]).get("m")
first, second = version.load(mmap=True), version.load(mmap=True)
first += 1
assert first.sum() == 2_000_000 and second.sum() == 1_000_000
assert version.load(mmap=True).sum() == 1_000_000 and version.verify()
"""


def test_mapped_tensors_can_be_written_without_touching_the_file(registry, tmp_path):
    """torch knows no read-only memory: a write goes to private pages and does not kill."""
    import torch

    registry.save("m", torch.ones(1_000_000))

    fresh.run(MAPPED_TENSOR, registry.url, cwd=tmp_path, isolated=True)


def test_a_saved_array_may_change_afterwards(registry):
    """What was saved is what was there at the call."""
    array = np.zeros(300_000)
    version = registry.save("m", array)
    array += 1

    assert version.load().sum() == 0


# ---- refused


class Holder:
    """An object with attributes."""

    def __init__(self, **parts):
        self.__dict__.update(parts)


class Slotted:
    """An object without a `__dict__`."""

    __slots__ = ("part",)

    def __init__(self, part):
        self.part = part


class WithLock:
    """A class that holds what cannot be pickled."""

    lock = threading.Lock()


class Cyclic:
    """An object that holds itself, and a lock behind that."""

    def __init__(self):
        self.again = {"me": self}
        self.lock = threading.Lock()


class CustomError(Exception):
    """What an object of the user's raises."""


class Raises:
    """An object whose own reduction raises."""

    def __reduce__(self):
        raise CustomError("this one never")


class Strange:
    """An object that answers any attribute with an error."""

    def __init__(self):
        object.__setattr__(self, "lock", threading.Lock())

    def __getattr__(self, name):
        raise CustomError(name)


def _closure(part):
    return lambda: part


def _default(part):
    def function(x=part):
        return x

    return function


def _empty_cell(part):
    def outer():
        def inner():
            return later, part

        if not inner:
            later = 1
        return inner

    return outer()


def _generator():
    yield 1


def _open_socket():
    import socket

    return socket.socket()


def _open_file():
    return open(os.devnull, "rb")


LOCK = threading.Lock()
PARTS = {
    "lock": threading.Lock,
    "generator": _generator,
    "file": _open_file,
    "socket": _open_socket,
    "frame": lambda: __import__("sys")._getframe(),
}
PLACES = {
    "object": lambda part: part,
    "object[1]": lambda part: [0, part],
    "object['a'].b": lambda part: {"a": Holder(b=part)},
    "object.a.b[0]": lambda part: Holder(a=Holder(b=(part,))),
    "object.part": Slotted,
    "object.<closure part>": _closure,
    "object.a.<closure part>": lambda part: Holder(a=_empty_cell(part)),
    "object.__defaults__[0]": _default,
    "object.keywords['x']": lambda part: __import__("functools").partial(len, x=part),
}


@pytest.mark.parametrize("what", PARTS)
@pytest.mark.parametrize("path", PLACES)
def test_the_part_that_cannot_be_pickled_is_named(registry, tmp_path, path, what):
    """The error has the path to the part, the whole object, and nothing was left behind."""
    part = PARTS[what]()
    value = PLACES[path](part)

    with pytest.raises(UnpicklableError) as caught:
        registry.save("m", value)

    if hasattr(part, "close"):
        part.close()
    assert caught.value.path == path
    assert path in str(caught.value)
    assert caught.value.value is value
    _nothing_left(tmp_path / "registry")


def _nothing_left(folder):
    found = {path.name for path in folder.rglob("*") if path.is_file()}
    assert found <= {"registry.json"}
    assert not list(folder.rglob(".tmp-*"))


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (WithLock, "object.__class__.lock"),
        (Cyclic, "object.lock"),
        (Raises, "object"),
        (lambda: [Raises()], "object[0]"),
        (Strange, "object.lock"),
        (lambda: lambda: LOCK, "object.<global LOCK>"),
        (lambda: {1: LOCK}, "object[1]"),
        (lambda: {frozenset([Raises()])}, "object{...}{...}"),
        (lambda: Holder(m=Cyclic().__init__), "object.m.__self__.lock"),
    ],
)
def test_odd_objects_are_refused_by_their_part(registry, tmp_path, make, path):
    """Class attributes, cycles, globals, sets, bound methods, hostile objects are seen through."""
    with pytest.raises(UnpicklableError) as caught:
        registry.save("m", make())

    assert caught.value.path == path
    _nothing_left(tmp_path / "registry")


def test_the_objects_own_error_is_the_cause(registry):
    """What `__reduce__` raised is told, and is chained."""
    with pytest.raises(UnpicklableError, match="this one never") as caught:
        registry.save("m", Raises())

    assert isinstance(caught.value.__cause__, CustomError)


def test_a_refusal_after_large_buffers_leaves_no_file(registry, tmp_path):
    """What had been written before the part was met is gone."""
    value = [os.urandom(8 * MIB), np.zeros(300_000), threading.Lock()]

    with pytest.raises(UnpicklableError):
        registry.save("m", value)

    _nothing_left(tmp_path / "registry")


# ---- a failed commit


def test_a_failed_commit_keeps_object_and_bytes(registry, monkeypatch):
    """The object is in `.value`, its bytes in `.spooled_at`, and they load."""

    def fails(*args, **kwargs):
        raise OSError(5, "Input/output error")

    value = {"weights": np.arange(300_000.0), "small": np.arange(1000), "kind": functools.partial}
    registry.save("other", 1)
    monkeypatch.setattr(type(registry._home.store), "fill", fails)

    with pytest.raises(SaveError, match="not saved") as caught:
        registry.save("m", value, artifacts={"a.txt": "text"})

    assert caught.value.value is value
    found = mv.open_directory(caught.value.spooled_at).load(allow_pickle=True)
    assert found.pop("kind") is value.pop("kind")
    np.testing.assert_equal(found, value)
    assert "a.txt" in str(list(Path(caught.value.spooled_at).rglob("*")))
    with pytest.raises(UntrustedPickleError):
        mv.open_directory(caught.value.spooled_at).load()


def test_an_altered_spool_is_refused(registry, monkeypatch):
    """The spooled bytes are checked against their own `version.json`."""
    monkeypatch.setattr(type(registry._home.store), "fill", _raise_oserror)
    with pytest.raises(SaveError) as caught:
        registry.save("m", [1, 2])
    stream = Path(caught.value.spooled_at) / "object" / "object.pkl"
    stream.write_bytes(stream.read_bytes()[:-1] + b"0")

    with pytest.raises(mv.errors.DigestMismatchError):
        mv.open_directory(caught.value.spooled_at).load(allow_pickle=True)


def _raise_oserror(*args, **kwargs):
    raise OSError(5, "Input/output error")


# ---- trust


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


OWN = [f"{os.mkdir.__module__}:mkdir"]


@pytest.fixture
def evil(registry, tmp_path):
    """A version whose unpickling leaves a mark, and the mark."""
    mark = tmp_path / "mark"
    return registry.save("evil", [Evil(mark)]), mark


@pytest.mark.parametrize("allow", [False, [], ["builtins:list"], ["posix:mkdirs"], "posix"])
def test_what_is_not_allowed_is_named_and_nothing_runs(evil, allow):
    """The refusal names the globals and the line to write, before anything of them is run."""
    version, mark = evil

    with pytest.raises(UntrustedPickleError) as caught:
        version.load(allow_pickle=allow)

    assert caught.value.globals == tuple(OWN)
    assert f"allow_pickle={OWN!r}" in str(caught.value)
    assert not mark.exists()


def test_many_names_are_allowed_from_the_error(registry):
    """Where there are too many to write out, the line to write takes them from the error."""
    version = registry.save("churn", [getattr(os, name) for name in MANY])

    with pytest.raises(UntrustedPickleError, match=r"allow_pickle=list\(e\.globals\)") as caught:
        version.load(allow_pickle=False)

    assert len(caught.value.globals) >= len(MANY)
    assert len(version.load(allow_pickle=list(caught.value.globals))) == len(MANY)


MANY = ["chdir", "getcwd", "link", "listdir", "mkdir", "rename", "rmdir", "stat", "unlink"]


@pytest.mark.parametrize("allow", [None, True, OWN, tuple(OWN), set(OWN), OWN[0]])
def test_what_is_allowed_is_run(evil, allow):
    """True, or a list with every exact name, loads; so does the default of a local folder."""
    version, mark = evil

    version.load(allow_pickle=allow)

    assert mark.exists()


def test_the_registrys_word_is_taken_and_the_calls_beats_it(evil, tmp_path):
    """`Registry(allow_pickle=)` holds for every load that says nothing itself."""
    _, mark = evil
    strict = mv.Registry(tmp_path / "registry", allow_pickle=False)

    with pytest.raises(UntrustedPickleError):
        strict.load("evil")
    assert not mark.exists()

    strict.load("evil", allow_pickle=True)
    assert mark.exists()


def test_data_needs_no_allowance(registry):
    """A pickle of plain containers imports nothing, and loads with `allow_pickle=False`."""
    value = {"a": [1, 2.5, None, True], "b": ("x", b"y"), "c": {1, 2}}

    assert registry.save("m", value).load(allow_pickle=False) == value


def test_arrays_load_by_the_names_that_the_record_lists(registry):
    """The names recorded with a version are the ones to allow, and no more are needed."""
    import torch

    value = {"a": np.arange(3000.0), "t": np.arange(3000).astype("M8[s]"), "w": torch.ones(2000)}
    version = registry.save("m", value)
    names = version._open().record.object.globals

    assert not {"operator:methodcaller", "_operator:methodcaller", "builtins:getattr"} & set(names)
    assert version.load(allow_pickle=names)["w"].sum() == 2000


def test_remote_registries_are_trusted_by_their_id(evil, tmp_path, monkeypatch):
    """Elsewhere the default is False, and `$MODELVERSION_ALLOW_PICKLE` names who is trusted."""
    _, mark = evil
    registry = mv.Registry(tmp_path / "registry")
    monkeypatch.setattr(registry._home.store, "remote", True, raising=False)

    with pytest.raises(UntrustedPickleError):
        registry.load("evil")
    monkeypatch.setenv("MODELVERSION_ALLOW_PICKLE", "0123456789abcdef")
    with pytest.raises(UntrustedPickleError):
        registry.load("evil")
    assert not mark.exists()

    monkeypatch.setenv("MODELVERSION_ALLOW_PICKLE", f"0123456789abcdef, {registry.id}")
    registry.load("evil")
    assert mark.exists()


# ---- the scanner


def _proto(*parts):
    return b"\x80\x04" + b"".join(parts) + b"."


def _text(text):
    data = text.encode()
    return b"\x8c" + bytes([len(data)]) + data


GOOD, GLOBAL = _text("os"), b"\x93"
REFUSED = {
    "nothing": b"",
    "no opcode": b"\xff",
    "no stop": b"\x80\x04N",
    "bytes behind the end": _proto(b"N") + b"x",
    "a pickle behind the end": _proto(b"N") + _proto(b"N"),
    "a cut argument": b"\x80\x04\x8c\x09abc",
    "an endless argument": b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b"x",
    "text that is none": b"\x80\x04\x8c\x01\xff.",
    "EXT1": _proto(b"\x82\x01"),
    "EXT2": _proto(b"\x83\x01\x00"),
    "EXT4": _proto(b"\x84\x01\x00\x00\x00"),
    "PERSID": _proto(b"P1\n"),
    "BINPERSID": _proto(b"NQ"),
    "a global of nothing": _proto(GLOBAL),
    "a global of one text": _proto(GOOD, GLOBAL),
    "a global of bytes": _proto(GOOD, b"C\x06system", GLOBAL),
    "a global of a number": _proto(GOOD, b"K\x01", GLOBAL),
    "a global of an empty slot": _proto(GOOD, b"h\x07", GLOBAL),
    "a global of a slot that held none": _proto(b"Nq\x07", GOOD, b"h\x07", GLOBAL),
    "a global of a tuple's text": _proto(_text("system"), b"\x85", GOOD, b"\x86", GLOBAL),
}


@pytest.mark.parametrize("what", REFUSED)
def test_streams_that_cannot_be_read_are_refused(what):
    """Whatever names a global by something other than text, or ends elsewhere, is refused."""
    with pytest.raises(RecordError):
        pickle_globals(REFUSED[what])


@pytest.mark.parametrize(
    ("stream", "names"),
    [
        (_proto(GOOD, _text("system"), GLOBAL), ("os:system",)),
        (_proto(GOOD, b"\x94", _text("system"), b"\x94\x93"), ("os:system",)),
        (_proto(GOOD, b"q\x05", b"0", b"h\x05", _text("system"), GLOBAL), ("os:system",)),
        (_proto(b"cos\nsystem\n"), ("os:system",)),
        (_proto(b"(S'x'\nios\nsystem\n"), ("os:system",)),
        (_proto(b"X\x02\x00\x00\x00os", b"V" + b"system\n", GLOBAL), ("os:system",)),
        (_proto(GOOD, _text("path.join"), GLOBAL), ("os:path.join",)),
        (_proto(GOOD, b"2", GLOBAL), ("os:os",)),
        (_proto(GOOD, _text("system"), b"N0", GLOBAL), ("os:system",)),
    ],
)
def test_globals_are_found_however_they_are_named(stream, names):
    """Old and new opcodes, memo slots and frames name the same global."""
    assert pickle_globals(stream) == names


def test_a_slot_that_is_put_twice_is_followed():
    """What an unpickler finds in a memo slot is what the scanner names, whatever was put when.

    Slot 0 is put twice and slot 2 once, so that the next MEMOIZE overwrites slot 2.
    """
    safe = _text("sep")
    stream = _proto(
        *(safe + b"q\x000", safe + b"q\x000", safe + b"q\x020"),
        _text("getcwd") + b"\x940",
        GOOD + b"h\x02\x93",
    )

    assert pickle.loads(stream) is os.getcwd
    assert pickle_globals(stream) == ("os:getcwd",)


class _Recording(pickle.Unpickler):
    """Notes every global that it imports."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.names = set()

    def find_class(self, module, name):
        self.names.add(f"{module}:{name}")
        return super().find_class(module, name)


def _recorded(stream, buffers):
    unpickler = _Recording(io.BytesIO(stream), buffers=buffers, fix_imports=False)
    unpickler.load()
    return tuple(sorted(unpickler.names))


def _objects():
    import collections
    import datetime
    import decimal
    import functools

    import pandas as pd
    import torch
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    yield {"a": [1, (2, 3)], "b": {frozenset([1])}}
    yield [datetime.datetime(2026, 1, 1), decimal.Decimal("1.5"), collections.Counter("abc")]
    yield functools.partial(int, base=2)
    yield [_closure(3), Holder(a=1), Slotted(2), CustomError("x"), len, Holder]
    yield np.arange(3000).astype("M8[s]")
    yield pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    yield torch.nn.Linear(60, 60)
    yield make_pipeline(StandardScaler(), RandomForestClassifier(3)).fit(np.eye(4), [0, 1, 0, 1])


@pytest.mark.parametrize("i", range(8))
def test_recorded_globals_are_what_an_unpickler_imports(registry, i):
    """The names in the record are exactly those that loading asks for."""
    value = list(_objects())[i]

    opened = registry.save("m", value)._open()
    record = opened.record.object

    stream = bytes(opened.files.read(record.stream))
    files = opened.files.views(sorted({b.path for b in record.buffers}), mmap=False)
    buffers = [files[b.path][b.offset : b.offset + b.size] for b in record.buffers]
    assert record.globals == _recorded(stream, buffers)


_LEAVES = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=300),
    st.binary(max_size=300),
    st.sampled_from([len, int, os.path.join, copy.copy, np.float64(1), threading.Thread, KeyError]),
    st.sampled_from(["os", "system", "len", "builtins"]),
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=4),
        st.builds(lambda v: Holder(v=v), inner),
    ),
    max_leaves=20,
)


@given(_VALUES, st.integers(0, 5))
def test_the_scanner_sees_what_the_unpickler_sees(value, protocol):
    """For any object and any protocol, the scan names the globals that are imported."""
    stream = pickle.dumps(value, protocol=protocol, fix_imports=False)

    assert pickle_globals(stream) == _recorded(stream, [])


_CODES = [op.code.encode("latin-1") for op in pickletools.opcodes]
_PIECES = st.lists(
    st.one_of(
        st.sampled_from(_CODES),
        st.sampled_from([_text("os"), _text("sep"), b"q\x00", b"q\x01", b"h\x00", b"h\x01"]),
        st.sampled_from([GLOBAL, b"\x94", b"0", b"2", b"N", b"(", b"1"]),
    ),
    max_size=14,
)


@given(_PIECES)
def test_no_stream_imports_what_the_scanner_does_not_see(pieces):
    """Whatever the opcodes, an import that happens was named, or the stream was refused."""
    stream = b"\x80\x04" + b"".join(pieces) + b"."

    found = set()

    class Harmless(pickle.Unpickler):
        def find_class(self, module, name):
            found.add(f"{module}:{name}")
            return list

        def persistent_load(self, pid):
            return None

    try:
        named = set(pickle_globals(stream))
    except RecordError:
        return
    with contextlib.suppress(Exception):  # most such streams are no pickle
        Harmless(io.BytesIO(stream), fix_imports=False).load()

    assert found <= named


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    """Bytes that are no pickle give one typed error, never another."""
    with contextlib.suppress(RecordError):
        pickle_globals(data)


# ---- long texts are gone past when globals are listed


@pytest.mark.parametrize("length", [4000, 4096, 4097, 300_000])
@pytest.mark.parametrize("make", [lambda n: "x" * n, lambda n: b"x" * n, bytearray])
def test_long_texts_hide_no_global(length, make):
    """Whatever stands between them, every global is listed."""
    stream = pickle.dumps([make(length), OrderedDict, make(length), [OrderedDict()]], protocol=5)

    assert pickle_globals(stream) == ("collections:OrderedDict",)


def test_a_global_named_by_a_long_text_is_refused():
    """No name is that long; what is not read cannot be allowed."""
    name = b"a" * 5000
    stream = b"\x80\x05X" + len(name).to_bytes(4, "little") + name + b"\x8c\x01b\x93."

    with pytest.raises(RecordError, match="something that is not text"):
        pickle_globals(stream)


@pytest.mark.parametrize("missing", [1, 2, 5001])
def test_a_long_text_that_is_cut_is_no_pickle(missing):
    """A size that goes beyond the end is not believed."""
    stream = pickle.dumps("a" * 5000, protocol=5)[:-missing]

    with pytest.raises(RecordError, match="no pickle"):
        pickle_globals(stream)
