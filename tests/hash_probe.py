"""The hash-probe table: which data must have one digest, and which must not.

Each group is a data set in several forms, which must have one digest; two groups must never
have the same. The digests stand in tests/data/data-hash-1.json, and every process, hash seed and
set of library versions must give them. `--write` puts those of this process there.
"""

import argparse
import datetime as dt
import json
import sys
import tempfile
import types
import uuid
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import scipy.sparse

import modelversion as mv

VECTORS = Path(__file__).parent / "data" / "data-hash-1.json"
OPTIONAL = ("datasets", "torch")
BIG = 2**20
NAN = float("nan")


def frame(**columns):
    return pd.DataFrame(columns)


def arrow(values, kind=None):
    return pa.table({"x": pa.array(values, type=kind)})


def forms(values, kind, **more):
    """One column as Arrow has it, in pieces, behind an offset, in polars and in pandas."""
    whole = pa.array(values, type=kind)
    behind = pa.concat_arrays([whole, whole]).slice(len(values))
    pieces = pa.chunked_array([whole.slice(i, 1) for i in range(len(values))], type=kind)
    mapped = pa.table({"x": whole}).to_pandas(types_mapper=pd.ArrowDtype)
    return {
        "arrow": pa.table({"x": whole}),
        "behind an offset": pa.table({"x": behind}),
        "in pieces": pa.table({"x": pieces}),
        "a batch": pa.RecordBatch.from_arrays([whole], names=["x"]),
        "polars": pl.from_arrow(pa.table({"x": whole})),
        "pandas over Arrow": mapped,
        **more,
    }


def nan_of(bits, kind="u8"):
    return np.array([bits], kind).view(kind.replace("u", "f"))[0]


def hidden(values, junk):
    """Texts with bytes hidden under the nulls."""
    filled = pa.array([junk if v is None else v for v in values], pa.string())
    bits = np.packbits([v is not None for v in values], bitorder="little").tobytes()
    return pa.Array.from_buffers(
        pa.string(), len(values), [pa.py_buffer(bits), *filled.buffers()[1:]]
    )


def hidden_numbers(values, junk):
    filled = np.array([junk if v is None else v for v in values], "i8")
    bits = np.packbits([v is not None for v in values], bitorder="little").tobytes()
    return pa.Array.from_buffers(
        pa.int64(), len(values), [pa.py_buffer(bits), pa.py_buffer(filled)]
    )


def folder(**files):
    root = Path(tempfile.mkdtemp())
    for name, content in files.items():
        (root / name.replace("__", "/")).parent.mkdir(exist_ok=True)
        (root / name.replace("__", "/")).write_bytes(content)
    return root


def torch_of(values, kind):
    import torch

    return torch.tensor(values, dtype=getattr(torch, kind))


def dataset(values):
    import datasets

    return datasets.Dataset.from_dict({"x": values})


WIDE = np.arange(12.0).reshape(3, 4)
STAMP = dt.datetime(2026, 3, 1, 12, 30, 0, 250)
DAY = dt.date(2026, 3, 1)
US = pa.timestamp("us")


