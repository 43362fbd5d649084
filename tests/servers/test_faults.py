"""Replies that are lost, cut, late or never come."""

import threading
import time

import pytest

from modelversion.errors import (
    OutcomeUnknownError,
    SaveError,
    StorageError,
    UnsafeFilesystemError,
)
from modelversion.storage import KeyAbsent, KeyTaken, _object, _sftp, open_store

KEY = "models/churn/journal/000000000007.json"


@pytest.fixture
def through(proxied):
    """Give a proxy before a server and a store that goes through it."""

    def make(server):
        proxy = proxied(server)
        url = server.place()
        return proxy, open_store(url, storage_options=server.options(proxy.port)), url

    return make


def direct(server, url):
    return open_store(url, storage_options=server.options())


# ---- creating a key


@pytest.mark.parametrize("times", [1, 3])
def test_a_lost_reply_is_resolved_to_the_truth(bucket, through, times):
    """The key was created and its replies were lost: the writer learns that it has won."""
    proxy, store, url = through(bucket)
    proxy.on("000000000007", "lose", times=times)

    store.put_new(KEY, b"ours")

    assert ("lose", "000000000007") in proxy.served
    assert direct(bucket, url).read(KEY) == b"ours"


def test_a_lost_reply_to_a_conflict_is_a_conflict(bucket, through):
    """Another's key stands there: the loser learns it, though the refusal was lost."""
    proxy, store, url = through(bucket)
    direct(bucket, url).put_new(KEY, b"theirs")
    proxy.on("000000000007", "lose")

    with pytest.raises(KeyTaken):
        store.put_new(KEY, b"ours")
    assert direct(bucket, url).read(KEY) == b"theirs"


def test_a_lost_request_is_sent_again(bucket, through):
    """Nothing came through: the same bytes are put at the same key until they are there."""
    proxy, store, url = through(bucket)
    proxy.on("000000000007", "refuse", times=2)

    store.put_new(KEY, b"ours")

    assert direct(bucket, url).read(KEY) == b"ours"


def test_mutant_no_read_back(bucket, through, monkeypatch):
    """A writer that does not look takes its own stored write for another's."""
    proxy, store, url = through(bucket)

    async def blind(self, fs, refusal):
        if isinstance(refusal, FileExistsError) or getattr(refusal, "errno", None) == 22:
            raise KeyTaken(self._path)
        return False

    monkeypatch.setattr(_object._Creation, "_is_ours", blind)
    proxy.on("000000000007", "lose", times=1)

    with pytest.raises(KeyTaken):
        store.put_new(KEY, b"ours")
    assert direct(bucket, url).read(KEY) == b"ours"


def test_mutant_no_put_again(bucket, through, monkeypatch):
    """A writer that gives up at the first lost request reports what could have been saved."""
    proxy, store, _ = through(bucket)
    monkeypatch.setattr(_object, "DEADLINE_SECONDS", 0.0)
    monkeypatch.setattr(_object, "ATTEMPT_SECONDS", 3.0)
    monkeypatch.setattr(_object, "_SLOWEST", 80_000_000)
    # However often the driver itself tries.
    proxy.on("000000000007", "refuse", times=30)

    with pytest.raises(OutcomeUnknownError):
        store.put_new(KEY, b"ours")


def test_at_the_deadline_the_outcome_is_unknown(bucket, through, monkeypatch):
    """A server that never answers gives OutcomeUnknownError, which says what to look at."""
    proxy, store, url = through(bucket)
    proxy.on("000000000007", "hang", times=1000)

    with monkeypatch.context() as short:
        short.setattr(_object, "ATTEMPT_SECONDS", 0.5)
        short.setattr(_object, "DEADLINE_SECONDS", 1.5)
        short.setattr(_object, "_SLOWEST", 80_000_000)
        with pytest.raises(OutcomeUnknownError, match=r"00000007.*look whether the key is there"):
            store.put_new(KEY, b"ours")
    # The same bytes again, over a connection that works, settle it: there or not, they are ours.
    again = direct(bucket, url)
    again.put_new(KEY, b"ours")
    assert again.read(KEY) == b"ours"


def test_replies_that_come_late_change_nothing(bucket, through):
    """With 50 ms on each reply a save and a load work as ever."""
    proxy, store, _ = through(bucket)
    proxy.delay_seconds = 0.05

    store.put_new(KEY, b"ours")

    assert store.read(KEY) == b"ours"
    with pytest.raises(KeyTaken):
        store.put_new(KEY, b"again")


def test_a_save_whose_commit_reply_is_lost_is_acknowledged(bucket, proxied, open_registry):
    """The version is there once, under the number that was given."""
    url, proxy = bucket.place(), proxied(bucket)
    registry = open_registry(bucket, url, port=proxy.port)
    registry.save("churn", 1)
    for key in ("versions%2F2%2Fclaim.json", "versions/2/claim.json"):
        proxy.on(key, "lose")
    proxy.on("journal/000000000002", "lose")

    assert registry.save("churn", 2).number == 2

    again = open_registry(bucket, url)
    assert [v.load() for v in again["churn"]] == [1, 2]
    assert again.verify()


