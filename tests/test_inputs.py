"""Data where it lies: hashed, read, linked to what it became, and never copied."""

import hashlib
import json
import os
import pickle
import time
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

import modelversion as mv
from modelversion import inputs, tabular
from modelversion.errors import (
    DataChangedError,
    DataNotFoundError,
    FingerprintError,
    InvalidInputError,
    InvalidNameError,
    InvalidValueError,
    StorageError,
)

FRAME = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", None]})


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def aged(file, seconds=3600):
    """Make a file look as if it had been written long ago."""
    then = time.time() - seconds
    os.utime(file, (then, then))
    return file


@pytest.fixture
def table(tmp_path):
    """A CSV file of three rows, written long ago."""
    file = tmp_path / "raw.csv"
    FRAME.to_csv(file, index=False)
    return aged(file)


def test_a_file_is_hashed_where_it_lies(table, registry):
    """Digest, size, time and columns; as text, a path object or a URL."""
    for place in (table, str(table), f"file://{table}"):
        raw = mv.data(place)

        assert raw.digest == sha256(table.read_bytes())
        assert (raw.name, raw.path) == ("raw.csv", str(table))
        assert raw.columns == {"a": "text", "b": "text"}
        record = raw.__data_record__
        assert (record.type, record.place.size) == ("file", table.stat().st_size)
        assert record.place.modified_at.endswith("Z")
    assert repr(raw) == f"<Data raw.csv: {table} sha256:{raw.digest[:12]}...>"


def test_it_is_shown(table):
    """In a notebook, with its place, digest and columns."""
    raw = mv.data(table)

    shown = raw._repr_html_().replace("<wbr>", "")  # where a long name may break
    assert raw.digest in shown and str(table) in shown and "<table" in shown
    assert str(raw) == repr(raw)


def test_a_run_has_it_as_an_input(table, registry):
    """Under its name, without a copy of a byte of it."""
    with registry.run("churn") as run:
        mv.data(table, name="train")
        run.log_metrics(a=1)

    train = run.version.data["train"]
    assert train.digest == sha256(table.read_bytes())
    assert train.place.url == str(table)
    assert run.version.files == ()
    assert registry.verify().ok


