"""What users get wrong: credentials, buckets, rights, addresses; and servers that are gone."""

import contextlib
import io
import json
import re
import time

import fsspec
import numpy as np
import pytest
from refusing import ABSENT, READER, STRANGER, Answer, refusing
from running import STARTERS, driver, free_port

import modelversion as mv
from modelversion.errors import (
    DataNotFoundError,
    ReadOnlyError,
    SaveError,
    StorageError,
    StorageFullError,
)
from modelversion.storage import KeyAbsent, _gcs, _object, _sftp, open_store

# Neither moto nor fake-gcs-server checks who asks: an endpoint of these tests does it for them.
CAREFREE = ("moto", "fake-gcs")


def each(names):
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]


@pytest.fixture
def short(monkeypatch):
    """Deadlines of seconds; a server that answers may take its time for it."""
    monkeypatch.setattr(_object, "DEADLINE_SECONDS", 2.0)
    monkeypatch.setattr(_sftp, "DEADLINE_SECONDS", 2.0)
    monkeypatch.setattr(_gcs, "_FIRST_PAUSE", 0.02)


@pytest.fixture
def hang(short, monkeypatch):
    """What stalls a proxy; from then on an answer is awaited for a second."""
    # Of a connection it is set when it is made.
    monkeypatch.setattr(_sftp, "ATTEMPT_SECONDS", 3.0)

    def stall(proxy):
        monkeypatch.setattr(_object, "ATTEMPT_SECONDS", 1.0)
        monkeypatch.setattr(_object, "_SLOWEST", 80_000_000)
        proxy.stall()

    return stall


def refusal(work, seconds=120):
    """What was raised of ours, in time; a save's own error tells of it."""
    began = time.monotonic()
    with pytest.raises((StorageError, SaveError)) as caught:
        work()
    assert time.monotonic() - began < seconds
    e = caught.value
    return e.__cause__ if isinstance(e, SaveError) else e


# ---- who asks


def _other_key(options):
    told = options["connection_string"]
    return {"connection_string": re.sub("AccountKey=[^;]*", "AccountKey=d3Jvbmc=", told)}


STRANGERS = {
    "radosgw": lambda options: {**options, "key": "nobody"},
    "azurite": _other_key,
    "openssh": lambda options: {**options, "username": "nobody-of-that-name"},
}


@pytest.fixture(params=each(STARTERS))
def stranger(request, servers):
    """A place, and options with which its server does not know us."""
    server = servers(request.param)
    with contextlib.ExitStack() as stack:
        if server.name in CAREFREE:
            no = STRANGER[server.scheme]
            port = stack.enter_context(refusing(no, no))
            yield server.place(), server.options(port)
        else:
            yield server.place(), STRANGERS[server.name](server.options())


def test_wrong_credentials_are_told(stranger, short):
    """A server that does not know us gives an error that says what to check."""
    url, options = stranger
    store = open_store(url, storage_options=options)

    for work in (
        lambda: store.read("registry.json"),
        lambda: store.list(""),
        lambda: store.put_new("a", b"1"),
        store.prove,
    ):
        e = refusal(work)
        assert url in str(e)
        assert "the credentials are wrong" in str(e)


def test_wrong_credentials_for_data_are_told(stranger, short):
    """A file that is to be hashed is no other matter."""
    url, options = stranger

    e = refusal(lambda: mv.data(f"{url}/raw.csv", storage_options=options))

    assert f"{url}/raw.csv" in str(e)
    assert "the credentials are wrong" in str(e)


@pytest.mark.xdist_group("radosgw")
def test_a_wrong_secret_is_told(servers):
    """A signature that does not match is a matter of credentials too."""
    server = servers("radosgw")
    store = open_store(server.place(), storage_options={**server.options(), "secret": "wrong"})

    assert "the credentials are wrong" in str(refusal(lambda: store.read("registry.json")))


@pytest.mark.xdist_group("fake-gcs")
def test_an_account_that_is_no_more_is_told(servers, short):
    """Google answers the key of a service account that was deleted with no token."""
    server = servers("fake-gcs")
    gone = Answer(400, b'{"error": "invalid_grant"}', "application/json")
    with refusing(STRANGER["gs"], gone) as port:
        options = {**server.options(port), "token": _account(f"http://127.0.0.1:{port}/token")}
        store = open_store(server.place(), storage_options=options)

        e = refusal(lambda: store.read("registry.json"))

    assert "the credentials are wrong" in str(e)


def _account(token_uri):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    way = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return {
        "type": "service_account",
        "client_email": "ana@test.iam.gserviceaccount.com",
        "private_key": key.private_bytes(serialization.Encoding.PEM, *way).decode(),
        "token_uri": token_uri,
    }


# ---- what one may


