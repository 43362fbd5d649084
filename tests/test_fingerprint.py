"""Fingerprints: what they tell, what is refused, what a version keeps of them."""

import hashlib
import os
import pickle
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import torch

import modelversion as mv
from modelversion import fingerprints
from modelversion.errors import DataNotFoundError, FingerprintError, InvalidInputError
from modelversion.fingerprints import describe, fingerprint_place
from modelversion.schema import stored


@pytest.fixture
def frame():
    return pd.DataFrame({"age": [31, 52, 44], "city": ["Ulm", None, "Köln"], "x": [1.5, None, 2]})


def test_a_table_is_told_by_its_values(frame):
    """The same table has one fingerprint in pandas, polars and Arrow; a changed cell another."""
    changed = frame.assign(age=[31, 52, 45])

    found = mv.fingerprint(frame)
    assert found.digest == mv.fingerprint(pl.from_pandas(frame)).digest
    assert found.digest == mv.fingerprint(pa.Table.from_pandas(frame)).digest
    assert found.digest != mv.fingerprint(changed).digest
    assert (found.kind, found.shape, found.columns["age"].type) == ("table", (3, 3), "int64")
    assert repr(found) == f"<Fingerprint table 3 x 3 sha256:{found.digest[:12]}…>"


def test_the_profile_comes_in_the_same_pass(frame):
    """Rows, nulls, extremes and mean of each column; texts have no extremes, which are data."""
    profile = mv.fingerprint(frame).profile

    assert profile["age"].to_dict() == {
        "rows": 3, "nulls": 0, "min": 31, "max": 52, "mean": 127 / 3,
    }  # fmt: skip
    assert profile["city"].to_dict() == {"rows": 3, "nulls": 1}
    assert profile["x"].to_dict() == {"rows": 3, "nulls": 1, "min": 1.5, "max": 2.0, "mean": 1.75}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "builtins.object has no data hash"),
        (iter([1]), "gone through only once: make a list"),
        ((i for i in [1]), "gone through only once: make a list"),
        (pl.LazyFrame({"a": [1]}), r"call \.collect\(\) first"),
        ([1, {"a": object()}], r"value\[1\]\['a'\] is a builtins.object"),
        ({"a": Path("x")}, "PosixPath, which has no data hash"),
        (pd.DataFrame({"a": [object()]}), "builtins.object"),
    ],
)
def test_what_is_unknown_is_refused(value, message):
    """A direct call says what has no data hash, where it sits and what to do."""
    with pytest.raises(FingerprintError, match=message):
        mv.fingerprint(value)


def test_a_cycle_is_refused():
    """A list that contains itself has no end and is refused."""
    endless = [1]
    endless.append(endless)

    with pytest.raises(FingerprintError, match="contains itself"):
        mv.fingerprint(endless)


def test_a_file_is_what_sha256sum_says(tmp_path):
    """The digest of a file is that of its bytes; text is text and never a path."""
    file = tmp_path / "raw.csv"
    file.write_bytes(b"a,b\n1,2\n")

    found = mv.fingerprint(file)
    assert found.digest == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    assert (found.kind, found.size) == ("file", 8)
    assert mv.fingerprint(str(file)).kind == "container"
    assert fingerprint_place(str(file)) == fingerprint_place(file) == found
    assert fingerprint_place(f"file://{file}") == found


def test_a_folder_is_what_sha256sum_says_of_its_list(tmp_path):
    """The digest of a folder is that of the list that sha256sum prints, sorted."""
    (tmp_path / "b").mkdir()
    for name in ("b/x.bin", "a.txt", "ä.txt", "back\\slash", "line\nbreak", ".hidden"):
        (tmp_path / name).write_text(name)
    command = "find * .hidden -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    printed = subprocess.run(
        command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True
    )

    found = mv.fingerprint(tmp_path)
    assert found.digest == printed.stdout.split()[0]
    assert (found.kind, found.shape) == ("folder", (6,))
    assert fingerprint_place(f"file://{tmp_path}") == found


def test_a_path_that_leads_nowhere_is_an_error(tmp_path):
    """Here and on fsspec, what is not there is a DataNotFoundError."""
    for place in (tmp_path / "none", "memory://no/such"):
        with pytest.raises(DataNotFoundError, match="there is no file or folder"):
            fingerprint_place(place)


def test_a_version_keeps_the_fingerprint(frame):
    """What was fingerprinted is in the version, column by column, and read back."""
    registry = mv.Registry("memory://kept")
    registry.save("churn", {"w": 1}, data={"train": frame})

    record = registry["churn"].latest.data["train"]
    found = mv.fingerprint(frame)
    assert record.digest == found.digest
    assert record.columns == {"age": "int64", "city": "string", "x": "float64"}
    assert record.digests == {name: c.digest for name, c in found.columns.items()}
    assert record.profile["age"]["mean"] == 127 / 3
    assert (record.kind, record.shape, record.reason) == ("table", (3, 3), None)