def test_inputs_of_one_name_are_kept_apart(tmp_path, registry):
    """Two files of one name are two inputs; the same one twice is one."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.csv").write_text(folder)
    with registry.run("churn") as run:
        for folder in ("a", "b", "a"):
            mv.data(tmp_path / folder / "x.csv")
        run.log_metrics(a=1)

    assert list(run.version.data) == ["x.csv", "x.csv.2"]


def test_it_may_be_an_argument(table, registry):
    """Of a tracked function, or given to a save."""

    @registry.track("churn")
    def train(raw, C=1):
        return {"rows": len(raw.read(pd.read_csv)), "C": C}

    raw = mv.data(table)
    assert train(raw) == {"rows": 3, "C": 1}
    version = registry.save("other", {"w": 1}, data={"train": raw})

    assert registry.get("churn").data["raw"].digest == raw.digest
    assert dict(registry.get("churn").params) == {"C": 1}
    assert version.data["train"].place.url == str(table)


READERS = {
    "pandas.csv": (lambda f: FRAME.to_csv(f, index=False), pd.read_csv),
    "pandas.parquet": (FRAME.to_parquet, pd.read_parquet),
    "polars.parquet": (FRAME.to_parquet, pl.read_parquet),
    "arrow.parquet": (FRAME.to_parquet, parquet.read_table),
    "arrow.feather": (lambda f: feather.write_feather(FRAME, f), feather.read_table),
    "numpy.npy": (lambda f: np.save(f, np.arange(3)), np.load),
}


@pytest.mark.parametrize("where", ["local", "memory"])
@pytest.mark.parametrize("name", READERS)
def test_readers_read(tmp_path, registry, name, where):
    """Each gets a path or an open file, and the read is a step with the file as its input."""
    write, reader = READERS[name]
    write(tmp_path / name)
    place = tmp_path / name
    if where == "memory":
        place = f"memory://raw/{name}"
        fsspec.filesystem("memory").pipe_file(f"/raw/{name}", (tmp_path / name).read_bytes())

    with registry.run("churn") as run:
        found = mv.data(place).read(reader)
        run.log_metrics(a=1)

    assert len(found) == 3
    (step,) = run.version.steps
    entry = f"{reader.__module__}:{reader.__qualname__}"
    assert (step.name, step.form, step.code.entry) == (reader.__name__, "read", entry)
    assert step.inputs[0].digest == run.version.data[name].digest
    assert step.outputs[0].shape == np.shape(found)


def test_options_are_recorded(table, registry):
    """Except those of the storage, which hold credentials."""

    def reader(path, *, sep, storage_options=None):
        return pd.read_csv(path, sep=sep)

    with registry.run("churn") as run:
        mv.data(table).read(reader, sep=",", storage_options={"key": "hush"})
        run.log_metrics(a=1)

    (step,) = run.version.steps
    assert step.params == {"sep": ","}
    assert "hush" not in json.dumps(run.version.steps.to_dict())


def test_a_read_before_the_run_joins_it(table, registry):
    """By way of what was made of it, in a later cell."""
    raw = mv.data(table, name="raw")
    again = mv.step(lambda data: data)(raw)

    with registry.run("churn") as run:
        run.log_data(train=again)
        run.log_metrics(a=1)

    assert [step.form for step in run.version.steps] == ["call"]
    assert run.version.data["train"].digest == raw.digest


# ---- folders


def test_a_folder_is_hashed_by_its_files(tmp_path, registry):
    """As `sha256sum` of their sorted list; a name, a byte or a file more changes it."""
    folder = tmp_path / "parts"
    (folder / "b").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"1")
    (folder / "b" / "c.bin").write_bytes(b"2")

    first = mv.data(folder)

    lines = f"{sha256(b'1')}  a.bin\n{sha256(b'2')}  b/c.bin\n"
    assert first.digest == sha256(lines.encode())
    assert first.__data_record__.type == "folder"
    assert first.__data_record__.place.files == 2
    assert first.__data_record__.place.size == 2
    seen = {first.digest}
    for change in (
        lambda: (folder / "b" / "c.bin").rename(folder / "b" / "d.bin"),
        lambda: (folder / "a.bin").write_bytes(b"3"),
        lambda: (folder / "e.bin").write_bytes(b""),
    ):
        change()
        seen.add(mv.data(folder).digest)
    assert len(seen) == 4
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/p/a.bin", b"1")
    memory.pipe_file("/p/b/c.bin", b"2")
    assert mv.data("memory://p").digest == first.digest


def test_a_folder_of_parquet_is_read_at_once(tmp_path, registry):
    """The reader gets its path; the columns are those of its files."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for i in range(3):
        FRAME.to_parquet(folder / f"{i}.parquet")

    raw = mv.data(folder)

    assert len(raw.read(pd.read_parquet)) == 9
    assert set(raw.columns) == {"a", "b"}
    with pytest.raises(InvalidValueError, match="is a folder"):
        raw.open()


# ---- schemas

