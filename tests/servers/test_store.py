"""What the layers above ask of a store, on every server, and what goes wrong on the way."""

import hashlib
import json
import pickle

import fsspec
import pytest
from processes import threads_together

from modelversion.errors import InvalidInputError, OutcomeUnknownError, StorageError
from modelversion.storage import Blob, KeyAbsent, KeyTaken, _object, _sftp, open_store

KEY = "models/churn/versions/1/object/buffer-0"
PIECE = _object.PIECE


@pytest.fixture
def store(server):
    """A store at an empty place."""
    return open_store(server.place(), storage_options=server.options())


@pytest.fixture
def through(proxied):
    """Give a proxy before a server and a store that goes through it."""

    def make(server):
        proxy = proxied(server)
        return proxy, open_store(server.place(), storage_options=server.options(proxy.port))

    return make


@pytest.fixture
def pieces(server):
    """A store with a key of three pieces and a bit, and its bytes."""
    store = open_store(server.place(), storage_options=server.options())
    data = b"".join(bytes([i]) * PIECE for i in range(3)) + b"end"
    store.put_new(KEY, data)
    return store, data


# ---- what a store does


def test_a_key_that_can_be_rebuilt_is_replaced(store):
    """`put` writes whether or not something is there; a reader sees all of one of them."""
    store.put("a/b", b"first")
    store.put("a/b", b"second")

    assert store.read("a/b") == b"second"
    assert [item.name for item in store.list("a")] == ["b"]


def test_what_is_removed_is_gone_and_what_is_absent_is_fine(store):
    """A file is removed, an empty folder of a server that has folders too, and twice is fine."""
    store.put_new("a/b", b"1")

    for key in ("a/b", "a/b", "a", "a"):
        store.remove(key)

    with pytest.raises(KeyAbsent):
        store.read("a/b")
    assert store.list("") == []


def test_an_absent_key_is_absent_however_it_is_asked_for(store):
    """By reading, by opening, and by listing."""
    with pytest.raises(KeyAbsent):
        store.open("a", 10)
    with pytest.raises(KeyAbsent):
        store.open("a")
    assert store.read_many([]) == []
    assert store.read_many(["a", "b"]) == [None, None]
    assert store.list("a") == []


def test_a_store_goes_to_another_process(store):
    """It pickles, and reads there by a connection of its own."""
    store.put_new("a", b"1")

    there = pickle.loads(pickle.dumps(store))

    assert there.read("a") == b"1"
    with pytest.raises(KeyTaken):
        there.put_new("a", b"2")


def test_a_remote_key_has_no_path_and_no_cache(store):
    """Nothing of it lies on this machine, and no cache stands between."""
    assert store.remote
    assert store.local_path("a") is None
    assert not store.revalidate()


def test_nothing_at_all_is_no_key(bucket):
    """An empty key could not be told from one that is being written."""
    store = open_store(bucket.place(), storage_options=bucket.options())

    with pytest.raises(ValueError, match="empty key"):
        store.put_new("a", b"")


def test_a_long_key_is_read_in_order(pieces):
    """With its size known and unknown, in steps of any width; what is longer is not cut."""
    store, data = pieces

    for size in (None, len(data)):
        with store.open(KEY, size) as file:
            assert file.readable()
            assert file.read(5) == data[:5]
            assert file.read() == data[5:]


def test_a_key_that_ends_with_a_piece_ends_there(server):
    """Where the size is unknown, the piece after the last is asked for and is nothing."""
    store = open_store(server.place(), storage_options=server.options())
    data = bytes(PIECE)
    store.put_new(KEY, data)

    with store.open(KEY) as file:
        assert file.read() == data


def test_a_file_that_is_closed_early_stops_what_is_on_its_way(pieces):
    """Its connection serves the next."""
    store, data = pieces

    with store.open(KEY) as file:
        got = b""
        while len(got) <= PIECE:
            got += file.read(2**20)
        assert got == data[: len(got)]

    assert store.read_many([KEY]) == [data]


def test_of_two_that_fill_a_folder_one_is_told(store):
    """A file of others' bytes that is there already is a KeyTaken."""
    blobs = [Blob(path, 1, hashlib.sha256(b"1").hexdigest(), b"1") for path in ("x", "y")]
    store.fill("a", blobs, {})
    store.settle("a")

    store.fill("b", blobs, {})
    with pytest.raises(KeyTaken):
        store.fill("a", [Blob("x", 1, hashlib.sha256(b"2").hexdigest(), b"2")], {})
    assert store.read_many(["a/x", "a/y", "b/x"]) == [b"1"] * 3


# ---- what goes wrong


def test_a_piece_whose_reply_breaks_off_is_asked_for_alone(pieces, server, proxied):
    """The second of three breaks: it is fetched again, and neither of the others is."""
    store, data = pieces
    proxy = proxied(server)
    there = open_store(store.url, storage_options=server.options(proxy.port))

    with there.open(KEY, len(data)) as file:
        head = file.read(1)
        proxy.cut()
        assert head + file.read() == data

    assert proxy.bytes_down < 2 * len(data)


