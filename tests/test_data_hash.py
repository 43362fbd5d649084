"""The data hash: the probe table in two processes, properties, and what each guard is for."""

import datetime as dt
import itertools
import json
import os
import subprocess
import sys
import textwrap
import warnings
import zoneinfo
from pathlib import Path

import datasets
import hash_probe
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import modelversion as mv
from modelversion.errors import FingerprintError
from modelversion.fingerprints import (
    _arrow,
    _containers,
    _core,
    _engine,
    _families,
    _files,
    _numpy,
    _objects,
    _tables,
    _texts,
)

PROBE = Path(hash_probe.__file__)


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_probe_table_holds_in_every_process(seed):
    """Over 100 groups have the digests that are on file, whatever the seed of hashes."""
    done = subprocess.run(
        [sys.executable, str(PROBE)],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    cases, groups = (int(word) for word in done.stdout.split() if word.isdigit())
    assert cases >= 400 and groups >= 160


@pytest.mark.parametrize("part", hash_probe.PARTS)
def test_the_probe_table_holds_here(part):
    """Every form of a group has its digest, and no other group has it."""
    assert list(hash_probe.problems(hash_probe.digests([part]), hash_probe.recorded())) == []


def test_the_vectors_are_those_of_the_table():
    """No vector is left over from a group that is gone."""
    named = {f"{part.__name__}: {group}" for part in hash_probe.PARTS for group, _ in part()}

    assert set(hash_probe.recorded()) == named
    assert len(set(hash_probe.recorded().values())) == len(named)


# ---- properties


TEXTS = st.none() | st.text(max_size=3)
VALUES = {
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "uint8": (pa.uint8(), st.integers(0, 255)),
    "float64": (pa.float64(), st.floats()),
    "float32": (pa.float32(), st.floats(width=32)),
    "bool": (pa.bool_(), st.booleans()),
    "string": (pa.string(), st.text(max_size=5)),
    "binary": (pa.large_binary(), st.binary(max_size=5)),
    "datetime": (pa.timestamp("us"), st.integers(-(2**55), 2**55)),
    "date": (pa.date32(), st.integers(-(10**5), 10**6)),
    "lists": (pa.list_(pa.int64()), st.lists(st.none() | st.integers(0, 9), max_size=3)),
    "strings in lists": (pa.list_(pa.string()), st.lists(TEXTS, max_size=3)),
    "structs": (
        pa.struct([("a", pa.int64()), ("b", pa.string())]),
        st.fixed_dictionaries({"a": st.none() | st.integers(0, 9), "b": TEXTS}),
    ),
    "categories": (pa.dictionary(pa.int32(), pa.string()), st.sampled_from("abc")),
}  # fmt: skip


@st.composite
def columns(draw):
    """A column with nulls, as one array."""
    kind, values = VALUES[draw(st.sampled_from(sorted(VALUES)))]
    rows = draw(st.lists(st.none() | values, max_size=20))
    return pa.array(rows, type=kind)


def cut(array, ends, before):
    """Give the same column in pieces, each behind rows that are not its own."""
    bounds = [0, *sorted(min(end, len(array)) for end in ends), len(array)]
    pieces = []
    for start, stop in itertools.pairwise(bounds):
        junk = array.slice(0, min(before, len(array)))
        own = array.slice(start, stop - start)
        pieces.append(pa.concat_arrays([junk, own]).slice(len(junk)))
    return pa.chunked_array(pieces, type=array.type)


@given(columns(), st.lists(st.integers(0, 20), max_size=4), st.integers(0, 9))
@settings(max_examples=300, deadline=None)
def test_chunks_and_offsets_do_not_count(array, ends, before):
    """A column cut into pieces behind offsets has the digest of the whole one."""
    table = pa.table({"x": array})

    assert (
        mv.fingerprint(pa.table({"x": cut(array, ends, before)})).digest
        == mv.fingerprint(table).digest
    )


@given(columns())
@settings(max_examples=200, deadline=None)
def test_libraries_agree(array):
    """polars, and pandas over Arrow, give the digest that Arrow gives."""
    table = pa.table({"x": array})

    found = mv.fingerprint(table).digest
    assert mv.fingerprint(pl.from_arrow(table)).digest == found
    if not pa.types.is_dictionary(array.type):
        assert mv.fingerprint(table.to_pandas(types_mapper=pd.ArrowDtype)).digest == found


@given(columns(), st.data())
@settings(max_examples=200, deadline=None)
def test_two_columns_are_equal_only_if_their_values_are(array, data):
    """Rows drawn again give the same digest if and only if they are the same rows."""
    rows = array.to_pylist()
    others = data.draw(st.permutations(rows))
    changed = pa.array(others, type=array.type)

    def seen(values):
        return [
            "missing" if v is None or v != v else (repr(v), np.signbit(v) if v == 0 else 0)
            for v in values
        ] if not pa.types.is_nested(array.type) else repr(values)  # fmt: skip

    same = mv.fingerprint(changed).digest == mv.fingerprint(array).digest
    assert same == (seen(others) == seen(rows))


@given(st.lists(st.none() | st.text(max_size=4), max_size=30), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_steps_and_blocks_are_not_seen_in_objects(rows, step):
    """Object columns have the digest of Arrow's strings, whatever is taken at a time."""
    values = np.array([*rows, "x"], dtype=object)
    source = _objects.ObjectSource(values)
    source.step = step * 8

    (column,) = _core.hash_columns([source])
    assert column.digest == _core.hash_columns([_arrow.source(pa.array(values))])[0].digest


@pytest.mark.parametrize("rows", [_core.BLOCK - 1, _core.BLOCK, _core.BLOCK + 1])
def test_blocks_begin_at_logical_rows(rows):
    """A table over a block's border has one digest, however it is chunked."""
    values = np.arange(rows) % 7
    whole = pa.table({"x": values})
    pieces = pa.concat_tables([whole.slice(0, 1000), whole.slice(1000)])

    found = mv.fingerprint(pieces).digest
    assert found == mv.fingerprint(whole).digest == mv.fingerprint(pl.from_arrow(pieces)).digest
    assert found == mv.fingerprint(pd.DataFrame({"x": values})).digest


@given(st.lists(st.none() | st.text(max_size=4) | st.just(float("nan")), max_size=30))
@settings(max_examples=100, deadline=None)
def test_texts_are_the_same_with_and_without_arrow(rows):
    """The three ways of hashing objects that are texts agree: joined, by Arrow, one by one."""
    values = np.array([*rows, "x"], dtype=object)[:-1]

    with pytest.MonkeyPatch.context() as patch:
        found = mv.fingerprint(values).digest
        patch.setattr(_objects, "_texts_by_join", lambda values: None)
        assert mv.fingerprint(values).digest == found
        patch.setattr(_objects, "_texts_by_arrow", lambda values: None)
        assert mv.fingerprint(values).digest == found


@given(st.lists(st.text(max_size=5), max_size=20))
@settings(max_examples=200, deadline=None)
@example(["\0", "a\0", ""])
@example(["\ud800", "\udc00", "ä€😀"])
def test_lengths_are_those_of_the_bytes(rows):
    """Whatever stands in texts, also what they are told apart by, each keeps its length."""
    lengths, joined = _texts.encode_texts(rows)

    encoded = [row.encode("utf-8", "surrogatepass") for row in rows]
    assert lengths.dtype == "<u4"
    assert lengths.tolist() == [len(row) for row in encoded]
    assert joined == b"".join(encoded)


def test_a_text_that_is_too_long_is_refused():
    """A length that its four bytes cannot hold is never cut."""

    class Long:
        def __len__(self):
            return 2**32

    with pytest.raises(FingerprintError, match="4 GiB"):
        _texts.lengths_of([Long()])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
def test_long_texts_take_little_memory():
    """Documents are copied a few at a time, so that a column of them needs no room of its size."""
    page = "x" * 50_000
    script = f"""
        import numpy as np, pathlib, modelversion as mv
        def status(field):
            lines = pathlib.Path("/proc/self/status").read_text().splitlines()
            return int(next(l for l in lines if l.startswith(field)).split()[1]) // 1024
        values = np.array([chr(97 + i % 26) * {len(page)} for i in range(6000)], dtype=object)
        mv.fingerprint(values[:100])
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        mv.fingerprint(values)
        print(status("VmHWM") - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )

    assert int(done.stdout) < 64, "megabytes more, of 286"


NANS = {"the one": 0, "negative": -(2**63), "with a payload": 5}


@pytest.mark.parametrize("kind", NANS)
@pytest.mark.parametrize("first", [0, 10, _core.STEP + 10, 3 * _core.STEP])
def test_a_nan_is_a_nan_wherever_it_shows_first(kind, first):
    """What was hashed before the first odd NaN was seen is as it would be without it."""
    values = np.arange(4.0 * _core.STEP)
    values[first::7] = np.nan
    odd = values.copy()
    odd.view("i8")[first::7] |= NANS[kind]

    found = mv.fingerprint(odd)

    assert found == mv.fingerprint(values)
    assert found.profile["values"].nulls == len(range(first, len(values), 7))


def test_without_the_second_look_an_odd_nan_shows(monkeypatch):
    """Taking back what was hashed is what makes every NaN the same."""
    odd = np.arange(10.0)
    odd[3] = np.nan
    plain = mv.fingerprint(odd).digest
    odd.view("i8")[3] |= -(2**63)
    assert mv.fingerprint(odd).digest == plain

    monkeypatch.setattr(_numpy.FloatKernel, "_with_one_nan", lambda self, part: part)

    assert mv.fingerprint(odd).digest != plain


def test_threads_change_nothing(monkeypatch):
    """One core gives what several give."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(3 * 2**20, 3)))

    monkeypatch.setattr(_core, "_cores", lambda: 4)
    several = mv.fingerprint(frame)
    monkeypatch.setattr(_core, "_cores", lambda: 1)
    assert mv.fingerprint(frame) == several


def test_pieces_of_an_engine_are_put_together():
    """Shape, columns and profile are of all pieces; empty ones do not count, and order does."""
    frame = pd.DataFrame({"x": [1, 2, 3], "s": ["a", None, "b"], "y": [np.nan, 1.0, np.nan]})
    first, second, empty = (
        _engine.piece(frame.iloc[rows]) for rows in (slice(2), slice(2, 3), slice(0))
    )

    found = _engine.combined("dask", "frame", [first, empty, second])
    assert (found.kind, found.shape, found.columns["s"].type) == ("dask", (3, 3), "string")
    assert found == _engine.combined("dask", "frame", [first, second])
    assert found.digest != _engine.combined("dask", "frame", [second, first]).digest
    assert found.profile["x"].to_dict() == {"rows": 3, "nulls": 0, "min": 1, "max": 3, "mean": 2.0}
    assert found.profile["y"].to_dict() == {
        "rows": 3, "nulls": 2, "min": 1.0, "max": 1.0, "mean": 1.0,
    }  # fmt: skip
    with pytest.raises(FingerprintError, match="do not have the same columns"):
        _engine.combined("dask", "frame", [first, _engine.piece(frame[["x"]])])


# ---- mutants: each guard is switched off, and the table notices


def no_offset(self, array):
    buffer = array.buffers()[1]
    if buffer is None:
        return np.zeros(len(array), self._dtype)
    return np.frombuffer(buffer, self._dtype)[: len(array)]


def with_hidden(self, array, missing):
    ends = np.frombuffer(array.buffers()[1], self._offset, len(array) + 1, 0)
    self._update(np.diff(ends), array.buffers()[2], int(ends[0]), int(ends[-1]))


def no_remainder(values, split=_numpy.microseconds):
    micros, nanos = split(values)
    return micros, np.zeros_like(nanos)


def any_nan(self, part):
    self._nulls += int(np.isnan(part).sum())
    return part


def as_it_comes(self, count):
    return np.ones(count, bool)


MUTANTS = {
    "bytes hidden under null strings": (_arrow._Texts, "take_present", with_hidden, "texts"),
    "offsets of slices": (_arrow._Viewed, "_values", no_offset, "integers"),
    "nanoseconds": (_numpy, "microseconds", no_remainder, "times"),
    "one NaN": (_numpy.FloatKernel, "_with_one_nan", any_nan, "floats"),
    "names in the root": (_tables, "name_of", lambda name: "", "integers"),
    "types in the column": (_core, "column_digest", lambda kind, rows, blocks, categories="":
        _core.root([rows, [b.hex() for b in blocks]]), "integers"),
    "categories in the column": (_core, "column_digest", lambda kind, rows, blocks, categories="":
        _core.root([kind, rows, [b.hex() for b in blocks]]), "categories"),
    "validity": (_core.Validity, "bits", lambda self: b"", "integers"),
    "unused categories": (_tables.CategoriesSource, "_used", as_it_comes, "categories"),
    "length of an item": (_containers, "_prefixed", lambda data: data, "containers"),
    "number of items": (_containers, "_counted", lambda tag, parts: tag + b"".join(parts),
        "containers"),
    "order of sets and dicts": (_containers, "sorted", list, "containers"),
    "lengths of texts": (_texts, "_text_lengths", lambda rows: np.zeros(len(rows), "<u4"),
        "arrays"),
    "names of files": (_files, "_line", lambda name, digest: digest.encode(), "files"),
    "missing objects": (_objects, "is_missing", lambda value: value is None or value is pd.NA,
        "decimals"),
    "an index": (_families.import_module("modelversion.fingerprints._pandas"), "_is_default",
        lambda index: True, "indexes"),
    "names of time zones": (_tables, "zone_name", str, "times"),
}  # fmt: skip


@pytest.mark.parametrize("guard", MUTANTS)
def test_the_table_notices_a_missing_guard(guard, monkeypatch):
    """Without the guard a case is wrong that is right with it."""
    owner, name, mutant, part = MUTANTS[guard]
    parts = [getattr(hash_probe, part)]
    vectors = hash_probe.recorded()
    assert list(hash_probe.problems(hash_probe.digests(parts), vectors)) == []

    monkeypatch.setattr(owner, name, mutant, raising=False)
    assert list(hash_probe.problems(hash_probe.digests(parts), vectors))


def test_the_vectors_are_json_of_sha256():
    """Another implementation can read them without this library."""
    for group, digest in json.loads(hash_probe.VECTORS.read_text()).items():
        assert isinstance(group, str) and len(bytes.fromhex(digest)) == 32


# ---- rarer forms of storage


def same(one, other):
    return mv.fingerprint(one).digest == mv.fingerprint(other).digest


def test_how_arrow_stores_a_column_does_not_count():
    """Run ends, views, extension types and repeated entries of dictionaries are storage."""
    values = pa.array(["a", "a", None, "b"])
    plain = pa.table({"x": values})
    table = pa.table({"x": pc.run_end_encode(values)})

    assert same(table, plain)
    if hasattr(pa, "string_view"):
        assert same(pa.table({"x": values.cast(pa.string_view())}), plain)
    codes = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 2]), pa.array(["a", "a", "b"]))
    assert same(pa.table({"x": codes}), pa.table({"x": values.dictionary_encode()}))
    empty = pa.chunked_array([], pa.dictionary(pa.int32(), pa.string()))
    assert same(pa.table({"x": empty}), pd.DataFrame({"x": pd.Categorical([])}).astype(
        {"x": pd.CategoricalDtype(pd.Index([], dtype=pd.ArrowDtype(pa.string())))}))  # fmt: skip
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(4.0).reshape(2, 2))
    assert same(pa.table({"x": tensors}), pa.table({"x": tensors.storage}))


