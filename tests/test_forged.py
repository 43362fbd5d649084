"""Pickles of trusted names only that would take bytes for pointers: all refused before they run.

Each is shown on the numpy here first, in a process of its own.
"""

import contextlib
import gc
import inspect
import io
import pickle
import pickletools
import subprocess
import sys
import time
import tracemalloc
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.core.indexes.base import _new_Index
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from test_trust import _value, load

from modelversion.errors import RecordError, UntrustedPickleError
from modelversion.serializers import _arrays, _calls, _pickle
from modelversion.serializers._scan import scan
from modelversion.serializers._trusted import TRUSTED

POINTER = b"\x10" + bytes(7)
RECONSTRUCT, SCALAR = np._core.multiarray._reconstruct, np._core.multiarray.scalar
FROM_BUFFER = np._core.numeric._frombuffer
HONEST = (3, "|", None, None, None, -1, -1, 63)
NO_FLAGS = (3, "|", None, None, None, -1, -1, 0)


class Call:
    """Pickles as a call, and then a state."""

    def __init__(self, called, *args, state=None):
        self.reduced = (called, args, state) if state is not None else (called, args)

    def __reduce__(self):
        return self.reduced


class Again:
    """Pickles as state that is given to what is there already."""

    def __init__(self, made, state):
        self.made, self.state = made, state


class Items:
    """Pickles as items that are put into what is there already."""

    def __init__(self, made, *items):
        self.made, self.items = made, items


class New:
    """Pickles as an instance of a class, and then a state."""

    def __init__(self, cls, state):
        self.cls, self.state = cls, state


class Pickler(pickle._Pickler):
    """Writes the three above, which no object is pickled as."""

    def save(self, value, save_persistent_id=True):
        if type(value) is Again:
            self.save(value.made)
            self.save(value.state)
            self.write(pickle.BUILD)
        elif type(value) is New:
            self.save(value.cls)
            self.write(b")\x81")
            self.save(value.state)
            self.write(pickle.BUILD)
        elif type(value) is Items:
            self.save(value.made)
            for item in value.items:
                self.save(item)
            self.write(pickle.SETITEM)
        else:
            super().save(value, save_persistent_id)


def dumped(value):
    file = io.BytesIO()
    Pickler(file, 5).dump(value)
    return file.getvalue()


def dtype(text, state):
    return Call(np.dtype, text, False, True, state=state)


def array(shape, of, data):
    return Call(RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, shape, of, False, data))


def record(fields, size=8, flags=16, names=("a",)):
    return dtype(f"V{size}", (3, "|", None, names, fields, size, 1, flags))


def opcodes(*parts):
    return b"\x80\x05" + b"".join(parts) + b"."


def piece(value):
    """Give the opcodes that push a value, without memo."""
    return pickletools.optimize(pickle.dumps(value, 2))[2:-1]


NDARRAY = b"cnumpy\nndarray\n"
OBJECTS = b"cnumpy\ndtype\n" + piece(("O8", False, True)) + b"R" + piece(HONEST) + b"b"
BYTES = b"C\x08" + POINTER
ONE = piece((1,))


def changed_fields():
    fields = {"a": (np.dtype("i8"), 0)}
    made = record(fields)
    return [
        made,
        Items(fields, "a", (np.dtype("O"), 0)),
        Call(FROM_BUFFER, POINTER, made, (1,), "C"),
    ]


def emptied_fields():
    """An estimator pops its version from its state, which numpy has as its fields."""
    name = "_sklearn_version"
    fields = {name: (np.dtype("i8"), 0)}
    return [record(fields, names=(name,)), New(StandardScaler, fields)]


def given_fields():
    fields = {"_sklearn_version": (np.dtype("i8"), 0), "a": (np.dtype("i8"), 0)}
    scaler = New(StandardScaler, fields)
    return [scaler, record(fields, names=("_sklearn_version", "a"))]


def state_twice():
    made = array((5000,), np.dtype("i1"), bytes(5000))
    seen = Call(FROM_BUFFER, made, np.dtype("i1"), (5000,), "C")
    return [seen, Again(made, (1, (0,), np.dtype("i1"), False, b""))]


def unfinished():
    """An array goes to one who keeps its memory, before its state gives it other memory."""
    made = Call(RECONSTRUCT, np.ndarray, (0,), b"b")
    index = Call(_new_Index, pd.Index, {"data": made, "copy": False})
    return [index, Again(made, (1, (3,), np.dtype("i1"), False, bytes(3)))]