@pytest.mark.xdist_group("radosgw")
def test_a_piece_that_is_denied_is_asked_for_once(servers):
    """A policy that comes while a key is read ends the reading, with what to check."""
    server = servers("radosgw")
    fs = fsspec.filesystem("s3", skip_instance_cache=True, **server.options())
    fs.call_s3("create_bucket", Bucket="closing")
    store = open_store("s3://closing/models", storage_options=server.options())
    store.put_new(KEY, bytes(2 * PIECE))
    rule = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::closing/*",
    }

    with store.open(KEY) as file:
        policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
        fs.call_s3("put_bucket_policy", Bucket="closing", Policy=policy)
        with pytest.raises(StorageError, match="may not read there"):
            file.read()


def test_a_read_that_is_never_answered_is_given_up(pieces, server, proxied, monkeypatch):
    """The server hangs after the first piece: the error says so, in time."""
    store, data = pieces
    # Of a channel it is set when it is opened.
    monkeypatch.setattr(_sftp, "ATTEMPT_SECONDS", 3.0)
    proxy = proxied(server)
    there = open_store(store.url, storage_options=server.options(proxy.port))

    with there.open(KEY, len(data)) as file:
        file.read(1)
        monkeypatch.setattr(_object, "ATTEMPT_SECONDS", 0.3)
        monkeypatch.setattr(_object, "_SLOWEST", 80_000_000)
        proxy.stall()
        with pytest.raises(StorageError, match="no answer came"):
            file.read()


def test_a_large_file_of_which_less_arrives_is_found_out(bucket, tmp_path):
    """The size is looked at after the last part."""
    spooled = tmp_path / "large"
    spooled.write_bytes(bytes(PIECE + 10))
    blob = Blob("large", PIECE + 11, "", spooled)
    store = open_store(bucket.place(), storage_options=bucket.options())

    with pytest.raises(StorageError, match=rf"has {PIECE + 10} bytes, sent were {PIECE + 11}"):
        store.fill("a", [blob], {})


def test_a_missing_bucket_is_no_empty_folder(telling_bucket):
    """Where the driver tells the two apart, a listing does too."""
    url = f"{telling_bucket.scheme}://no-such-bucket/models"
    store = open_store(url, storage_options=telling_bucket.options())

    for work in (lambda: store.list("a"), lambda: store.read("a")):
        with pytest.raises(StorageError, match="the bucket does not exist"):
            work()


WRONG = {"openssh": {"no_such_option": 1}, "azurite": {"connection_string": 5}}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in WRONG]
)
def test_options_that_a_driver_does_not_take_are_told(name, servers):
    """As a matter of arguments, with the URL and the driver's own words."""
    server = servers(name)
    store = open_store(server.place(), storage_options={**server.options(), **WRONG[name]})

    with pytest.raises(InvalidInputError, match="does not take these storage_options"):
        store.read("a")


# ---- SFTP


def test_an_upload_that_is_never_answered_is_given_up(sftp, through, monkeypatch):
    """Before the rename it is a failed write; the error names the place and what to check."""
    monkeypatch.setattr(_sftp, "ATTEMPT_SECONDS", 3.0)
    monkeypatch.setattr(_sftp, "DEADLINE_SECONDS", 1.0)
    proxy, store = through(sftp)
    store.put_new("a", b"1")
    proxy.stall()

    with pytest.raises(StorageError, match="no answer came") as caught:
        store.put_new("b", b"1")
    assert not isinstance(caught.value, OutcomeUnknownError)


def test_a_rename_that_is_never_answered_is_unknown(sftp, through, monkeypatch):
    """What is not known at the deadline says what to look at."""
    import paramiko

    monkeypatch.setattr(_sftp, "ATTEMPT_SECONDS", 3.0)
    monkeypatch.setattr(_sftp, "DEADLINE_SECONDS", 1.0)
    proxy, store = through(sftp)
    rename = paramiko.SFTPClient.rename

    def stalled(self, old, new):
        proxy.stall()
        return rename(self, old, new)

    monkeypatch.setattr(paramiko.SFTPClient, "rename", stalled)

    with pytest.raises(OutcomeUnknownError, match="look whether it is there with 4 bytes"):
        store.put_new("b", b"four")


def test_channels_that_stay_busy_are_told(sftp, monkeypatch):
    """Readers that never end leave none over: the next one says so, and does not wait for ever."""
    monkeypatch.setattr(_sftp, "DEADLINE_SECONDS", 0.05)
    store = open_store(sftp.place(), storage_options=sftp.options())
    store.put_new("a", b"1")
    held = [store.open("a") for _ in range(_sftp.CHANNELS)]

    with pytest.raises(StorageError, match="have been busy for too long"):
        store.read("a")
    for file in held:
        file.close()
    assert store.read("a") == b"1"


def test_a_server_that_gives_less_than_it_was_asked_for_is_asked_again(sftp, monkeypatch):
    """As the protocol lets it; what is read is whole."""
    import paramiko
    from paramiko.sftp import CMD_READ

    store = open_store(sftp.place(), storage_options=sftp.options())
    data = bytes(range(256)) * 400
    store.put_new("a", data)
    request = paramiko.SFTPClient._async_request

    def shortening(self, taker, kind, *given):
        if kind == CMD_READ:
            given = (*given[:2], min(given[2], 20_000))
        return request(self, taker, kind, *given)

    monkeypatch.setattr(paramiko.SFTPClient, "_async_request", shortening)

    with store.open("a") as file:
        assert file.read() == data


def test_a_file_that_becomes_shorter_while_it_is_read_ends(sftp):
    """The server says that there is no more; its size and digest are compared above."""
    store = open_store(sftp.place(), storage_options=sftp.options())
    store.put_new("a", bytes(3 * 2**20))

    with store.open("a") as file:
        assert file.read(1) == b"\0"
        with open(store._path("a"), "r+b") as changed:
            changed.truncate(10)
        assert len(file.read()) < 3 * 2**20 - 1


def test_many_that_make_one_folder_agree(sftp):
    """Each of eight makes the folders that it needs, and none is told of the others."""
    url = sftp.place()
    stores = [open_store(url, storage_options=sftp.options()) for _ in range(8)]
    for store in stores:
        store.read_many(["a"])  # the connection is not what they race for

    threads_together(lambda i: stores[i].put_new(f"a/b/c/d/{i}", b"1"), range(8))

    assert len(stores[0].list("a/b/c/d")) == 8