def integers():
    values = [3, 1, 2]
    yield "int64", forms(
        values, pa.int64(),
        numpy=frame(x=np.array(values)), big_endian=frame(x=np.array(values, ">i8")),
        strided=frame(x=np.array([3, 0, 1, 0, 2, 0])[::2]), nullable=frame(x=pd.array(values, "Int64")),
        default_index_as_numbers=pd.DataFrame({"x": values}, index=np.arange(3)),
        polars_own=pl.DataFrame({"x": values}), polars_pieces=pl.concat(
            [pl.DataFrame({"x": [v]}) for v in values], rechunk=False),
        hidden=pa.table({"x": hidden_numbers(values, 0)}),
    )  # fmt: skip
    for kind in ("int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64"):
        yield kind, forms(values, getattr(pa, kind)(), numpy=frame(x=np.array(values, kind)))
    yield "int64 with a null", {
        "arrow": arrow([3, None, 2]), "hidden under the null": pa.table({"x": hidden_numbers([3, None, 2], 99)}),
        "polars": pl.DataFrame({"x": [3, None, 2]}), "nullable": frame(x=pd.array([3, None, 2], "Int64")),
        "0 hidden": pa.table({"x": hidden_numbers([3, None, 2], 0)}),
    }  # fmt: skip
    yield "0 where a null was", {"arrow": arrow([3, 0, 2])}
    yield "null elsewhere", {"arrow": arrow([None, 3, 2])}
    yield "changed cell", {"arrow": arrow([3, 1, 4])}
    yield "changed order", {"arrow": arrow([1, 2, 3])}
    yield "changed name", {"arrow": pa.table({"y": values})}
    yield "name in upper case", {"arrow": pa.table({"X": values})}
    yield "name is a number", {"pandas": pd.DataFrame({0: values})}
    yield "name is its text", {"pandas": pd.DataFrame({"0": values})}
    yield "one row more", {"arrow": arrow([*values, 0])}
    yield "no rows", forms([], pa.int64(), numpy=frame(x=np.zeros(0, "i8")))
    yield "no columns", {"pandas": pd.DataFrame(), "arrow": pa.table({}), "polars": pl.DataFrame()}
    yield "bool", forms([True, False, True], pa.bool_(), numpy=frame(x=[True, False, True]),
                        objects=frame(x=np.array([True, False, True], object)))  # fmt: skip
    yield "bool with a null", {
        "arrow": arrow([True, None, False]), "nullable": frame(x=pd.array([True, None, False], "boolean")),
        "objects": frame(x=np.array([True, None, False], object)), "polars": pl.DataFrame({"x": [True, None, False]}),
    }  # fmt: skip


def floats():
    yield "float64", forms([1.5, -2.0, 0.0], pa.float64(), numpy=frame(x=[1.5, -2.0, 0.0]),
                           big_endian=frame(x=np.array([1.5, -2.0, 0.0], ">f8")),
                           nullable=frame(x=pd.array([1.5, -2.0, 0.0], "Float64")))  # fmt: skip
    yield (
        "float32",
        forms([1.5, -2.0, 0.0], pa.float32(), numpy=frame(x=np.array([1.5, -2, 0], "f4"))),
    )
    yield "float16", {"numpy": frame(x=np.array([1.5, -2, 0], "f2")),
                      "arrow": arrow(np.array([1.5, -2, 0], "f2"))}  # fmt: skip
    yield "minus zero", {"numpy": frame(x=[1.5, -2.0, -0.0]), "arrow": arrow([1.5, -2.0, -0.0])}
    yield "a missing float", {
        "NaN": frame(x=[1.5, NAN, 0.0]), "None": frame(x=[1.5, None, 0.0]), "Arrow null": arrow([1.5, None, 0.0]),
        "Arrow NaN": arrow([1.5, NAN, 0.0]), "polars null": pl.DataFrame({"x": [1.5, None, 0.0]}),
        "polars NaN": pl.DataFrame({"x": [1.5, NAN, 0.0]}), "negative NaN": frame(x=[1.5, -NAN, 0.0]),
        "another NaN": frame(x=np.array([1.5, nan_of(0x7FF0_0000_0000_0001), 0.0])),
        "nullable": frame(x=pd.array([1.5, None, 0.0], "Float64")),
    }  # fmt: skip
    yield "infinity", {"numpy": frame(x=[1.5, np.inf, 0.0])}
    yield (
        "only missing floats",
        {"numpy": frame(x=[NAN, NAN]), "arrow": arrow([None, None], pa.float64())},
    )
    yield "complex", {"numpy": frame(x=[1 + 2j, 3j])}
    yield "columns of one block", {
        "C order": pd.DataFrame(WIDE, columns=list("abcd")),
        "F order": pd.DataFrame(np.asfortranarray(WIDE), columns=list("abcd")),
        "arrow": pa.table({n: WIDE[:, i] for i, n in enumerate("abcd")}),
        "reversed twice": pd.DataFrame(WIDE[::-1].copy()[::-1], columns=list("abcd")),
    }  # fmt: skip
    yield (
        "columns in another order",
        {"pandas": pd.DataFrame(WIDE, columns=list("abcd"))[list("bacd")]},
    )