NO_OBJECTS = dtype("O8", NO_FLAGS)
HIDDEN = record({"a": (np.dtype("O"), 0)})
TOUCH = "repr(value)"
KILLED, RAISED = "killed", "raised"

# What it is -> (stream, how it is touched, what happens to a process that loads and touches it).
FORGED = {
    "an array that is called": (
        dumped(Call(np.ndarray, (1,), np.dtype("O"), POINTER)),
        TOUCH,
        KILLED,
    ),
    "by NEWOBJ": (opcodes(NDARRAY, b"(", ONE, OBJECTS, BYTES, b"t\x81"), TOUCH, KILLED),
    "by NEWOBJ_EX": (
        opcodes(NDARRAY, b"(", ONE, OBJECTS, b"t}", piece("buffer"), BYTES, b"s\x92"),
        TOUCH,
        KILLED,
    ),
    "by OBJ": (opcodes(b"(", NDARRAY, ONE, OBJECTS, BYTES, b"o"), TOUCH, KILLED),
    "by INST": (opcodes(b"(", ONE, OBJECTS, BYTES, b"inumpy\nndarray\n"), TOUCH, KILLED),
    "a dtype of objects that denies them": (
        dumped(array((1,), NO_OBJECTS, POINTER)),
        TOUCH,
        KILLED,
    ),
    "the same, from a buffer": (
        dumped(Call(FROM_BUFFER, POINTER, NO_OBJECTS, (1,), "C")),
        TOUCH,
        KILLED,
    ),
    "the same, as a scalar": (dumped(Call(SCALAR, NO_OBJECTS, POINTER)), TOUCH, KILLED),
    "the same, masked": (
        dumped(
            Call(
                *(np.ma.core._mareconstruct, np.ma.MaskedArray, np.ndarray, (0,), "b"),
                state=(1, (1,), NO_OBJECTS, False, POINTER, b"\0", None),
            )
        ),
        TOUCH,
        KILLED,
    ),
    "fields of objects": (dumped(Call(FROM_BUFFER, POINTER, HIDDEN, (1,), "C")), TOUCH, KILLED),
    "fields of objects, as a scalar": (dumped(Call(SCALAR, HIDDEN, POINTER)), TOUCH, KILLED),
    "fields of objects, in a frame": (
        dumped(Call(pd.DataFrame, Call(FROM_BUFFER, POINTER, HIDDEN, (1,), "C"))),
        TOUCH,
        KILLED,
    ),
    "fields of fields of objects": (
        dumped(Call(FROM_BUFFER, POINTER, record({"a": (HIDDEN, 0)}), (1,), "C")),
        TOUCH,
        KILLED,
    ),
    "fields that are changed later": (dumped(changed_fields()), "repr(value[-1])", KILLED),
    "fields that an estimator takes from": (dumped(emptied_fields()), TOUCH, RAISED),
    "fields that an estimator took from": (dumped(given_fields()), TOUCH, RAISED),
    "a field outside": (
        dumped(Call(FROM_BUFFER, POINTER, record({"a": (np.dtype("i8"), 2**45)}), (1,), "C")),
        TOUCH,
        KILLED,
    ),
    "a field before": (
        dumped(Call(FROM_BUFFER, POINTER, record({"a": (np.dtype("i8"), -(2**30))}), (1,), "C")),
        TOUCH,
        KILLED,
    ),
    "arrays of objects inside": (
        dumped(
            Call(
                *(FROM_BUFFER, POINTER),
                dtype("V8", (3, "|", (np.dtype("O"), (1,)), None, None, 8, 8, 0)),
                *((1,), "C"),
            )
        ),
        TOUCH,
        KILLED,
    ),
    "arrays inside that are longer": (
        dumped(
            Call(
                *(FROM_BUFFER, POINTER),
                record(
                    {
                        "a": (
                            dtype("V8", (3, "|", (np.dtype("i8"), (2**24,)), None, None, 8, 8, 0)),
                            0,
                        )
                    }
                ),
                *((1,), "C"),
            )
        ),
        "value['a'].sum()",
        KILLED,
    ),
    "a list that is too short": (dumped(array((100_000,), np.dtype("O"), [])), TOUCH, KILLED),
    "a list of numbers": (
        dumped(array((100_000,), dtype("f8", (3, "<", None, None, None, -1, -1, 2)), [])),
        TOUCH,
        KILLED,
    ),
    "times without a unit": (
        dumped(dtype("M8", (3, "<", None, None, None, -1, -1, 0))),
        TOUCH,
        KILLED,
    ),
    "items of less than nothing": (
        dumped(
            Call(np.ndarray, (2,), dtype("S8", (3, "|", None, None, None, -8, 1, 0)), b"1" * 16)
        ),
        TOUCH,
        KILLED,
    ),
    "times that step over all memory": (
        dumped(Call(np.ndarray, (2**59 + 1,), np.dtype("M8[s]"), bytearray(64), 0, (32,))),
        "value[2**50]",
        KILLED,
    ),
    "state that is given twice": (
        dumped(state_twice()),
        "print(value[0].size, value[1].size)",
        "5000 0",
    ),
    "an array that is used unfinished": (dumped(unfinished()), "print(len(value[0]))", "3"),
    "the dtype that all share": (
        dumped(Call(np.dtype, "O", state=NO_FLAGS)),
        "import numpy; print(numpy.dtype('O').hasobject)",
        "True",  # numpy gives state to copies only
    ),
    "a class that is changed": (
        dumped(Again(Fraction, (None, {"limit_denominator": 1}))),
        "print(value.limit_denominator)",
        "1",
    ),
    "an object of another class": (
        dumped(New(Fraction, (None, {"_numerator": b""}))),
        "print(value._numerator)",
        "b''",
    ),
    "an object from another maker": (
        dumped(Call(np.sqrt, np.dtype("O"), state=(1, (1,), NO_OBJECTS, False, POINTER))),
        TOUCH,
        RAISED,
    ),
    # What numpy and pandas refuse by themselves, today.
    "objects from a buffer": (
        dumped(Call(FROM_BUFFER, POINTER, np.dtype("O"), (1,), "C")),
        TOUCH,
        RAISED,
    ),
    "objects as a scalar": (dumped(Call(SCALAR, np.dtype("O"), np.ndarray)), TOUCH, RAISED),
    "objects of bytes": (dumped(array((1,), np.dtype("O"), POINTER)), TOUCH, RAISED),
    "bytes of another length": (dumped([array((9,), np.dtype("f8"), [1.0])]), TOUCH, RAISED),
    "an index that is no index": (
        dumped(Call(_new_Index, np.ndarray, {"shape": (1,), "buffer": POINTER})),
        TOUCH,
        RAISED,
    ),
    "a generator from a dtype": (
        dumped(Call(np.random._pickle.__dict__["__generator_ctor"], "f8", np.dtype)),
        TOUCH,
        RAISED,
    ),
}