def test_capture_never_fails_and_consumes_nothing():
    """What has no data hash is recorded by its type and why; an iterator stays where it was."""
    registry, rows = mv.Registry("memory://unknown"), iter([1, 2])

    @mv.track("churn", registry=registry)
    def train(lazy, rows):
        return {"w": next(rows)}

    assert train(pl.LazyFrame({"a": [1]}), rows) == {"w": 1}
    data = registry["churn"].latest.data
    assert data["lazy"].digest is None and "call .collect() first" in data["lazy"].reason
    assert data["rows"].digest is None and data["rows"].type == "builtins.list_iterator"


def test_the_same_data_is_a_repeat(frame):
    """Data of the same digest make no new version, in whichever library."""
    registry = mv.Registry("memory://repeat")

    first = registry.save("churn", {"w": 1}, data={"train": frame})
    assert registry.save("churn", {"w": 1}, data={"train": pl.from_pandas(frame)}) == first
    other = registry.save("churn", {"w": 1}, data={"train": frame.assign(x=np.nan)})
    assert other.number == 2


# ---- places


def test_fsspec_files_are_hashed_where_they_lie():
    """An OpenFile, a URL and a folder on a filesystem give what the local bytes give."""
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe({"/hash/raw/a.bin": b"1", "/hash/raw/sub/b.bin": b"2"})

    opened = mv.fingerprint(fsspec.open("memory://hash/raw/a.bin"))
    assert opened.digest == hashlib.sha256(b"1").hexdigest()
    assert fingerprint_place("memory://hash/raw/a.bin", storage_options={}) == opened
    lines = "".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n"
        for name, data in (("a.bin", b"1"), ("sub/b.bin", b"2"))
    )
    folder = fingerprint_place("memory://hash/raw")
    assert folder.digest == hashlib.sha256(lines.encode()).hexdigest()
    assert (folder.kind, folder.shape, folder.size) == ("folder", (2,), 2)


