"""Data on real servers: hashed where it lies, read once, linked to what was read."""

import hashlib
import io
import json
import pickle
import zipfile

import fsspec
import numpy as np
import pandas as pd
import pytest
from processes import threads_together
from refusing import Answer, refusing
from running import Server, driver, free_port

import modelversion as mv
from modelversion.errors import DataChangedError, DataNotFoundError, StorageError
from modelversion.schema import to_json
from modelversion.storage import _object, elsewhere

FRAME = pd.DataFrame({"a": np.arange(50.0), "b": np.arange(50) % 3})
RAW = FRAME.to_csv(index=False).encode()


@pytest.fixture
def registry(tmp_path):
    """A registry on this machine: only the data is elsewhere."""
    return mv.Registry(tmp_path / "registry")


@pytest.fixture
def stored(server):
    """A file on the server: its URL, how it is opened, and a filesystem that changes it."""
    options = server.options()
    url = f"{server.place()}/raw.csv"
    fs = driver(server)
    path = fs._strip_protocol(url)
    if server.scheme == "sftp":
        fs.makedirs(fs._parent(path), exist_ok=True)
    fs.pipe_file(path, RAW)
    return url, options, fs, path


def test_a_file_is_hashed_where_it_lies(stored, registry):
    """Its digest is that of its bytes; the run has it as an input, linked to the frame."""
    url, options, _, _ = stored

    with registry.run("churn") as run:
        raw = mv.data(url, storage_options=options)
        frame = raw.read(pd.read_csv)
        run.log_data(train=frame)
        run.log_metrics(auc=0.9)

    pd.testing.assert_frame_equal(frame, FRAME)
    assert raw.digest == hashlib.sha256(RAW).hexdigest()
    assert raw.open().read() == RAW
    version = run.version
    kept = version.data["raw.csv"]
    assert (kept.digest, kept.place.size) == (raw.digest, len(RAW))
    assert [step.form for step in version.steps] == ["read"]
    assert [(edge.source, edge.target) for edge in version.steps.edges] == [
        ("raw.csv", 0),
        (0, "train"),
    ]
    assert registry.search(data=raw)[0].ref == version.ref


def test_a_place_that_knows_its_filesystem_is_read(stored, server):
    """As a `UPath` does, whose driver somebody else has made."""
    url, options, _, path = stored

    host = {"host": "127.0.0.1"} if server.scheme == "sftp" else {}

    class Place:
        def __init__(self):
            self.fs, self.path = fsspec.filesystem(server.scheme, **host, **options), path

        def __str__(self):
            return url

    assert mv.data(Place()).read(pd.read_csv).equals(FRAME)


def test_a_change_on_the_server_is_found(stored):
    """Bytes that were written after the hash are refused when they are read."""
    url, options, fs, path = stored
    raw = mv.data(url, storage_options=options)

    fs.pipe_file(path, RAW.replace(b"1.0", b"9.0"))

    with pytest.raises(DataChangedError, match="has changed since it was hashed"):
        raw.read(pd.read_csv)
    assert mv.data(url, storage_options=options).digest != raw.digest


def test_a_folder_is_hashed_by_its_files(stored, registry):
    """By name and bytes, whatever order the server lists them in."""
    url, options, fs, path = stored
    folder, inner = url.rpartition("/")[0], path.rpartition("/")[0]
    fs.pipe_file(f"{inner}/b.csv", b"a\n1\n")

    found = mv.data(folder, storage_options=options)

    lines = [(b"b.csv", b"a\n1\n"), (b"raw.csv", RAW)]
    text = b"".join(
        hashlib.sha256(data).hexdigest().encode() + b"  " + n + b"\n" for n, data in lines
    )
    assert found.digest == hashlib.sha256(text).hexdigest()


def test_what_is_not_there_is_said(stored):
    """An absent file and a server that does not answer are told apart, each in words."""
    url, options, _, _ = stored

    with pytest.raises(DataNotFoundError, match=r"nothing\.csv"):
        mv.data(url.replace("raw.csv", "nothing.csv"), storage_options=options)