def texts():
    values = ["a", "", "zoë"]
    yield "string", forms(
        values, pa.string(), large=arrow(values, pa.large_string()), objects=frame(x=np.array(values, object)),
        pandas=frame(x=values), string=frame(x=pd.array(values, "string[python]")),
        string_arrow=frame(x=pd.array(values, "string[pyarrow]")), polars_own=pl.DataFrame({"x": values}),
    )  # fmt: skip
    yield "string with a null", {
        "arrow": arrow(["a", None, "zoë"]), "objects": frame(x=np.array(["a", None, "zoë"], object)),
        "NaN among objects": frame(x=np.array(["a", NAN, "zoë"], object)),
        "NA among objects": frame(x=np.array(["a", pd.NA, "zoë"], object)),
        "hidden": pa.table({"x": hidden(["a", None, "zoë"], "secret")}),
        "hidden otherwise": pa.table({"x": hidden(["a", None, "zoë"], "q")}),
        "polars": pl.DataFrame({"x": ["a", None, "zoë"]}), "large": arrow(["a", None, "zoë"], pa.large_string()),
    }  # fmt: skip
    yield "other lengths", {"arrow": arrow(["ab", "c", ""])}
    yield "same bytes, other lengths", {"arrow": arrow(["a", "bc", ""])}
    yield (
        "a trailing NUL",
        {
            "arrow": arrow(["a\0", "", "zoë"]),
            "objects": frame(x=np.array(["a\0", "", "zoë"], object)),
        },
    )
    yield "composed otherwise", {"arrow": arrow(["a", "", "zoe\u0308"])}
    yield "binary", forms([b"a", b"", b"\xff"], pa.binary(), objects=frame(x=[b"a", b"", b"\xff"]),
                          large=arrow([b"a", b"", b"\xff"], pa.large_binary()))  # fmt: skip
    yield "the text's bytes", {"arrow": arrow([b"a", b"", "zoë".encode()])}
    yield (
        "only missing",
        {"arrow": pa.table({"x": pa.nulls(2)}), "objects": frame(x=np.array([None, None], object))},
    )
    yield "only missing strings", {"arrow": arrow([None, None], pa.string()),
                                   "string": frame(x=pd.array([None, None], "string[python]"))}  # fmt: skip
    yield "objects of two types", {"pandas": frame(x=np.array([1, "a", None], object))}
    yield "objects that are numbers", {"pandas": frame(x=np.array([1, 2.5, None], object))}
    late = np.array([None] * BIG + ["a"], object)
    yield (
        "strings after a block of nulls",
        {"objects": frame(x=late), "arrow": arrow(list(late), pa.string())},
    )
    yield (
        "mixed after a block of strings",
        {"objects": frame(x=np.array(["a"] * BIG + [1], object))},
    )