def _denied_bucket(server):
    """A bucket whose policy denies PUT."""
    fs = fsspec.filesystem("s3", skip_instance_cache=True, **server.options())
    with contextlib.suppress(FileExistsError):
        fs.call_s3("create_bucket", Bucket="readable")
    rule = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::readable/*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    fs.call_s3("put_bucket_policy", Bucket="readable", Policy=policy)
    return "s3://readable/models", server.options()


def _shared_container(server):
    """A signature that lets one read and list."""
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    told = dict(part.split("=", 1) for part in server.options()["connection_string"].split(";")[:4])
    signature = generate_container_sas(
        told["AccountName"],
        server.root,
        account_key=told["AccountKey"],
        permission=ContainerSasPermissions(read=True, list=True),
        expiry="2100-01-01",
    )
    shared = f"BlobEndpoint={told['BlobEndpoint']};SharedAccessSignature={signature}"
    return server.place(), {"connection_string": shared}


def _reading_port(server):
    """An sshd that answers each write with "permission denied"."""
    return server.place(), server.options(server.reading_port)


READERS = {"radosgw": _denied_bucket, "azurite": _shared_container, "openssh": _reading_port}


@pytest.fixture(params=each(STARTERS))
def reader(request, servers):
    """A place that we may read and not write."""
    server = servers(request.param)
    with contextlib.ExitStack() as stack:
        if server.name in CAREFREE:
            ways = ABSENT[server.scheme], READER[server.scheme]
            port = stack.enter_context(refusing(*ways))
            yield server.place(), server.options(port)
        else:
            yield READERS[server.name](server)


def test_a_place_that_may_only_be_read_is_told(reader, short):
    """A write is a ReadOnlyError that names the place; reading goes on."""
    url, options = reader
    store = open_store(url, storage_options=options)

    for work in (lambda: store.put_new("b", b"1"), store.prove):
        e = refusal(work)
        assert isinstance(e, ReadOnlyError)
        assert url in str(e)
        assert "may not write there" in str(e)
    with pytest.raises(KeyAbsent):
        store.read("b")


def test_a_save_where_one_may_only_read_is_told(reader, open_registry, short):
    """The save says which place, and what to check; nothing is retried until the deadline."""
    url, options = reader
    e = refusal(lambda: mv.Registry(url, storage_options=options).save("churn", 1))

    assert isinstance(e, ReadOnlyError)
    assert url in str(e)


@pytest.mark.xdist_group("radosgw")
def test_a_bucket_whose_quota_is_used_up_is_told(servers):
    """Ceph answers 403, as to one who may not: the error says that there is no room."""
    server = servers("radosgw")
    fs = fsspec.filesystem("s3", skip_instance_cache=True, **server.options())
    fs.call_s3("create_bucket", Bucket="narrow")
    server.admin("quota", "set", "--quota-scope=bucket", "--bucket=narrow", "--max-objects=1")
    server.admin("quota", "enable", "--quota-scope=bucket", "--bucket=narrow")
    store = open_store("s3://narrow/models", storage_options=server.options())
    store.put_new("a", b"1")

    with pytest.raises(StorageFullError, match="s3://narrow/models/b"):
        store.put_new("b", b"1")


# ---- what is not there


def test_a_missing_bucket_is_told(bucket, open_registry):
    """A save into a bucket that is not there says so, and names it."""
    url = f"{bucket.scheme}://no-such-bucket/models"

    e = refusal(lambda: open_registry(bucket, url).save("churn", 1))

    assert "no-such-bucket" in str(e)
    assert "the bucket does not exist" in str(e)


def test_data_in_a_missing_bucket_is_not_there(bucket):
    """Where the driver tells the bucket from the file, so do we; else the file is missing."""
    url = f"{bucket.scheme}://no-such-bucket/raw.csv"

    with pytest.raises((StorageError, DataNotFoundError), match="no-such-bucket"):
        mv.data(url, storage_options=bucket.options())


def test_a_folder_that_cannot_be_made_is_told(sftp):
    """SFTP makes the folders of a place; where it cannot, the error names the place."""
    for inner in ("/proc/models", "/etc/hostname/models"):
        url = f"sftp://127.0.0.1{inner}"
        store = open_store(url, storage_options=sftp.options())

        assert url in str(refusal(store.prove))
        assert url in str(refusal(lambda store=store: store.put_new("a", b"1")))


# ---- who answers


def test_a_server_that_is_down_is_told(server, open_registry, short):
    """Nothing listens: the error names the place and says what to check."""
    url, port = server.place(), free_port()

    e = refusal(lambda: open_registry(server, url, port=port).save("churn", 1))

    assert url in str(e)
    assert "check the address" in str(e)


def test_data_on_a_server_that_is_down_is_told(server, short):
    """Nothing listens: no absent file, but an address to check."""
    url = f"{server.place()}/raw.csv"

    e = refusal(lambda: mv.data(url, storage_options=server.options(free_port())))

    assert url in str(e)
    assert "check the address" in str(e)


def test_data_on_a_server_that_hangs_is_told(server, proxied, hang):
    """It hangs before the hash, in the hash, or under a reader: never longer than the time-out."""
    proxy, fs = proxied(server), driver(server)
    url = f"{server.place()}/raw.npy"
    path = fs._strip_protocol(url)
    if server.scheme == "sftp":
        fs.makedirs(fs._parent(path), exist_ok=True)
    out = io.BytesIO()
    count = 2**21 + 2**17  # two blocks and a bit
    np.save(out, np.zeros(count))
    fs.pipe_file(path, out.getvalue())
    options = server.options(proxy.port)
    raw = mv.data(url, storage_options=options)
    assert len(raw.read(np.load)) == count

    def in_the_middle(file):
        file.read(1)
        hang(proxy)
        return file.read()

    for work in (
        lambda: raw.read(in_the_middle),
        lambda: raw.read(np.load),
        lambda: mv.data(url, storage_options=options),
    ):
        e = refusal(work)
        assert url in str(e)
        assert "no answer came" in str(e)


def test_a_server_that_hangs_is_told(server, proxied, open_registry, hang):
    """No answer within the time-out is an error that names the place, also in the middle."""
    url, proxy = server.place(), proxied(server)
    registry = open_registry(server, url, port=proxy.port)
    fresh = open_registry(server, url, port=proxy.port)
    store = open_store(url, storage_options=server.options(proxy.port))
    registry.save("churn", 1)
    store.read("registry.json")
    hang(proxy)

    for work in (
        lambda: fresh.save("churn", 2),
        lambda: registry.load("churn"),
        lambda: registry.save("churn", 2),
        store.prove,
    ):
        e = refusal(work)
        assert url in str(e)
        assert "no answer came" in str(e)
