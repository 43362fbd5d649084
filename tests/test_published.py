"""Registries that are only read: on a plain HTTP server, and in a zip."""

import http.server
import io
import os
import pickle
import shutil
import sys
import threading

import numpy as np
import pytest

import modelversion as mv
from modelversion import progress
from modelversion.errors import (
    JournalError,
    ModelNotFoundError,
    ReadOnlyError,
    SaveError,
    SizeMismatchError,
    StorageError,
    UntrustedPickleError,
)
from modelversion.storage import _published


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without listings, as its server's settings say."""

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Cache-Control")))
        if self.path in server.instead and not self.headers.get("Cache-Control"):
            return self._give(server.instead[self.path])
        if server.breaks and "buffer-0" in self.path:
            return self._give_in_parts()
        found = self.translate_path(self.path)
        try:
            with open(found, "rb") as file:
                self._give(file.read() + server.more)
        except OSError:
            if server.absent == 200:
                return self._give(b"<html>welcome</html>")
            self.send_error(server.absent)

    def _give_in_parts(self):
        """Give a third of the rest, and break off."""
        server = self.server
        with open(self.translate_path(self.path), "rb") as file:
            data = file.read()
        server.breaks -= 1
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if server.ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        part = data[start:] if not server.breaks else data[start : start + (len(data) - start) // 3]
        server.given.append((start, len(part)))
        self.wfile.write(part)
        self.wfile.flush()

    def _give(self, data):
        self.send_response(200)
        self.end_headers()
        try:
            self.wfile.write(data)
        except ConnectionError:
            self.server.cut.append(self.path)

    def log_message(self, *args):
        pass


@pytest.fixture
def folder(tmp_path):
    """A registry of three versions, with an alias, an artifact and a large array."""
    registry = mv.Registry(tmp_path / "registry")
    for i in range(3):
        weights = np.arange(2**18, dtype="float64") + i
        registry.save("churn", {"w": weights}, metrics={"auc": i / 10}, artifacts={"a.txt": b"a"})
    registry["churn"].set_alias("champion", 2)
    return tmp_path / "registry"


@pytest.fixture
def web(folder):
    """A web server that gives the folder."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), None)
    server.RequestHandlerClass = lambda *args: Handler(*args, directory=str(folder))
    server.absent, server.more = 404, b""
    server.breaks, server.ranges, server.given = 0, True, []
    server.asked, server.instead, server.cut = [], {}, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def archive(folder, tmp_path):
    """The URL of a zip of the folder."""
    return "zip://::" + shutil.make_archive(str(tmp_path / "packed"), "zip", folder)


@pytest.fixture(params=["http", "zip"])
def published(request):
    """The URL of a published registry."""
    found = request.getfixturevalue({"http": "web", "zip": "archive"}[request.param])
    return getattr(found, "url", found)


def test_a_published_registry_is_read(published):
    """It opens, lists its models and versions, resolves names, and loads what was saved."""
    registry = mv.Registry(published)

    assert list(registry) == ["churn"]
    assert [v.number for v in registry["churn"].versions(order_by="-metrics.auc")] == [3, 2, 1]
    assert registry["churn"].latest.number == 3
    assert registry.get("churn@champion").number == 2
    assert registry.load("churn@champion")["w"][0] == 1.0
    assert registry["churn"][1].load(mmap=True)["w"][-1] == 2**18 - 1
    with registry["churn"][1].open("a.txt") as file:
        assert file.read() == b"a"
    with pytest.raises(ModelNotFoundError, match="did you mean 'churn'"):
        registry["chrun"]


def test_a_published_registry_refuses_writing_with_a_reason(published):
    """Saves, decisions and deletions are refused; the reason and what to do are told."""
    registry = mv.Registry(published)

    with pytest.raises(SaveError) as caught:
        registry.save("churn", {"w": 1})
    assert isinstance(caught.value.__cause__, ReadOnlyError)
    for work in (
        lambda: registry["churn"].set_alias("champion", 1),
        lambda: registry["churn"][1].tag(a=1),
        lambda: registry["churn"][1].delete(reason="x"),
    ):
        with pytest.raises(ReadOnlyError, match=r"cannot be written: .*registry of your own"):
            work()


class Marker:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def marked(folder, tmp_path):
    """A version, saved before the folder is published, whose pickle makes a folder."""
    mv.Registry(folder).save("marked", Marker(tmp_path / "ran"))
    return tmp_path / "ran"


def test_a_published_registry_runs_no_pickles_by_default(marked, published, monkeypatch):
    """What is not on the list is refused, in all ways to load, until the reader allows it."""
    registry = mv.Registry(published)
    for load in (
        lambda: registry.load("marked"),
        registry["marked"][1].load,
        lambda: registry["marked"].latest.load(mmap=True),
        lambda: mv.Registry(published, allow_pickle=False).load("marked"),
        lambda: registry.load("marked", allow_pickle=["builtins:set"]),
    ):
        with pytest.raises(UntrustedPickleError, match=r"posix:mkdir") as caught:
            load()
        assert "allow_pickle=" in str(caught.value)
    assert not marked.exists()

    monkeypatch.setenv("MODELVERSION_ALLOW_PICKLE", registry.id)
    mv.Registry(published).load("marked")

    assert marked.exists()


def test_mutant_a_published_registry_counts_as_local(marked, published, monkeypatch):
    """Were the place not known to be remote, the pickle would run."""
    for cls in (_published.HttpStore, _published.ZipStore):
        monkeypatch.setattr(cls, "remote", False)

    mv.Registry(published).load("marked")

    assert marked.exists()


def test_a_published_registry_pickles(published):
    """A handle goes to another process as any other does."""
    registry = pickle.loads(pickle.dumps(mv.Registry(published)))

    assert registry.load("churn:1")["w"][0] == 0.0


# ---- web servers


@pytest.mark.parametrize("status", [403, 404, 410])
def test_each_way_to_say_absent_is_learnt(web, status):
    """A key that cannot exist tells what absent looks like; the registry reads all the same."""
    web.absent = status

    assert mv.Registry(web.url).load("churn")["w"][0] == 2.0


def test_a_server_that_finds_everything_is_refused(web):
    """A page of welcome instead of 404 is no way to tell what is there."""
    web.absent = 200

    with pytest.raises(StorageError, match="answers 200 to a key that cannot exist"):
        mv.Registry(web.url).load("churn")


def test_a_server_that_fails_is_no_empty_registry(web):
    """500 for a key that cannot exist is an error that names the place."""
    web.absent = 500

    with pytest.raises(StorageError, match="answers 500"):
        list(mv.Registry(web.url))


def test_forbidden_is_absent_only_where_absent_is_forbidden(web):
    """Where absent is 404, a 403 is an error that says what to check."""
    registry = mv.Registry(web.url)
    registry.load("churn")
    web.absent = 403

    with pytest.raises(StorageError, match="answered 403; check the credentials"):
        registry["churn"].latest.verify()
        registry.load("churn")


def test_a_reply_that_goes_on_is_cut(web, monkeypatch):
    """A file that is longer than recorded is read one byte further, and refused."""
    registry = mv.Registry(web.url)
    version = registry.get("churn:1")
    assert version.params == {}
    web.more = b"x" * 2**24

    with pytest.raises(SizeMismatchError, match="more than"):
        version.open("a.txt")
    assert len(registry._home.store.open("models/churn/versions/1/artifacts/a.txt", 1).read()) == 2


def test_a_stale_cache_on_the_way_is_asked_past_once(web, folder):
    """A chain that does not fit is read again with no-cache, and only then believed broken."""
    key = "/models/churn/journal/000000000002.json"
    web.instead[key] = (folder / key[1:]).read_bytes().replace(b'"previous":"', b'"previous":"0')

    assert mv.Registry(web.url).get("churn:3").number == 3
    assert (key, "no-cache") in web.asked


def test_a_broken_chain_stays_an_error(web, folder):
    """What no-cache does not mend is told as what it is."""
    path = folder / "models/churn/journal/000000000002.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"previous":"', b'"previous":"0'))

    with pytest.raises(JournalError):
        mv.Registry(web.url).get("churn:3")


def test_mutant_nothing_is_asked_again(web, folder, monkeypatch):
    """Without the second look a stale cache is an error: the test above would see it."""
    key = "/models/churn/journal/000000000002.json"
    web.instead[key] = (folder / key[1:]).read_bytes().replace(b'"previous":"', b'"previous":"0')
    monkeypatch.setattr(_published.HttpStore, "revalidate", lambda self: False)

    with pytest.raises(JournalError):
        mv.Registry(web.url).get("churn:3")


def test_what_needs_a_listing_is_refused(web):
    """A web server cannot be asked what it has: verify and gc say so."""
    registry = mv.Registry(web.url)

    for work in (registry.verify, registry.gc):
        with pytest.raises(StorageError, match="cannot be listed"):
            work()


def test_a_server_that_is_down_is_told(web):
    """No answer is an error that names the place and what to check."""
    registry = mv.Registry("http://127.0.0.1:9/models")

    with pytest.raises(StorageError, match=r"127\.0\.0\.1:9.*check the address"):
        registry.load("churn")


# ---- zips


def test_a_zip_may_hold_a_registry_below_a_folder(folder, tmp_path):
    """The part before `::` is the folder."""
    path = shutil.make_archive(str(tmp_path / "packed"), "zip", folder.parent, "registry")

    assert mv.Registry(f"zip://registry::{path}").load("churn:1")["w"][0] == 0.0


def test_a_zip_verifies(archive):
    """All digests and chains of a zip can be checked."""
    assert mv.Registry(archive).verify()


def test_a_damaged_zip_is_one_error(archive, tmp_path):
    """A byte that was flipped inside is told by ours, not by three libraries down."""
    path = tmp_path / "packed.zip"
    data = bytearray(path.read_bytes())
    at = data.index(b"object.pkl") + 30
    data[at] ^= 0xFF
    path.write_bytes(data)
    registry = mv.Registry(archive)

    with pytest.raises((StorageError, mv.errors.IntegrityError)):
        for version in registry["churn"]:
            version.load()


# ---- replies that break off


SIZE = 8 * 2**18


def test_a_reply_that_breaks_off_is_gone_on_with(web):
    """After each break only the rest is asked for."""
    web.breaks = 4

    loaded = mv.Registry(web.url)["churn"][2].load()

    assert (loaded["w"] == np.arange(2**18, dtype="float64") + 1).all()
    starts = [start for start, _ in web.given]
    assert starts == [sum(size for _, size in web.given[:i]) for i in range(4)]
    assert sum(size for _, size in web.given) == SIZE


def test_a_server_without_ranges_is_asked_for_all_of_it_again(web):
    """Its 200 begins anew, and nothing of the first part stays."""
    web.breaks, web.ranges = 2, False

    loaded = mv.Registry(web.url)["churn"][2].load()

    assert (loaded["w"] == np.arange(2**18, dtype="float64") + 1).all()
    assert [start for start, _ in web.given] == [0, 0]


def test_a_reply_that_always_breaks_off_is_an_error(web):
    """After a few attempts it is told, with the place."""
    web.breaks = 1000

    with pytest.raises(StorageError, match=r"cannot read http://.*/versions/2/object/"):
        mv.Registry(web.url)["churn"][2].load()
    assert len(web.given) == _published._BREAKS + 1


def test_mutant_a_reply_is_not_gone_on_with(web, monkeypatch):
    """Without another attempt the first break is the end."""
    monkeypatch.setattr(_published, "_BREAKS", 0)

    with pytest.raises(StorageError):
        test_a_reply_that_breaks_off_is_gone_on_with(web)


class Terminal(io.StringIO):
    """A terminal that keeps what was written."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Terminal, True), (io.StringIO, False)])
def test_reading_is_shown_to_people_only(published, stream, shown, monkeypatch, tmp_path):
    """A terminal sees how far a long transfer is; a log file sees nothing."""
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    version = mv.Registry(published)["churn"][2]

    version.load()
    version.download(tmp_path / "out")

    assert ("reading churn:2, MB: 2/2" in sys.stderr.getvalue()) is shown
    assert bool(sys.stderr.getvalue()) is shown


def test_a_transfer_of_many_files_is_one_count():
    """Files of drivers and bytes of our own add up, from any thread."""
    with progress.transfer("sending", 100) as meter:
        callbacks = [meter.callback() for _ in range(3)]
        for callback in callbacks:
            callback.set_size(10)
            callback.absolute_update(4)
            callback.relative_update(6)
        threads = [threading.Thread(target=meter.add, args=(1,)) for _ in range(70)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert meter.done == 100