def times():
    stamps = [STAMP, None, STAMP + dt.timedelta(days=1)]
    yield "datetime", forms(
        stamps, US, nanoseconds=arrow(stamps, pa.timestamp("ns")), pandas=frame(x=pd.Series(stamps, dtype="M8[ns]")),
        pandas_us=frame(x=pd.Series(stamps, dtype="M8[us]")), polars_ns=pl.DataFrame({"x": pl.Series(stamps, dtype=pl.Datetime("ns"))}),
    )  # fmt: skip
    whole = [dt.datetime(2026, 1, 1), dt.datetime(1969, 12, 31, 23)]
    yield (
        "whole seconds",
        {unit: frame(x=pd.Series(whole).astype(f"M8[{unit}]")) for unit in ("s", "ms", "us", "ns")},
    )
    yield "a nanosecond more", {"pandas": frame(x=pd.Series(stamps, dtype="M8[ns]") + pd.Timedelta(1, "ns")),
                                "arrow": pa.table({"x": pa.array(pd.Series(stamps, dtype="M8[ns]") + pd.Timedelta(1, "ns"))})}  # fmt: skip
    zone = [s and s.replace(tzinfo=dt.UTC) for s in stamps]
    yield "UTC", {"arrow": arrow(stamps, pa.timestamp("us", "UTC")), "offset": arrow(stamps, pa.timestamp("us", "+00:00")),
                  "pandas": frame(x=pd.to_datetime(pd.Series(zone), utc=True)),
                  "polars": pl.DataFrame({"x": pl.Series(stamps, dtype=pl.Datetime("us")).dt.replace_time_zone("UTC")})}  # fmt: skip
    yield "a time zone", {"arrow": arrow(stamps, pa.timestamp("us", "Europe/Berlin")),
                          "pandas": frame(x=pd.to_datetime(pd.Series(zone), utc=True).dt.tz_convert("Europe/Berlin"))}  # fmt: skip
    yield "another time zone", {"arrow": arrow(stamps, pa.timestamp("us", "America/New_York"))}
    yield "a fixed offset", {"arrow": arrow(stamps, pa.timestamp("us", "+05:30")),
                             "pandas": frame(x=pd.to_datetime(pd.Series(zone), utc=True).dt.tz_convert(
                                 dt.timezone(dt.timedelta(hours=5, minutes=30))))}  # fmt: skip
    spans = [dt.timedelta(seconds=1), None, dt.timedelta(days=-1)]
    yield "duration", forms(spans, pa.duration("us"), pandas=frame(x=pd.Series(spans, dtype="m8[ns]")),
                            seconds=arrow(spans, pa.duration("s")))  # fmt: skip
    yield (
        "date",
        forms(
            [DAY, None],
            pa.date32(),
            date64=arrow([DAY, None], pa.date64()),
            objects=frame(x=[DAY, None]),
        ),
    )
    yield "the date's midnight", {"arrow": arrow([dt.datetime(2026, 3, 1), None], US)}
    clock = [dt.time(1, 2, 3), None]
    yield "time", {"us": arrow(clock, pa.time64("us")), "s": arrow(clock, pa.time32("s")), "ns": arrow(clock, pa.time64("ns")),
                   "objects": frame(x=clock), "polars": pl.DataFrame({"x": clock})}  # fmt: skip
    yield "period", {"pandas": frame(x=pd.period_range("2026-01", periods=2, freq="M"))}
    yield "period of days", {"pandas": frame(x=pd.period_range("2026-01", periods=2, freq="D"))}
    yield "interval", {"pandas": frame(x=pd.interval_range(0, 2))}
    yield "interval closed on the left", {"pandas": frame(x=pd.interval_range(0, 2, closed="left"))}


def decimals():
    money = [Decimal("1.50"), None, Decimal("-100")]
    yield "decimal", {
        "arrow": arrow(money, pa.decimal128(10, 2)), "a wider one": arrow(money, pa.decimal128(20, 6)),
        "of 256 bits": arrow(money, pa.decimal256(50, 4)), "objects": frame(x=money), "NaN among objects": frame(x=[money[0], NAN, money[2]]),
        "polars": pl.from_arrow(arrow(money, pa.decimal128(12, 3))),
    }  # fmt: skip
    yield (
        "another decimal",
        {"arrow": arrow([Decimal("1.51"), None, Decimal(-100)], pa.decimal128(10, 2))},
    )


def categories():
    values = ["v", "u", None, "v"]
    index = pa.array(values).dictionary_encode()
    yield "categories", {
        "pandas": frame(x=pd.Categorical(values)), "other codes": frame(x=pd.Categorical(values, ["v", "u"])),
        "an unused one": frame(x=pd.Categorical(values, ["z", "v", "u"])), "arrow": pa.table({"x": index}),
        "pieces with other codes": pa.table({"x": pa.chunked_array(
            [pa.array(values[:1]).dictionary_encode(), pa.array(values[1:]).dictionary_encode()])}),
        "polars": pl.DataFrame({"x": pl.Series(values, dtype=pl.Categorical)}),
        "with a null among them": pa.table({"x": pa.DictionaryArray.from_arrays([0, 1, 2, 0], ["v", "u", None])}),
    }  # fmt: skip
    yield "their texts", {"arrow": arrow(values)}
    yield "categories of another value", {"pandas": frame(x=pd.Categorical(["v", "w", None, "v"]))}
    yield "ordered categories", {
        "pandas": frame(x=pd.Categorical(values, ["v", "u"], ordered=True)),
        "polars": pl.DataFrame({"x": pl.Series(values, dtype=pl.Enum(["v", "u"]))}),
    } if pl.DataFrame({"x": pl.Series(["a"], dtype=pl.Enum(["a"]))}).to_arrow()["x"].type.ordered else {
        "pandas": frame(x=pd.Categorical(values, ["v", "u"], ordered=True))}  # fmt: skip
    yield "in another order", {"pandas": frame(x=pd.Categorical(values, ["u", "v"], ordered=True))}
    yield "numbers as categories", {"pandas": frame(x=pd.Categorical([10, 9, 10]))}