SCHEMAS = {
    "x.parquet": (FRAME.to_parquet, (3, 2), {"a": "int64", "b": "large_string"}),
    "x.pq": (lambda f: f.write_bytes(b"no parquet"), None, {}),
    "x.feather": (
        lambda f: feather.write_feather(pa.table({"n": pa.array([1], pa.int32())}), f),
        None,
        {"n": "int32"},
    ),
    "x.csv": (
        lambda f: f.write_bytes(b'\xef\xbb\xbf"a,b",c\n1,2'),
        None,
        {"a,b": "text", "c": "text"},
    ),
    "y.csv": (lambda f: f.write_bytes(b"1,2\n3,4"), None, {}),
    "z.csv": (lambda f: f.write_bytes(b"\xff\xfe\x00\x01"), None, {}),
    "empty.csv": (lambda f: f.write_bytes(b""), None, {}),
    "x.tsv": (lambda f: f.write_bytes(b"a\tb\n"), None, {"a": "text", "b": "text"}),
    "x.bin": (lambda f: f.write_bytes(b"a,b"), None, {}),
    "none": (lambda f: f.write_bytes(b"a,b"), None, {}),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_columns_are_told_where_the_format_knows_them(tmp_path, name):
    """And a file of another kind than its name says is still hashed."""
    write, shape, columns = SCHEMAS[name]
    write(tmp_path / name)

    record = mv.data(tmp_path / name).__data_record__

    assert record.shape == shape
    assert record.columns == columns
    assert record.digest == sha256((tmp_path / name).read_bytes())


def test_columns_are_unknown_without_pyarrow(tmp_path, monkeypatch):
    """The file is hashed all the same."""
    FRAME.to_parquet(tmp_path / "x.parquet")
    feather.write_feather(FRAME, tmp_path / "x.feather")
    monkeypatch.setattr(tabular, "find_spec", lambda name: None)

    for file in ("x.parquet", "x.feather"):
        assert mv.data(tmp_path / file).columns == {}


def test_what_knows_its_filesystem_is_a_place():
    """As a `UPath` does."""
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/raw.json", b"[1]")

    class Place:
        fs, path = memory, "/raw.json"

        def __str__(self):
            return "memory://raw.json"

    assert mv.data(Place()).digest == sha256(b"[1]")


# ---- what changes meanwhile


def test_a_change_between_hash_and_read_is_found(table, registry):
    """Also one of the same size, and one that was written before the reader came to it."""
    raw = mv.data(table)
    table.write_text(table.read_text().replace("x", "z"))

    with pytest.raises(DataChangedError, match=r"has changed since it was hashed as .* mv\.data"):
        raw.read(pd.read_csv)
    assert mv.data(table).read(pd.read_csv).b[0] == "z"


def test_without_the_check_a_change_would_pass(table, monkeypatch):
    """The mutant: what is read is not compared with what was hashed."""
    raw = mv.data(table)
    table.write_text(table.read_text().replace("x", "z"))
    monkeypatch.setattr(mv.Data, "_check", lambda self, certain: None)

    assert raw.read(pd.read_csv).b[0] == "z"


def rewritten(file, old, new):
    """Write other bytes of the same length into a file, and give it its old times back."""
    times = file.stat()
    file.write_bytes(file.read_bytes().replace(old, new))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_change_that_hides_its_time_is_found(table):
    """The time of the change of the file's own record cannot be set back."""
    raw = mv.data(table)
    rewritten(table, b"x", b"z")

    with pytest.raises(DataChangedError):
        raw.read(pd.read_csv)


def test_a_change_right_after_the_hash_is_found(tmp_path, monkeypatch):
    """Clocks of files tick slowly: a file that is seconds old is hashed again after the read.

    The mutant, which trusts the marks of a young file, reads the changed bytes.
    """
    file = tmp_path / "young.csv"

    def changed_unseen():
        file.write_text("a\n1\n")
        raw = mv.data(file)
        file.write_text("a\n2\n")
        # As on a filesystem whose clock has not gone on since.
        monkeypatch.setattr(inputs, "_marks", lambda place: raw._look().marks)
        return raw

    with pytest.raises(DataChangedError):
        changed_unseen().read(pd.read_csv)
    monkeypatch.undo()
    monkeypatch.setattr(inputs, "_settled", lambda info, began: True)
    assert changed_unseen().read(pd.read_csv).a[0] == 2


def test_a_change_during_the_read_is_found(table):
    """The reader saw other bytes than those that were hashed."""
    raw = mv.data(table)

    def reader(path):
        table.write_text("a,b\n9,9\n")
        return pd.read_csv(path)

    with pytest.raises(DataChangedError):
        raw.read(reader)


def test_a_touched_file_is_the_same(table):
    """The bytes count, not the time: it is hashed again and found equal."""
    raw = mv.data(table)
    os.utime(table)

    assert len(raw.read(pd.read_csv)) == 3


def test_a_file_that_changes_while_it_is_hashed_is_refused(table, monkeypatch):
    """It is tried again, and refused if it never holds still."""
    real, calls = inputs.fingerprint, []

    def hashed(file):
        calls.append(file)
        table.write_text(f"a,b\n{len(calls) * 'x'},1\n")
        return real(file)

    monkeypatch.setattr(inputs, "fingerprint", hashed)

    with pytest.raises(DataChangedError, match="changes while it is read"):
        mv.data(table)
    assert len(calls) == 3

    def settled(file):
        return hashed(file) if len(calls) < 4 else real(file)

    monkeypatch.setattr(inputs, "fingerprint", settled)
    assert mv.data(table).digest == sha256(table.read_bytes())


def test_a_file_that_vanishes_is_not_there(table):
    """Between the hash and the read."""
    raw = mv.data(table)
    table.unlink()

    with pytest.raises(DataNotFoundError, match="there is no file or folder"):
        raw.read(pd.read_csv)


def test_a_folder_to_which_a_file_comes_is_another(tmp_path):
    """A part that is written late is found."""
    folder = tmp_path / "parts"
    folder.mkdir()
    aged(Path(FRAME.to_parquet(folder / "0.parquet") or folder / "0.parquet"))
    raw = mv.data(folder)
    FRAME.to_parquet(folder / "1.parquet")

    with pytest.raises(DataChangedError):
        raw.read(pd.read_parquet)


# ---- what is refused

BAD = {
    "absent": ("no/such/file.csv", DataNotFoundError, r"no file or folder .*file\.csv"),
    "empty": ("", InvalidInputError, "a path or a URL, found str"),
    "number": (3, InvalidInputError, "a path or a URL, found int"),
    "protocol": ("nonsense://x", InvalidInputError, "no place that fsspec knows"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_data_is_refused(what):
    """With what was found, and an error of its kind."""
    place, error, message = BAD[what]

    with pytest.raises(error, match=message):
        mv.data(place)


def test_an_empty_folder_and_a_bad_name_are_refused(tmp_path, table):
    """Nothing is hashed without a name to list it under."""
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataNotFoundError, match="holds no file"):
        mv.data(tmp_path / "empty")
    with pytest.raises(FileNotFoundError):
        mv.data(tmp_path / "absent")
    with pytest.raises(InvalidNameError):
        mv.data(table, name="a`b")


def test_a_place_that_cannot_be_read_is_a_storage_error(monkeypatch):
    """The message names the place."""
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/raw.bin", b"1")
    monkeypatch.setattr(
        type(memory), "open", lambda *_, **__: (_ for _ in ()).throw(OSError("line is down"))
    )

    with pytest.raises(StorageError, match=r"cannot read memory://raw\.bin: line is down"):
        mv.data("memory://raw.bin")


def test_what_is_no_file_is_refused(tmp_path):
    """A pipe has no end, and a link to a folder may have none."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder" / "in").mkdir(parents=True)
    (tmp_path / "folder" / "in" / "loop").symlink_to(tmp_path / "folder")

    for name in ("pipe", "folder"):
        with pytest.raises(FingerprintError):
            mv.data(tmp_path / name)


def test_an_exception_of_the_reader_is_its_own(table, registry):
    """And the run lists the read as failed, if it is kept."""
    with pytest.raises(ZeroDivisionError), registry.run("churn", on_error="keep"):
        mv.data(table).read(lambda path: 1 / 0)

    assert registry.get("churn").steps[0].failed.startswith("ZeroDivisionError")


def test_no_secret_of_a_url_is_recorded(registry, tmp_path):
    """Neither user nor password nor query, and not in the repr."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("raw.csv", "a\n1\n")
    place = inputs._Place(None, "p", "https://ana:hush@host/x/raw.csv?token=hush", False)

    assert place.shown == "https://host/x/raw.csv"
    assert mv.data(f"zip://raw.csv::{tmp_path / 'x.zip'}").digest == sha256(b"a\n1\n")


def test_nothing_is_hashed_where_tracking_is_off(table, monkeypatch):
    """The reader reads; a digest is there when it is asked for."""
    monkeypatch.setattr(inputs, "fingerprint", lambda *_: pytest.fail("hashed"))
    with mv.disabled():
        raw = mv.data(table)
        assert len(raw.read(pd.read_csv)) == 3
    monkeypatch.undo()

    assert raw.digest == sha256(table.read_bytes())


def test_it_pickles(table):
    """Into a worker, which reads and checks for itself."""
    raw = pickle.loads(pickle.dumps(mv.data(table)))

    assert len(raw.read(pd.read_csv)) == 3
    table.write_text("a,b\n")
    with pytest.raises(DataChangedError):
        raw.read(pd.read_csv)


def test_a_place_without_marks_is_hashed_again(monkeypatch):
    """A filesystem that tells neither time nor tag."""
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/raw.json", b"[1]")
    monkeypatch.setattr(inputs, "_TIMES", ())
    monkeypatch.setattr(inputs, "_MARKS", ("size",))
    raw = mv.data("memory://raw.json")
    memory.pipe_file("/raw.json", b"[2]")

    with pytest.raises(DataChangedError):
        raw.read(json.load)


def test_a_tag_is_trusted(monkeypatch):
    """An object store names the content by it: bytes are hashed once."""
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/raw.json", b"[1]")
    real, hashed = inputs.fingerprint, []
    info = type(memory).info
    monkeypatch.setattr(
        type(memory), "info", lambda self, path, **k: {**info(self, path, **k), "ETag": "e1"}
    )
    monkeypatch.setattr(inputs, "fingerprint", lambda *a: hashed.append(a) or real(*a))

    raw = mv.data("memory://raw.json")

    assert raw.read(json.load) == [1]
    assert len(hashed) == 1
    assert raw.__data_record__.place.etag == "e1"