def test_an_index_by_itself_is_a_column_or_a_table():
    """A MultiIndex is a table of its levels."""
    both = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", "n"])

    found = mv.fingerprint(both)
    assert (found.kind, list(found.columns)) == ("table", ["k", "n"])
    assert found.digest == mv.fingerprint(pa.table({"k": ["a", "b"], "n": [1, 2]})).digest
    assert mv.fingerprint(pd.Index([1, 2], name="n")).kind == "column"
    assert same(pd.array([1, 2], dtype="Int64"), pa.array([1, 2]))


def test_a_column_that_is_refused_is_named():
    """In tables of pandas and of Arrow."""
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])

    with pytest.raises(FingerprintError, match=r"^column 'u': the Arrow type"):
        mv.fingerprint(pa.table({"u": union}))
    with pytest.raises(FingerprintError, match=r"^column 'u': an array of dtype"):
        mv.fingerprint(pd.DataFrame({"u": np.array([1.5], np.longdouble)}))


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        ("Etc/UTC", "UTC"),
        (dt.UTC, "UTC"),
        (dt.timezone(dt.timedelta(hours=-3)), "-03:00"),
        (zoneinfo.ZoneInfo("Asia/Tokyo"), "Asia/Tokyo"),
        ("pytz.FixedOffset(-90)", "-01:30"),
    ],
)
def test_a_time_zone_has_one_name(zone, name):
    """Whatever object says it."""
    assert _tables.zone_name(zone) == name