def nested():
    lists = [[1, 2], None, [], [3]]
    yield "lists", forms(lists, pa.list_(pa.int64()), large=arrow(lists, pa.large_list(pa.int64())))
    yield "lists cut otherwise", {"arrow": arrow([[1], None, [2], [3]], pa.list_(pa.int64()))}
    yield "a null in a list", {"arrow": arrow([[1, None], None, [], [3]], pa.list_(pa.int64()))}
    yield "a list for the null", {"arrow": arrow([[1, 2], [], [], [3]], pa.list_(pa.int64()))}
    yield (
        "lists of texts",
        {
            "arrow": arrow([["a", "bc"], None], pa.list_(pa.string())),
            "polars": pl.DataFrame({"x": [["a", "bc"], None]}),
        },
    )
    yield (
        "lists of lists",
        {
            "arrow": arrow([[[1], []], None], pa.list_(pa.list_(pa.int64()))),
            "polars": pl.DataFrame({"x": [[[1], []], None]}),
        },
    )
    fields = pa.struct([("a", pa.int64()), ("b", pa.string())])
    structs = [{"a": 1, "b": "x"}, {"a": None, "b": "y"}]
    yield "structs", forms(structs, fields)
    yield "a null struct", {"arrow": arrow([structs[0], None], fields),
                            "hidden": pa.table({"x": pa.StructArray.from_arrays(
                                [pa.array([1, 9]), pa.array(["x", "q"])], fields=list(fields), mask=pa.array([False, True]))})}  # fmt: skip
    yield "a struct of nulls", {"arrow": arrow([structs[0], {"a": None, "b": None}], fields)}
    yield "another field", {"arrow": arrow([{"a": 1, "c": "x"}, {"a": None, "c": "y"}])}
    yield "arrays of two", {"arrow": arrow([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)),
                            "polars": pl.DataFrame({"x": pl.Series([[1, 2], None, [3, 4]], dtype=pl.Array(pl.Int64, 2))})}  # fmt: skip
    yield (
        "a map",
        {"arrow": arrow([[("a", 1)], None, [("b", 2)]], pa.map_(pa.string(), pa.int64()))},
    )