def test_data_and_fingerprint_agree_on_files(tmp_path):
    """`mv.data` and `mv.fingerprint` give one digest for a file and for a folder."""
    for name in ("b.txt", "ä.txt", "line\nbreak"):
        (tmp_path / name).write_text(name)

    assert mv.data(tmp_path).digest == mv.fingerprint(tmp_path).digest
    assert mv.data(tmp_path / "b.txt").digest == mv.fingerprint(tmp_path / "b.txt").digest


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_what_has_no_end_is_refused(tmp_path):
    """A pipe would wait for ever, and a link to a folder may lead back up."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FingerprintError, match="no regular file"):
        mv.fingerprint(tmp_path / "pipe")

    (tmp_path / "pipe").unlink()
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(FingerprintError, match="link to a folder"):
        mv.fingerprint(tmp_path)


def test_a_link_to_a_file_is_the_file(tmp_path):
    """As for sha256sum."""
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").symlink_to(tmp_path / "a")

    assert mv.fingerprint(tmp_path / "b") == mv.fingerprint(tmp_path / "a")


# ---- what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: np.array([1.0], np.longdouble), "differs between machines"),
        (lambda: np.array([2**62], "M8[s]"), "more than 292,000 years away"),
        (lambda: np.array([1], "M8[ps]"), "finer than a nanosecond"),
        (lambda: np.array([1], "m8[M]"), "no exact times"),
        (lambda: torch.zeros(2, device="meta"), "has no data hash"),
        (lambda: torch.eye(2).to_sparse(), r"\.to_dense\(\)"),
        (lambda: Decimal("NaN"), "is no number"),
        (lambda: pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]), "no data"),
        (lambda: deep(101), "is over 100 deep"),
        (lambda: {"k": {(1, frozenset({object})): 2}}, r"value\['k'\]'s key\[1\]'s item is a"),
        (lambda: [range(3)], r"value\[0\] is a builtins.range"),
    ],
)  # fmt: skip
def test_what_has_no_exact_bytes_is_refused(make, message):
    """Nothing is guessed: what differs between machines or has no values has no digest."""
    value = make()

    with pytest.raises(FingerprintError, match=message):
        mv.fingerprint(value)


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


# ---- capture


def test_nothing_is_changed(frame):
    """The object is as before, also where it was not contiguous, sorted or canonical."""
    sparse = scipy.sparse.coo_matrix(([1, 2, 0], ([1, 0, 0], [0, 1, 0])))
    nan = np.array([np.nan, -np.nan, 1.0])[::2]
    tensor = torch.ones(3, requires_grad=True)
    values = [frame, sparse, nan, tensor, {"b": [1], "a": {2}}]
    before = pickle.dumps(values)

    for value in values:
        mv.fingerprint(value)

    assert pickle.dumps(values) == before


def test_a_wide_table_is_recorded_in_bounds():
    """Ten thousand columns with long names leave a record of a few hundred kilobytes."""
    wide = pd.DataFrame(np.zeros((1, 10_000)), columns=[f"{'n' * 500}{i}" for i in range(10_000)])

    record = describe("train", wide)
    assert record.digest == mv.fingerprint(wide).digest
    assert len(stored(record)) < 300_000


def test_names_in_a_record_differ_and_are_short():
    """Equal names, long ones and ones that are no text are told apart."""
    frame = pd.DataFrame([[1, 2, 3, 4]], columns=["x", "x", 7, "n" * 500])

    names = list(describe("train", frame).columns)
    assert names == ["x", "x (2)", "7", "n" * 199 + "…"]


def test_infinities_and_large_numbers_survive_in_a_profile():
    """What JSON cannot say is tagged, as metrics are."""
    registry = mv.Registry("memory://profile")
    data = pd.DataFrame({"x": [np.inf, -np.inf], "n": np.array([2**63, 1], "u8")})

    registry.save("churn", {"w": 1}, data={"train": data})
    profile = registry["churn"].latest.data["train"].profile
    assert profile["x"] == {
        "rows": 2, "nulls": 0, "min": {"$float": "-inf"}, "max": {"$float": "inf"},
        "mean": {"$float": "nan"},
    }  # fmt: skip
    assert profile["n"]["max"] == {"$int": str(2**63)}


class Rude:
    @property
    def shape(self):
        raise RuntimeError("no shape")

    def __iter__(self):
        raise RuntimeError("touched")


@pytest.mark.parametrize("value", [Rude(), object(), [Rude()], Path("x"), lambda: 1])
def test_describe_never_raises(value):
    """Whatever it is, there is a record that says why there is no digest."""
    record = describe("thing", value)

    assert record.digest is None
    assert "has no data hash" in record.reason


# ---- types of others


class Survey:
    def __init__(self, answers):
        self.answers = answers


class Answers(dict):
    pass


@pytest.fixture
def registered():
    fingerprints.register(Survey, lambda survey: mv.fingerprint(survey.answers))
    fingerprints.register(Answers, lambda answers: mv.fingerprint(sorted(answers)))
    yield
    fingerprints.unregister(Survey)
    fingerprints.unregister(Answers)


@pytest.mark.usefixtures("registered")
def test_a_registered_type_is_fingerprinted(frame):
    """By itself, inside of a container, and by capture; also where it is a dict."""
    assert mv.fingerprint(Survey(frame)).digest == mv.fingerprint(frame).digest
    assert mv.fingerprint([Survey(frame)]).digest == mv.fingerprint([frame]).digest
    assert describe("s", Survey(frame)).digest == mv.fingerprint(frame).digest
    assert mv.fingerprint(Answers(b=1, a=2)).digest == mv.fingerprint(["a", "b"]).digest
    assert mv.fingerprint([Answers(a=1)]).digest != mv.fingerprint([{"a": 1}]).digest


def test_a_type_is_taken_out_again():
    """What was registered by one test is unknown to the next."""
    with pytest.raises(FingerprintError, match="Survey has no data hash"):
        mv.fingerprint(Survey(1))


@pytest.mark.parametrize("given", [("Survey", len), (Survey, "function")])
def test_what_is_registered_is_checked(given):
    """A type and a function, or an error that says so."""
    with pytest.raises(InvalidInputError, match="register takes a type and a function"):
        fingerprints.register(*given)


PACKAGE = """
class Poll:
    answers = [1, 2]


def install():
    import modelversion as mv
    from modelversion import fingerprints

    fingerprints.register(Poll, lambda poll: mv.fingerprint(poll.answers))
"""


def test_an_installed_package_is_found_by_its_entry_point(tmp_path):
    """The first object of a package calls what its entry point names; later ones do not."""
    (tmp_path / "polls-1.0.dist-info").mkdir()
    (tmp_path / "polls.py").write_text(PACKAGE)
    (tmp_path / "polls-1.0.dist-info/METADATA").write_text("Name: polls\nVersion: 1.0\n")
    (tmp_path / "polls-1.0.dist-info/entry_points.txt").write_text(
        "[modelversion.fingerprints]\npolls = polls:install\n"
    )
    code = (
        f"import sys; sys.path.append({str(tmp_path)!r})\n"
        "import modelversion as mv, polls\n"
        "first = mv.fingerprint(polls.Poll())\n"
        "print(first == mv.fingerprint([1, 2]) == mv.fingerprint(polls.Poll()))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


def test_pandas_without_pyarrow_gives_the_same_digest(frame):
    """A process that cannot import pyarrow hashes numpy's columns and objects as others do."""
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import pandas as pd, modelversion as mv\n"
        "city = pd.Series(['Ulm', None, 'K\\u00f6ln'], dtype=object)\n"
        "frame = pd.DataFrame({'age': [31, 52, 44], 'city': city, 'x': [1.5, None, 2]})\n"
        "print(mv.fingerprint(frame).digest)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == mv.fingerprint(frame).digest, done.stderr


