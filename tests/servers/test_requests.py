"""What an operation asks of a server, counted on the wire.

How many of the requests follow one another is counted in `tests/test_journal.py`: a call of the
store is a round trip.
"""

import numpy as np
import pytest

from modelversion.storage import open_store


@pytest.fixture
def counted(bucket, proxied, open_registry):
    """A proxy, and a registry with three versions and an alias behind it."""
    url = bucket.place()
    registry = open_registry(bucket, url)
    for i in range(3):
        registry.save("churn", {"w": np.arange(2000.0) + i})
    registry["churn"].set_alias("champion", 2)
    proxy = proxied(bucket)
    return proxy, lambda: open_registry(bucket, url, port=proxy.port)


def test_a_read_is_one_request(bucket, proxied):
    """Neither HEAD nor a listing goes before a GET, and none after it."""
    url, proxy = bucket.place(), proxied(bucket)
    store = open_store(url, storage_options=bucket.options(proxy.port))
    store.put_new("a", b"1")
    proxy.fresh()

    assert store.read("a") == b"1"
    assert [method for method, _ in proxy.fresh()] == ["GET"]
    assert store.read_many(["a", "b", "c"]) == [b"1", None, None]
    assert [method for method, _ in proxy.fresh()] == ["GET"] * 3


def test_a_key_is_created_by_one_request(bucket, proxied):
    """No look before, no look behind; empty files and odd names too."""
    url, proxy = bucket.place(), proxied(bucket)
    store = open_store(url, storage_options=bucket.options(proxy.port))
    store.put_new("a", b"1")
    proxy.fresh()

    store.put_new("b", b"1")

    assert [method for method, _ in proxy.fresh()] in (["PUT"], ["POST"])


def test_a_small_save_is_four_requests(counted):
    """Claim, object and version.json in one wave, commit: 3 round trips, 5 keys at most."""
    proxy, opened = counted
    registry = opened()
    registry.save("churn", {"w": np.arange(3)})
    proxy.fresh()

    registry.save("churn", {"w": np.arange(4)})

    writes = [method for method, _ in proxy.fresh()]
    assert len(writes) == 4
    assert set(writes) <= {"PUT", "POST"}


def test_loads_are_few_requests(counted):
    """By alias: cold the id, the first look, version.json and the files; warm far fewer."""
    proxy, opened = counted
    registry = opened()

    registry.load("churn@champion")
    assert len(proxy.fresh()) <= 10  # each of two journals is first looked at four entries deep
    registry.load("churn@champion")
    assert len(proxy.fresh()) <= 4


def test_a_decision_is_one_request(counted):
    """An alias of a version that is known is put at once."""
    proxy, opened = counted
    model = opened()["churn"]
    model.set_alias("champion", 3)
    version = model[3]
    proxy.fresh()

    model._line.decisions.append(lambda state: _alias(version), actor=model._line.home.actor)

    assert [method for method, _ in proxy.fresh()] in (["PUT"], ["POST"])


def _alias(version):
    from modelversion.records import AliasSet

    held = version._pointer
    return AliasSet(
        alias="champion", number=held.number, nonce=held.nonce, size=held.size, sha256=held.sha256
    )


def test_large_files_go_in_parts_and_come_in_ranges(bucket, proxied, open_registry):
    """20 MiB are sent and read piece by piece, and arrive as they were."""
    url, proxy = bucket.place(), proxied(bucket)
    registry = open_registry(bucket, url, port=proxy.port)
    weights = np.random.default_rng(0).random(20 * 2**17)
    registry.save("churn", {"w": weights})
    proxy.fresh()

    loaded = open_registry(bucket, url, port=proxy.port).load("churn")

    assert (loaded["w"] == weights).all()
    ranged = [target for _, target in proxy.fresh() if "buffer-0" in target]
    # Three pieces; on a busy machine one may be asked for again.
    assert 3 <= len(ranged) <= 6


# ---- SFTP: encrypted on the wire, so counted in the driver


@pytest.fixture
def asked(monkeypatch):
    """What is asked of SFTP servers from now on, one number a request."""
    import paramiko

    found, request = [], paramiko.SFTPClient._async_request

    def counting(self, taker, kind, *given):
        found.append(kind)
        return request(self, taker, kind, *given)

    monkeypatch.setattr(paramiko.SFTPClient, "_async_request", counting)
    return found


def test_a_key_over_sftp_is_seven_requests(sftp, asked):
    """Folder, open, write, size, sync, close, rename; a read is four, an absent key one."""
    store = open_store(sftp.place(), storage_options=sftp.options())
    store.put_new("a/b", b"1")

    for most, work in (
        (7, lambda: store.put_new("a/c", b"1")),
        (4, lambda: store.read("a/c")),
        (1, lambda: store.read_many(["a/d"])),
    ):
        asked.clear()
        work()
        assert len(asked) == most


def test_a_small_save_over_sftp_is_four_keys(sftp, asked, open_registry):
    """As on a bucket; a new folder costs a look and its making, of each that needs it at once."""
    registry = open_registry(sftp, sftp.place())
    for i in range(2):
        registry.save("churn", {"w": np.arange(3) + i})
    asked.clear()

    registry.save("churn", {"w": np.arange(4)})

    assert 4 * 7 + 2 * 2 <= len(asked) <= 4 * 7 + 3 * 4