def happens(stream, touch):
    """Tell what becomes of a process that loads and touches it."""
    code = f"import pickle, sys; value = pickle.load(sys.stdin.buffer); {touch}"
    command = [sys.executable, "-W", "ignore", "-c", code]
    ran = subprocess.run(command, check=False, input=stream, capture_output=True, timeout=120)
    if ran.returncode < 0:
        return KILLED
    return RAISED if ran.returncode else ran.stdout.decode().strip()


@pytest.mark.parametrize("name", FORGED)
def test_what_the_libraries_here_do_with_it(name):
    """Each is as written down: most end a process that touches what was made."""
    stream, touch, wanted = FORGED[name]

    assert set(scan(stream).globals) <= TRUSTED
    assert happens(stream, touch) == wanted


@pytest.mark.parametrize("name", FORGED)
def test_it_is_refused_before_it_runs(name, tmp_path, monkeypatch):
    """The names are told that are used so, with the line to write."""
    monkeypatch.setattr(pickle, "loads", None)

    with pytest.raises(
        UntrustedPickleError, match=r"as its own library's pickles do not"
    ) as caught:
        load(FORGED[name][0], tmp_path, False)

    assert set(caught.value.globals) == set(scan(FORGED[name][0]).misused)
    assert f"allow_pickle={list(caught.value.globals)}" in str(caught.value)


# ---- each guard is needed

SCALER = piece(StandardScaler)
UNCHANGING = property(lambda self: False, lambda self, value: None)
ALWAYS = property(lambda self: True, lambda self, value: None)


def yes(*args):
    return True


def anything(called, args):
    return _calls.Made("x", fresh=True)


def whatever(dtype, state):
    dtype.kind = "V"
    return True