def test_polars_without_pyarrow_says_what_is_missing():
    """And capture records the reason."""
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import polars as pl\n"
        "from modelversion.fingerprints import describe\n"
        "print(describe('train', pl.DataFrame({'a': [1]})).reason)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install pyarrow" in done.stdout, done.stderr


# ---- what has no data hash, and how it is described


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (pl.LazyFrame({"a": [1]}), "call .collect"),
        ([Decimal("NaN")], "is no number"),
    ],
)
def test_what_has_no_data_hash_says_what_to_do(value, message):
    """A plan, a decimal that is none; capture records the same words."""
    with pytest.raises(FingerprintError, match=message):
        mv.fingerprint(value)

    found = describe("x", value)
    assert (found.digest, found.name) == (None, "x")
    assert message.replace("\\", "") in found.reason


class Odd:
    """A frame of some other library: it has columns, and no data hash."""

    def __init__(self, **attributes):
        self.shape = (3, 2)
        self.__dict__.update(attributes)


@pytest.mark.parametrize(
    "odd",
    [
        Odd(schema={"a": int, "b": "text"}),
        Odd(schema=pa.schema([("a", pa.int64()), ("b", pa.string())])),
        Odd(columns=["a", "b"], dtypes=["int64", "text"]),
    ],
    ids=["polars", "arrow", "pandas"],
)
def test_columns_of_an_unknown_frame_are_described(odd):
    """By whichever of the usual ways it tells them."""
    found = describe("x", odd)

    assert (found.digest, found.shape, list(found.columns)) == (None, (3, 2), ["a", "b"])


def test_a_frame_that_lies_about_itself_is_described_without():
    """What raises while it is asked is left out."""

    class Broken:
        shape = (1,)
        columns = ("a", "b")
        dtypes = ("int64",)

    found = describe("x", Broken())

    assert found.columns == {} and found.digest is None


def test_a_column_of_a_foreign_extension_type_is_hashed_by_its_objects():
    """One that neither numpy nor Arrow knows counts as the objects that it gives."""
    from pandas.api.extensions import ExtensionArray, ExtensionDtype

    class Kind(ExtensionDtype):
        name, type = "kind-of-tests", str

        @classmethod
        def construct_array_type(cls):
            return Texts

    class Texts(ExtensionArray):
        dtype = Kind()

        def __init__(self, rows):
            self._rows = list(rows)

        def __len__(self):
            return len(self._rows)

        def __getitem__(self, at):
            return self._rows[at] if isinstance(at, int) else Texts(self._rows[at])

        def __iter__(self):
            return iter(self._rows)

        def __array__(self, dtype=None, copy=None):
            return np.array(self._rows, dtype=object)

        def isna(self):
            return np.array([row is None for row in self._rows])

        def copy(self):
            return Texts(self._rows)

        @property
        def nbytes(self):
            return 8 * len(self._rows)

    rows = ["a", None, "c"]

    found = mv.fingerprint(pd.Series(Texts(rows), name="x"))

    assert found.digest == mv.fingerprint(pd.Series(rows, name="x", dtype=object)).digest


def test_printing_says_a_or_an(frame):
    """In the words of the page, and in one line otherwise."""
    assert str(mv.fingerprint(np.arange(3))).startswith("fingerprint of an array")
    assert str(mv.fingerprint(frame)).startswith("fingerprint of a table")
    assert "sha256:" in repr(mv.fingerprint(frame))


def test_the_profile_of_moments_is_in_words():
    """Dates and times as ISO 8601, durations in seconds, and years that no calendar has as none."""
    frame = pa.table(
        {
            "when": pa.array([0, 86_400_000_000], pa.timestamp("us")),
            "far": pa.array([2**62, 2**62 + 1], pa.timestamp("us")),
            "day": pa.array([0, 31], pa.date32()),
            "long": pa.array([1_500_000, 2_500_000], pa.duration("us")),
        }
    )

    found = mv.fingerprint(frame).profile

    assert (found["when"].min, found["when"].max) == ("1970-01-01T00:00:00", "1970-01-02T00:00:00")
    assert (found["far"].min, found["far"].max) == (None, None)
    assert (found["day"].min, found["day"].max) == ("1970-01-01", "1970-02-01")
    assert (found["long"].min, found["long"].mean) == (1.5, 2.0)