def test_columns_of_a_parquet_file_are_told(stored):
    """The schema is read on the server's side of the wire, not guessed from the name."""
    url, options, fs, path = stored
    out = io.BytesIO()
    FRAME.to_parquet(out)
    fs.pipe_file(path.replace(".csv", ".parquet"), out.getvalue())

    found = mv.data(url.replace(".csv", ".parquet"), storage_options=options)

    assert dict(found.columns) == {"a": "double", "b": "int64"}
    pd.testing.assert_frame_equal(found.read(pd.read_parquet), FRAME)


def test_no_secret_of_the_options_is_recorded(stored, registry):
    """Neither the login nor where it leads stands in a byte of the version."""
    url, options, _, _ = stored
    with registry.run("churn") as run:
        mv.data(url, storage_options={**options}).read(pd.read_csv)
        run.log_metrics(auc=0.9)

    record = json.dumps(to_json(run.version._record))
    telling = ("connection_string", "account_key", "password", "client_kwargs")
    for name in telling:
        assert name not in options or str(options[name]) not in record
    assert "storage_options" not in [name for step in run.version.steps for name in step.params]


def test_opened_data_goes_to_a_worker(stored):
    """It pickles, and reads there from the server."""
    url, options, _, _ = stored

    there = pickle.loads(pickle.dumps(mv.data(url, storage_options=options)))

    assert there.read(pd.read_csv).equals(FRAME)


def test_a_large_file_over_sftp_is_asked_for_ahead(sftp, monkeypatch):
    """Many pieces are under way at once, so that its hash does not wait for each."""
    import paramiko

    url, raw = f"{sftp.place()}/raw.bin", bytes(range(256)) * 2**12
    fs = driver(sftp)
    path = fs._strip_protocol(url)
    fs.makedirs(fs._parent(path), exist_ok=True)
    fs.pipe_file(path, raw)
    ask, answer, waiting = (
        paramiko.SFTPClient._async_request,
        paramiko.SFTPClient._read_response,
        [0],
    )

    def asking(self, *given):
        waiting.append(waiting[-1] + 1)
        return ask(self, *given)

    def answering(self, *given):
        waiting.append(waiting[-1] - 1)
        return answer(self, *given)

    monkeypatch.setattr(paramiko.SFTPClient, "_async_request", asking)
    monkeypatch.setattr(paramiko.SFTPClient, "_read_response", answering)

    found = mv.data(url, storage_options=sftp.options())

    assert found.digest == hashlib.sha256(raw).hexdigest()
    assert max(waiting) > 16
    # A file that has become shorter since its size was asked gives what it has.
    there, path = elsewhere.located(url, url, sftp.options())
    assert there.fetch(path, 0, len(raw) + 10**5) == raw


def test_threads_read_one_file_at_once(stored):
    """Each gets all of it, though they share a connection."""
    url, options, fs, path = stored
    fs.pipe_file(path, RAW * 2000)
    raw = mv.data(url, storage_options=options)

    def read(_):
        with raw.open() as file:
            return hashlib.sha256(file.read()).hexdigest()

    assert threads_together(read, range(4)) == [raw.digest] * 4


# ---- on a web server


@pytest.fixture
def web():
    """A web server that has one file."""
    file = Answer(200, RAW, "text/csv")
    with refusing(file, file) as port:
        yield Server("web", port, "http", "", lambda port: {})


def test_a_file_on_a_web_server_is_read(web):
    """Through a driver whose time-outs are those of registries."""
    found = mv.data(f"http://127.0.0.1:{web.port}/raw.csv")

    assert found.digest == hashlib.sha256(RAW).hexdigest()
    assert found.read(pd.read_csv).equals(FRAME)


def test_a_web_server_that_hangs_or_is_gone_is_told(web, proxied, monkeypatch):
    """It says which file, and what to check."""
    monkeypatch.setattr(_object, "ATTEMPT_SECONDS", 1.0)
    proxy = proxied(web)
    proxy.stall()

    for port in (proxy.port, free_port()):
        url = f"http://127.0.0.1:{port}/raw.csv"
        with pytest.raises(StorageError, match="no answer came") as caught:
            mv.data(url)
        assert url in str(caught.value)


def test_a_file_through_another_driver_is_hashed(tmp_path):
    """A chain of drivers is asked as fsspec asks it."""
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as packed:
        packed.writestr("raw/raw.csv", RAW)

    found = mv.data(f"zip://raw/raw.csv::file://{tmp_path}/raw.zip")

    assert found.digest == hashlib.sha256(RAW).hexdigest()