def test_connections_that_are_cut_during_saves_lose_nothing(server, proxied, open_registry):
    """While connections break again and again, every acknowledged save is there and loads."""
    url, proxy = server.place(), proxied(server)
    registry = open_registry(server, url, port=proxy.port)
    registry.save("churn", "first")
    stop, saved = threading.Event(), {}
    # An SSH connection takes its time to be made, the more so on a busy machine.
    pause, longer = (2.0, 1.3) if server.scheme == "sftp" else (0.15, 1.05)

    def cut():
        wait = pause
        while not stop.wait(wait):
            proxy.cut()
            wait *= longer

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        for i in range(8):
            try:
                saved[registry.save("churn", i).number] = i
            except (SaveError, StorageError):
                time.sleep(0.1)
    finally:
        stop.set()
        thread.join()

    again = open_registry(server, url)
    assert saved
    for number, value in saved.items():
        assert again.load(f"churn:{number}") == value
    assert again.verify()
    assert again.save("churn", "after").number > max(saved)


# ---- SFTP


@pytest.mark.parametrize("after", [True, False])
def test_a_rename_whose_reply_is_lost_is_resolved(sftp, after, monkeypatch):
    """The connection breaks before or behind the rename: the writer finds out, and wins."""
    url = sftp.place()
    store = direct(sftp, url)
    store.put_new("one", b"1")
    import paramiko

    rename, broken = paramiko.SFTPClient.rename, []

    def breaking(self, old, new):
        if not broken:
            broken.append(new)
            if after:
                rename(self, old, new)
            self.get_channel().get_transport().close()
        return rename(self, old, new)

    monkeypatch.setattr(paramiko.SFTPClient, "rename", breaking)

    store.put_new(KEY, b"ours")

    assert broken
    assert direct(sftp, url).read(KEY) == b"ours"


def test_a_rename_that_replaces_is_found_out(sftp, monkeypatch):
    """A server whose rename overwrites fails the proof, and nothing is saved there."""
    import paramiko

    monkeypatch.setattr(paramiko.SFTPClient, "rename", paramiko.SFTPClient.posix_rename)

    with pytest.raises(UnsafeFilesystemError, match="both won"):
        direct(sftp, sftp.place()).prove()


def test_a_server_without_fsync_still_saves(sftp, monkeypatch):
    """An unknown extension is passed over; a failing one is an error before the rename."""
    import paramiko

    request = paramiko.SFTPClient._request

    def answering(text):
        def answer(self, kind, *args):
            if args and args[0] == "fsync@openssh.com":
                raise OSError(text)
            return request(self, kind, *args)

        return answer

    store = direct(sftp, sftp.place())
    monkeypatch.setattr(paramiko.SFTPClient, "_request", answering("Operation unsupported"))
    store.put_new("a", b"1")
    monkeypatch.setattr(paramiko.SFTPClient, "_request", answering("Failure"))
    with pytest.raises(StorageError):
        store.put_new("b", b"1")
    with pytest.raises(KeyAbsent):
        store.read("b")


def test_a_server_that_keeps_less_than_was_sent_is_found_out(sftp, monkeypatch):
    """The size is looked at before the rename: a file that is short gets no name."""
    import paramiko

    store = direct(sftp, sftp.place())
    store.put_new("a", b"1")
    write = paramiko.SFTPFile.write
    monkeypatch.setattr(paramiko.SFTPFile, "write", lambda self, data: write(self, data[:-1]))

    with pytest.raises(StorageError, match="got 3 bytes, sent were 4"):
        store.put_new("b", b"four")
    monkeypatch.undo()
    with pytest.raises(KeyAbsent):
        store.read("b")
    assert [item.name for item in store.list("")] == ["a"]


def test_an_sftp_server_that_hangs_is_given_up(sftp, proxied, monkeypatch):
    """A connection that is never answered ends in our error, within the time-out."""
    proxy = proxied(sftp)
    options = {**sftp.options(proxy.port), "banner_timeout": 1, "timeout": 1}
    proxy.delay_seconds = 3600

    began = time.monotonic()
    with pytest.raises(StorageError, match="check the address"):
        open_store(sftp.place(), storage_options=options).read("registry.json")
    assert time.monotonic() - began < 120


# ---- a condition that is not kept


def test_a_server_that_ignores_the_condition_is_found_out(bucket, monkeypatch):
    """Where both of two writers win, the proof refuses the place before anything is saved."""
    store = direct(bucket, bucket.place())
    pipe_file = store._link.cls._pipe_file

    async def ignoring(self, path, data, mode="overwrite", **more):
        return await pipe_file(self, path, data, **more)

    monkeypatch.setattr(store._link.cls, "_pipe_file", ignoring)

    with pytest.raises(UnsafeFilesystemError, match="both won"):
        store.prove()


def test_the_deadlines_of_both_adapters_are_alike():
    """What the page of filesystems says of time-outs holds for SFTP too."""
    assert _sftp.DEADLINE_SECONDS == _object.DEADLINE_SECONDS
    assert _sftp.ATTEMPT_SECONDS == _object.ATTEMPT_SECONDS