def test_a_time_zone_without_a_name_is_refused():
    """Its rules are not known to another process."""
    with pytest.raises(FingerprintError, match="has no name"):
        _tables.zone_name("tzlocal(x)")


def test_times_outside_of_the_calendar_have_no_extremes():
    """The digest is there; the profile cannot print a year of five digits."""
    found = mv.fingerprint(np.array(["20000-01-01", "NaT"], "M8[s]"))

    assert found.profile["values"].to_dict() == {"rows": 2, "nulls": 1}


def test_tensors_of_small_floats_are_their_bits():
    """Eight bits have no counterpart in numpy."""
    values = torch.tensor([0.5, 1.0])

    assert same(values.to(torch.float8_e5m2), values.to(torch.float8_e5m2).clone())
    assert not same(values.to(torch.float8_e5m2), values.to(torch.float8_e4m3fn))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it is experimental
        half = torch.zeros(2, dtype=torch.complex32)
    with pytest.raises(FingerprintError, match="has no data hash; convert it"):
        mv.fingerprint(half)


def test_an_iterable_dataset_is_not_consumed():
    """It is refused, and gives its rows afterwards."""
    rows = datasets.Dataset.from_dict({"x": [1, 2]}).to_iterable_dataset()

    with pytest.raises(FingerprintError, match="streaming=False"):
        mv.fingerprint(rows)
    assert [row["x"] for row in rows] == [1, 2]