# Guard -> what is in its place when it is gone, and a pickle that is refused for it alone.
GUARDS = {
    "what is called": (_calls, "made_by", anything, FORGED["an array that is called"][0]),
    "which state": (_calls, "takes_state", yes, FORGED["a class that is changed"][0]),
    "who is never called": (_calls, "_MAKERS", {}, dumped(Call(np.ndarray, 1))),
    "what it is called with": (_calls, "_is_literal", yes, dumped(Call(pd.DataFrame, [1]))),
    "dtypes": (_calls, "read_dtype", whatever, dumped(HIDDEN)),
    "flags": (_arrays, "_is_flagged", yes, dumped(NO_OBJECTS)),
    "sizes": (_arrays, "_is_sized", yes, dumped(dtype("S8", (3, "|", None, None, None, -8, 1, 0)))),
    "metadata": (_arrays, "_is_metadata", yes, FORGED["times without a unit"][0]),
    "fields": (_arrays, "_are_fields", yes, dumped(HIDDEN)),
    "one field": (_arrays, "_is_field", yes, dumped(record({"a": (np.dtype("i8"), 1)}))),
    "arrays inside": (
        *(_arrays, "_is_inside", yes),
        dumped(dtype("V8", (3, "|", (np.dtype("O"), (1,)), None, None, 8, 8, 0))),
    ),
    "state of arrays": (_calls, "is_array_state", yes, FORGED["a list that is too short"][0]),
    "dicts that are kept": (_calls, "_give", yes, FORGED["fields that an estimator takes from"][0]),
    "dicts that do not change": (
        *(_calls.Pairs, "kept", UNCHANGING),
        FORGED["fields that are changed later"][0],
    ),
    "dicts that were given": (
        *(_calls.Pairs, "given", UNCHANGING),
        FORGED["fields that an estimator took from"][0],
    ),
    "arrays that are finished": (
        *(_calls, "_is_array", lambda value: type(value) is _calls.Array),
        FORGED["an array that is used unfinished"][0],
    ),
    "how far times reach": (
        *(_calls, "_MAKERS", {**_calls._MAKERS, "numpy:ndarray": _calls._TIMES}),
        FORGED["times that step over all memory"][0],
    ),
    "no slots": (_calls, "_is_tuple_state", yes, FORGED["an object of another class"][0]),
    "state once": (
        *(_calls.Made, "fresh", ALWAYS),
        dumped(
            [
                made := array((1,), np.dtype("i1"), b"1"),
                Again(made, (1, (0,), np.dtype("i1"), False, b"")),
            ]
        ),
    ),
    "who takes pairs": (
        *(_calls, "takes_pairs", yes),
        dumped([made := New(StandardScaler, {}), Items(made, "a", 1)]),
    ),
    "who takes items": (_calls, "takes_items", yes, opcodes(SCALER, b")\x81K\x01a")),
    "what is a set": (_calls, "is_free_value", yes, opcodes(SCALER, b")\x81(K\x01\x90")),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_mutant_without_a_guard(guard, monkeypatch):
    """What is refused would be accepted: every guard is there for something."""
    where, name, instead, stream = GUARDS[guard]
    assert scan(stream).misused

    monkeypatch.setattr(where, name, instead)

    assert scan(stream).misused == ()


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (opcodes(NDARRAY, b")\x81", b"\x98"), "no buffer is made read-only"),
        (opcodes(b"Nr\xff\xff\xff\x7f"), "a slot beyond all"),
        (opcodes(b"N)R"), "calls or changes what has no name"),
        (opcodes(b"}(K\x01K\x02o"), "calls or changes what has no name"),
        (opcodes(b"]}b"), "calls or changes what has no name"),
        (opcodes(b"(K\x01R"), "no pickle"),
        (opcodes(b"K\x01(2"), "no pickle"),
        (opcodes(b"(1"), "no pickle"),
    ],
)
def test_streams_that_no_unpickler_follows_are_refused(stream, why):
    """Nothing is taken from below a mark, out of an empty slot, or called without a name."""
    with pytest.raises(RecordError, match=why):
        scan(stream)


def test_a_global_is_named_as_the_unpickler_reads_it():
    """In the lines of an old opcode a backslash is a backslash."""
    assert scan(opcodes(b"cnum\\x70y\nndarray\n")).globals == (r"num\x70y:ndarray",)


def test_the_collector_works_on_after_a_scan():
    """It rests while stand-ins are made, and no longer, whether the stream was good or not."""
    for stream in (opcodes(b"N"), b"x"):
        with contextlib.suppress(RecordError):
            scan(stream)
        assert gc.isenabled()


# ---- what the list may do


