"""Long transfers: in parts, resumed where they broke off, counted, and shown to people only."""

import io
import sys

import numpy as np
import pytest

from modelversion import progress
from modelversion.storage import _object, _sftp_files

MB = 10**6
SIZE = 80 * MB
# A cut costs what is under way: four parts of a bucket, what SSH holds in its buffers.
LOST = 4 * _object.PIECE + 4 * MB


@pytest.fixture
def arrays():
    """80 MB that do not compress."""
    return np.random.default_rng(0).random(SIZE // 8)


def test_an_upload_that_breaks_off_sends_only_the_rest_again(
    server, proxied, open_registry, arrays
):
    """After three quarters every connection is cut: the save goes on, and loads."""
    url, proxy = server.place(), proxied(server)
    registry = open_registry(server, url, port=proxy.port)
    registry.save("churn", "first")
    before = proxy.bytes_up
    proxy.cut_after("up", 60 * MB)

    version = registry.save("churn", {"w": arrays})

    assert not proxy._cuts
    assert SIZE < proxy.bytes_up - before < SIZE + LOST
    assert (open_registry(server, url).load("churn")["w"] == arrays).all()
    assert version.verify()


def test_a_download_that_breaks_off_asks_only_for_the_rest(server, proxied, open_registry, arrays):
    """After three quarters every connection is cut: the load goes on with what is missing."""
    url, proxy = server.place(), proxied(server)
    open_registry(server, url).save("churn", {"w": arrays})
    registry = open_registry(server, url, port=proxy.port)
    version = registry["churn"].latest
    before = proxy.bytes_down
    proxy.cut_after("down", 60 * MB)

    loaded = version.load()

    assert not proxy._cuts
    assert (loaded["w"] == arrays).all()
    assert SIZE < proxy.bytes_down - before < SIZE + LOST


def test_mutant_sftp_begins_anew(sftp, proxied, open_registry, arrays, monkeypatch):
    """An upload that forgets what was sent sends it twice."""
    monkeypatch.setattr(_sftp_files, "_size", lambda channel, path: 0)

    with pytest.raises(AssertionError):
        test_an_upload_that_breaks_off_sends_only_the_rest_again(
            sftp, proxied, open_registry, arrays
        )


def test_mutant_a_read_is_given_up(sftp, proxied, open_registry, arrays, monkeypatch):
    """Without another attempt a load fails with its connection."""
    monkeypatch.setattr(_sftp_files, "passes", lambda e: False)

    with pytest.raises(Exception, match="cannot read"):
        test_a_download_that_breaks_off_asks_only_for_the_rest(sftp, proxied, open_registry, arrays)


def test_no_temporary_file_is_left_behind(sftp, proxied, open_registry):
    """What broke off and went on leaves the version's files and nothing beside them."""
    url, proxy = sftp.place(), proxied(sftp)
    registry = open_registry(sftp, url, port=proxy.port)
    registry.save("churn", "first")
    proxy.cut_after("up", 4 * MB)

    registry.save("churn", {"w": np.random.default_rng(0).random(MB)})

    store = open_registry(sftp, url)._home.store
    for folder in ("models/churn/versions/2", "models/churn/versions/2/object"):
        assert [i.name for i in store.list(folder) if i.name.startswith(".tmp")] == []


# ---- what people see


class Terminal(io.StringIO):
    """A terminal that keeps what was written."""

    def isatty(self):
        return True


@pytest.mark.parametrize("watched", [True, False])
def test_a_long_transfer_is_shown_to_people_only(
    server, open_registry, arrays, watched, monkeypatch
):
    """A terminal shows how much of how much was sent and read; a log file gets nothing."""
    stream = Terminal() if watched else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    url, shown = server.place(), arrays if watched else arrays[: 2 * MB]

    open_registry(server, url).save("churn", {"w": shown})
    open_registry(server, url).load("churn")

    lines = stream.getvalue().replace("\r", "\n")
    if not watched:
        assert lines == ""
        return
    assert "sending models/churn/versions/1, MB: 80/80" in lines
    assert "reading churn:1, MB: 80/80" in lines
    assert len({line.partition(",")[2] for line in lines.split("\n")}) > 6


def test_a_short_transfer_shows_nothing(server, open_registry, monkeypatch):
    """What takes no second leaves no line on a terminal."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "_PATIENCE", 60.0)

    registry = open_registry(server, server.place())
    registry.save("churn", {"w": np.arange(1000.0)})
    registry.load("churn")

    assert stream.getvalue() == ""


# ---- many at once


def test_pools_are_wide_enough(bucket, proxied, open_registry):
    """Sixty small keys are under way at one time, however long each reply takes."""
    url, proxy = bucket.place(), proxied(bucket)
    store = open_registry(bucket, url, port=proxy.port)._home.store
    store.put_new("a", b"1")
    proxy.gather(50)

    assert store.read_many(["a"] * 60) == [b"1"] * 60
    assert proxy.gathered
