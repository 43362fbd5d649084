"""Fingerprints: what they tell, what is refused, what a version keeps of them."""

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import modelversion as mv
from modelversion.errors import DataNotFoundError, FingerprintError
from modelversion.fingerprints import fingerprint_place


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