def test_every_name_has_its_use():
    """What is no class is in the table, or is called with numbers and texts; so are arrays."""
    free = {"_nat_unpickle", "_timedelta_unpickle", "type_for_alias"}
    values = {name: _value(name) for name in TRUSTED}
    functions = {
        name for name, value in values.items() if value is not None and not inspect.isclass(value)
    }
    arrays = {
        name
        for name, value in values.items()
        if inspect.isclass(value) and issubclass(value, (np.ndarray, np.dtype, np.generic))
    }

    assert set(_calls._MAKERS) <= TRUSTED
    left = (functions | arrays) - set(_calls._MAKERS)
    assert {name.partition(":")[2] for name in left} == free


def test_a_class_that_the_reader_gave_is_passed_as_ours_are(tmp_path):
    """A list that was enough for a class of pandas that is not on ours stays enough."""
    index = pd.CategoricalIndex(["a", "b"])
    stream = pickle.dumps(index, protocol=5)

    with pytest.raises(UntrustedPickleError) as caught:
        load(stream, tmp_path, False)

    assert caught.value.globals == ("pandas:CategoricalIndex",)
    assert load(stream, tmp_path, ["pandas:CategoricalIndex"]).equals(index)


def test_the_names_of_the_message_load_what_is_called_otherwise(tmp_path):
    """A reader who trusts the writer gives the names, and it is loaded as it is."""
    stream = dumped(Call(np.ndarray, (1,), np.dtype("f8"), POINTER))
    with pytest.raises(UntrustedPickleError) as caught:
        load(stream, tmp_path, False)

    assert caught.value.globals == ("numpy:ndarray",)
    assert load(stream, tmp_path, caught.value.globals).tobytes() == POINTER


def test_a_name_that_was_given_does_not_free_another(tmp_path):
    """A class of the reader's own is not a way around the dtypes."""
    stream = dumped(Call(np.dtype, Call, False, True, state=NO_FLAGS))

    with pytest.raises(UntrustedPickleError) as caught:
        load(stream, tmp_path, [f"{Call.__module__}:Call"])

    assert caught.value.globals == ("numpy:dtype",)


def test_nothing_is_scanned_for_a_reader_who_trusts(tmp_path, monkeypatch):
    """With allow_pickle=True it costs nothing."""
    monkeypatch.setattr(_pickle, "scan", None)

    assert load(pickle.dumps([1], protocol=5), tmp_path, True) == [1]


VARIED = {
    "records": np.zeros(2, [("a", "f8", (3,)), ("b", "U5"), ("n", [("x", "i1")])]),
    "aligned records": np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "a record": np.zeros(2, [("a", "M8[ns]")])[0],
    "times": [np.array(["2026"], "M8[Y]"), np.zeros((3, 4), "M8[ns]").T, np.zeros((2, 0), "m8")],
    "of another order": [np.arange(3, dtype=">i4"), np.zeros(3, ">M8[s]"), np.zeros(2, ">U3")],
    "objects": np.array([[1, "a"], [None, {}]], dtype=object),
    "arrays in objects": np.array([np.arange(3), np.arange(2)], dtype=object),
    "of no dimension": [np.array(3), np.array(None), np.array("x"), np.array("2026", "M8[D]")],
    "orders": [np.zeros((2, 3, 4)).transpose(1, 0, 2), np.zeros(4)[::2], np.zeros((2, 3)).T],
    "masked": [np.ma.array([1.0, 2], mask=[0, 1]), np.ma.array(["a", None], dtype=object)],
    "one dict of fields": [
        shared := np.zeros(1, [("a", "f8")]),
        shared.view(np.dtype(shared.dtype)),
    ],
    "random": [np.random.default_rng(3), *np.random.SeedSequence([1, 2]).spawn(2)],
    "frames": pd.DataFrame({"k": ["a", "b"], "x": [1.0, 2]}).set_index(["k", "x"]),
    "a summary": pd.DataFrame({"k": ["a", "b"], "x": [1.0, 2]}).groupby("k").agg(["mean", "max"]),
    "nullable": pd.DataFrame({"x": [1, None], "s": ["a", None]}).convert_dtypes(),
    "a long bytearray": bytearray(9000),
}


@pytest.mark.parametrize("what", VARIED)
def test_what_libraries_write_is_not_refused(what, tmp_path):
    """Arrays and frames of all kinds, as they are and as they are saved."""
    out = io.BytesIO()
    _pickle._pickle(VARIED[what], out, [])

    assert scan(out.getvalue()).misused == ()
    load(pickle.dumps(VARIED[what], protocol=5), tmp_path, False)