def indexes():
    rows = {"x": [1, 2]}
    yield (
        "an index",
        {
            "pandas": pd.DataFrame(rows, index=[5, 6]),
            "range": pd.DataFrame(rows, index=pd.RangeIndex(5, 7)),
        },
    )
    yield "an index in another order", {"pandas": pd.DataFrame(rows, index=[1, 0])}
    yield "an index of texts", {"pandas": pd.DataFrame(rows, index=["a", "b"])}
    yield "an index with a name", {"pandas": pd.DataFrame(rows, index=pd.RangeIndex(2, name="id"))}
    both = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", "n"])
    yield "an index of two levels", {"pandas": pd.DataFrame(rows, index=both)}
    yield "the same as columns", {"pandas": pd.DataFrame(rows, index=both).reset_index()}
    yield (
        "columns of two levels",
        {"pandas": pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")]))},
    )
    yield "columns with a name", {"pandas": pd.DataFrame(rows).rename_axis(columns="c")}
    yield "one name twice", {"pandas": pd.DataFrame([[1, 2]], columns=["x", "x"])}
    yield "a series", {"pandas": pd.Series([1, 2], name="x"), "polars": pl.Series("x", [1, 2])}
    yield "a series without a name", {"pandas": pd.Series([1, 2]), "polars": pl.Series([1, 2]), "arrow": pa.array([1, 2]),
                                      "in pieces": pa.chunked_array([[1], [2]]), "index": pd.Index([1, 2])}  # fmt: skip
    yield (
        "a sparse column",
        {"pandas": frame(x=pd.arrays.SparseArray([0, 0, 7])), "dense": frame(x=[0, 0, 7])},
    )


def arrays():
    yield "an array", {
        "C": WIDE, "F": np.asfortranarray(WIDE), "big-endian": WIDE.astype(">f8"), "strided": np.repeat(WIDE, 2, axis=1)[:, ::2],
        "turned": np.ascontiguousarray(WIDE.T).T, "read-only": np.broadcast_to(WIDE, WIDE.shape),
    }  # fmt: skip
    yield "of another shape", {"numpy": WIDE.reshape(4, 3)}
    yield "flat", {"numpy": WIDE.reshape(-1)}
    yield "turned over", {"numpy": WIDE.T}
    yield (
        "of another type",
        {"numpy": WIDE.astype("f4"), "torch": lambda: torch_of(WIDE.tolist(), "float32")},
    )
    yield "of bfloat16", {"torch": lambda: torch_of(WIDE.tolist(), "bfloat16")}
    yield "a number", {"numpy": np.array(1.0)}
    yield "an array of one", {"numpy": np.array([1.0])}
    yield "an empty array", {"numpy": np.zeros((0, 3))}
    yield "an array of texts", {"U": np.array(["a", "bc"]), "wider": np.array(["a", "bc"], "U9"), "objects": np.array(["a", "bc"], object),
                                "big-endian": np.array(["a", "bc"], ">U5")}  # fmt: skip
    yield (
        "an array of bytes",
        {"S": np.array([b"a", b"bc"]), "wider": np.array([b"a", b"bc"], "S9")},
    )
    yield (
        "an array of times",
        {
            unit: np.array(["2026-01-01", "NaT"], f"M8[{unit}]")
            for unit in ("D", "h", "s", "us", "ns")
        },
    )
    yield (
        "an array of months",
        {"M": np.array(["2026-02"], "M8[M]"), "D": np.array(["2026-02-01"], "M8[D]")},
    )
    yield "an array of durations", {"s": np.array([60], "m8[s]"), "m": np.array([1], "m8[m]")}
    records = np.array([(1, 2.0), (3, 4.0)], [("a", "i4"), ("b", "f8")])
    yield "records", {"packed": records, "aligned": records.astype(np.dtype([("a", "i4"), ("b", "f8")], align=True)),
                      "big-endian": records.astype([("a", ">i4"), ("b", ">f8")])}  # fmt: skip
    yield "records of other names", {"numpy": records.astype([("a", "i4"), ("c", "f8")])}
    yield (
        "a mask",
        {
            "numpy": np.ma.array([1, 2, 3], mask=[0, 1, 0]),
            "otherwise": np.ma.array([1, 9, 3], mask=[0, 1, 0]),
        },
    )
    yield "booleans", {"numpy": np.array([True, False])}
    yield "complex numbers", {"numpy": np.array([1j, complex(NAN, 0)])}
    dense = np.array([[0, 2.5, 0], [0, 0, -1]])
    yield "a sparse matrix", {**{f: getattr(scipy.sparse, f"{f}_matrix")(dense) for f in ("csr", "csc", "coo", "lil", "dok", "bsr")},
                              "a zero kept": scipy.sparse.csr_matrix((np.array([2.5, 0, -1]), ([0, 0, 1], [1, 2, 2])), (2, 3))}  # fmt: skip
    yield "the dense one", {"numpy": dense}
    yield (
        "a larger sparse matrix",
        {"scipy": scipy.sparse.csr_matrix((np.array([2.5, -1]), ([0, 1], [1, 2])), (2, 4))},
    )


def containers():
    for name, value in {
        "1": 1, "1.0": 1.0, "True": True, "'1'": "1", "b'1'": b"1", "None": None, "[]": [], "()": (), "{}": {}, "set()": set(),
        "[1]": [1], "(1,)": (1,), "[[1]]": [[1]], "[1, 2]": [1, 2], "[2, 1]": [2, 1], "['ab', 'c']": ["ab", "c"],
        "['a', 'bc']": ["a", "bc"], "[['a'], 'b']": [["a"], "b"], "[['a', 'b']]": [["a", "b"]], "0.0": 0.0, "-0.0": -0.0,
        "2**70": 2**70, "-1": -1, "1j": 1j, "lone surrogate": "\ud800", "[None]": [None], "{1: 2}": {1: 2}, "{'1': 2}": {"1": 2},
        "date": DAY, "datetime": STAMP, "datetime in UTC": STAMP.replace(tzinfo=dt.UTC), "timedelta": dt.timedelta(1),
        "uuid": uuid.UUID(int=7), "time": dt.time(1),
    }.items():  # fmt: skip
        yield name, {"python": value}
    yield "a dict", {"one order": {"a": 1, "b": {2, 3}}, "another": {"b": {3, 2}, "a": 1}}
    yield (
        "a set of texts",
        {"one order": {"a", "b", "c"}, "another": {"c", "b", "a"}, "frozen": frozenset("abc")},
    )
    yield "a decimal", {"1.0": Decimal("1.0"), "1.00": Decimal("1.00")}
    yield "NaN", {"python": NAN, "negative": -NAN, "numpy": np.float64(NAN)}
    yield "an array in a list", {"numpy": [WIDE], "F": [np.asfortranarray(WIDE)]}
    yield "a table in a dict", {"pandas": {"t": frame(x=[1])}, "arrow": {"t": pa.table({"x": [1]})}}


def files():
    yield (
        "a file",
        {"path": lambda: folder(a=b"1\n") / "a", "another name": lambda: folder(b=b"1\n") / "b"},
    )
    yield "an empty file", {"path": lambda: folder(a=b"") / "a"}
    yield (
        "a folder",
        {"path": lambda: folder(a=b"1", b__c=b"2"), "elsewhere": lambda: folder(b__c=b"2", a=b"1")},
    )
    yield "a folder with another name", {"path": lambda: folder(a=b"1", b__d=b"2")}
    yield "a folder with other content", {"path": lambda: folder(a=b"1", b__c=b"3")}


def others():
    yield "a dataset", {"datasets": lambda: dataset([7, 8, 9]), "datasets, rows picked": lambda: dataset([0, 9, 8, 7]).select([3, 2, 1]),
                        "arrow": arrow([7, 8, 9])}  # fmt: skip


PARTS = (
    integers,
    floats,
    texts,
    times,
    decimals,
    categories,
    nested,
    indexes,
    arrays,
    containers,
    files,
    others,
)


def digests(parts=PARTS, without=()):
    """Give group -> form -> digest; the name of a part goes before its groups."""
    found = {}
    for part in parts:
        for group, forms_of in part():
            for form, value in forms_of.items():
                if not form.startswith(tuple(without)):
                    made = value() if isinstance(value, types.FunctionType) else value
                    digest = mv.fingerprint(made).digest
                    found.setdefault(f"{part.__name__}: {group}", {})[form] = digest
    return found


def problems(found, vectors):
    """Give what is not as the table says, in words."""
    for group, forms_of in found.items():
        if len(set(forms_of.values())) > 1:
            yield f"must be equal and is not: {group}: {forms_of}"
        if set(forms_of.values()) != {vectors.get(group)}:
            yield f"other than in {VECTORS.name}: {group}: {forms_of}"
    groups = {}
    for group, forms_of in found.items():
        for digest in set(forms_of.values()):
            groups.setdefault(digest, []).append(group)
    for alike in groups.values():
        if len(alike) > 1:
            yield f"must differ and does not: {', '.join(alike)}"


def recorded():
    """Give the vectors: group -> digest."""
    return json.loads(VECTORS.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the vectors")
    parser.add_argument("--without", nargs="*", default=[], choices=OPTIONAL, help="not there")
    given = parser.parse_args()
    found = digests(without=given.without)
    if given.write:
        vectors = {group: next(iter(forms_of.values())) for group, forms_of in found.items()}
        VECTORS.write_text(json.dumps(vectors, indent=1) + "\n")
    if wrong := list(problems(found, recorded())):
        sys.exit("\n".join(wrong))
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (np, pd, pa, pl))
    print(f"{sum(map(len, found.values()))} cases in {len(found)} groups, with {versions}")


if __name__ == "__main__":
    main()