# ---- any bytes


def real_streams():
    rng = np.random.RandomState(0)
    X, y = rng.rand(30, 3), np.arange(30) % 2
    for value in (
        LogisticRegression().fit(X, y),
        RandomForestClassifier(2).fit(X, y),
        pd.DataFrame({"a": [1, 2], "t": pd.to_datetime(["2026-01-01"] * 2, utc=True)}),
        np.zeros(2, [("a", "i4"), ("b", "f8")]),
        [{1, 2}, frozenset([1]), {"a": (1, 2, 3, 4)}, -1, 2**70, 1.5, b"x", "y", None, True],
    ):
        for protocol in (0, 2, 5):
            yield pickle.dumps(value, protocol=protocol, fix_imports=False)


REAL = list(real_streams())
OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


@st.composite
def broken(draw):
    """Give a real stream that was cut, or had something put over or between its bytes."""
    stream = draw(st.sampled_from(REAL))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(stream)))
        end = min(len(stream), start + draw(st.integers(0, 8)))
        other = draw(st.sampled_from(REAL))
        cut = draw(st.integers(0, len(other)))
        put = draw(
            st.one_of(
                st.sampled_from(OPCODES), st.binary(max_size=6), st.just(other[cut : cut + 40])
            )
        )
        stream = stream[:start] + put + stream[end:]
    return stream[: draw(st.integers(0, len(stream)))] if draw(st.booleans()) else stream


@given(broken())
def test_any_stream_is_read_or_refused(stream):
    """However a stream was damaged, there is an answer or one typed error."""
    with contextlib.suppress(RecordError):
        scan(stream)


CALLED = "numpy:sqrt"
PIECES = st.lists(
    st.one_of(
        st.sampled_from(OPCODES),
        st.sampled_from(
            [b"cnumpy\nsqrt\n", b")", b"R", b"\x81", b"b", b"(", b"o", b"q\x00", b"h\x00"]
        ),
        st.sampled_from(
            [b"inumpy\nsqrt\n", b"\x8c\x05numpy", b"\x8c\x04sqrt", b"\x93", b"}", b"2", b"0"]
        ),
    ),
    max_size=16,
)


@given(PIECES)
def test_no_stream_calls_what_is_never_called(pieces):
    """Whatever the opcodes, a call that happens was told, or the stream was refused."""
    stream = opcodes(*pieces)
    called = []

    class Function:
        def __new__(cls, *args, **named):
            called.append(args)
            return object.__new__(cls)

        def __setstate__(self, state):
            called.append(state)

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            return Function

    try:
        told = scan(stream)
    except RecordError:
        return
    with contextlib.suppress(Exception):  # most such streams are no pickle
        Unpickler(io.BytesIO(stream), fix_imports=False).load()

    assert not called or CALLED in told.misused or not set(told.globals) <= TRUSTED


BOMBS = {
    "doubled tuples": b"N" + b"2\x86" * 100_000,
    "nested lists": b"]" * 100_000 + b"a" * 99_999,
    "marks": b"(" * 200_000 + b"1" * 200_000 + b"N",
    "slots": b"N" + b"\x94" * 200_000,
    "lists in lists": b"](" + b"2" * 1000 + b"e",
    "a list that grows by itself": b"]" + b"(2" * 0 + b"2a" * 100_000,
    "fields of doubled tuples": b"cnumpy\ndtype\n"
    + piece(("V8", False, True))
    + b"R("
    + piece(3)
    + b"\x8c\x01|N"
    + b")2\x86"
    + b"2\x86" * 50_000
    + b"}K\x08K\x01K\x10tb",
    "a huge number": b"\x8b" + (50_000).to_bytes(4, "little") + b"\x7f" * 50_000,
    "a size that is not there": b"\x8e" + b"\xff" * 8,
    "another": b"\x8d" + b"\xff" * 7 + b"\x7f",
    "a huge shape": NDARRAY + piece((2**2000,) * 64) + b"R",
}


@pytest.mark.parametrize("what", BOMBS)
def test_no_stream_takes_long_or_much(what):
    """Time and memory go with the bytes of the stream, not with what they would make."""
    stream = opcodes(BOMBS[what])
    tracemalloc.start()
    began = time.perf_counter()

    with contextlib.suppress(RecordError):
        scan(stream)

    took, (_, most) = time.perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 20
    assert most < 2**20 + 300 * len(stream)
