"""The read cache of remote registries: found, verified, bounded, and shared by processes."""

import functools
import hashlib
import http.server
import os
import pickle
import random
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from processes import together

import modelversion as mv
from modelversion import files
from modelversion.errors import (
    DigestMismatchError,
    InvalidInputError,
    VersionNotFoundError,
)
from modelversion.storage import cache as cache_module
from modelversion.storage.cache import Copies

MB = 2**20


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and notes what is asked."""

    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    """Takes as many connections at once as processes that start together make."""

    request_queue_size = 256


@pytest.fixture
def folder(tmp_path):
    """A registry with three versions of 2 MiB that differ, and a small artifact each."""
    registry = mv.Registry(tmp_path / "registry")
    for i in range(3):
        weights = np.arange(2**18, dtype="float64") + i
        registry.save("churn", {"w": weights}, artifacts={"a.txt": f"text {i}"})
    return tmp_path / "registry"


@pytest.fixture
def web(folder):
    """A web server of the registry's folder."""
    handler = functools.partial(Handler, directory=str(folder))
    server = Server(("127.0.0.1", 0), handler)
    server.asked = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path):
    """A cache that nobody has used."""
    return mv.Cache(tmp_path / "cache")


def opened(web, cache):
    return mv.Registry(web.url, cache=cache, allow_pickle=True)


def fetched(web):
    """Give the files of versions that were asked for since the last look."""
    asked, web.asked[:] = list(web.asked), []
    return [path for path in asked if "/object/" in path or "/artifacts/" in path]


def kept(cache):
    return sorted(cache.folder.iterdir())


# ---- what it saves


def test_what_was_read_once_is_not_fetched_again(web, cache):
    """Another handle reads the same bytes from this machine's disk."""
    first = opened(web, cache)["churn"][1]
    first.load(), first.open("a.txt").read()
    assert fetched(web)

    again = opened(web, cache)["churn"][1]

    assert again.load()["w"][5] == 5.0
    assert again.open("a.txt").read() == b"text 0"
    assert fetched(web) == []


def test_equal_bytes_are_kept_once(web, cache, folder):
    """The name is the digest: a copy under another number costs no byte and no request."""
    mv.Registry(folder).save("other", {"w": np.arange(2**18, dtype="float64")})
    opened(web, cache).load("churn:1")
    before = cache.size
    fetched(web)

    opened(web, cache).load("other:1")

    assert cache.size == before
    assert fetched(web) == []


def test_a_download_fills_it_and_is_served_from_it(web, cache, tmp_path):
    """Files that pass through piece by piece are kept too."""
    opened(web, cache)["churn"][1].download(tmp_path / "first")
    fetched(web)

    opened(web, cache)["churn"][1].download(tmp_path / "second")

    assert fetched(web) == []
    for path in (tmp_path / "first").rglob("*"):
        if path.is_file():
            twin = tmp_path / "second" / path.relative_to(tmp_path / "first")
            assert twin.read_bytes() == path.read_bytes()


def test_a_mapped_load_maps_the_copy(web, cache):
    """With `mmap`, arrays of a remote version are pages of the cached file, read-only."""
    registry = opened(web, cache)

    weights = registry["churn"][2].load(mmap=True)["w"]

    assert weights[5] == 6.0
    assert not weights.flags.writeable
    maps = Path("/proc/self/maps").read_text()
    assert str(cache.folder) in maps
    fetched(web)
    again = registry["churn"][2].load(mmap=True)["w"]
    assert (again == weights).all()
    assert fetched(web) == []


def test_a_mapped_copy_outlives_its_eviction(web, cache):
    """Who has mapped a file keeps its bytes when it is removed."""
    weights = opened(web, cache)["churn"][2].load(mmap=True)["w"]

    cache.clear()

    assert kept(cache) == []
    assert weights.sum() == np.arange(2**18, dtype="float64").sum() + 2**18


def test_verify_asks_the_place_and_not_the_copy(cache, folder):
    """A file that was damaged where it is stored is found, whatever is kept of it here."""
    registry = mv.Registry(folder, cache=cache)
    registry.load("churn:2")
    registry["churn"][2].open("a.txt").read()
    path = folder / "models/churn/versions/2/artifacts/a.txt"
    path.chmod(0o600)
    path.write_bytes(b"text X")

    report = mv.Registry(folder, cache=cache)["churn"][2].verify()

    assert [problem.key.rsplit("/", 1)[-1] for problem in report.problems] == ["a.txt"]
    assert registry["churn"][2].open("a.txt").read() == b"text 1"


def test_a_deleted_version_is_not_loaded_from_it(cache, folder):
    """A deletion is noticed by a handle that has the bytes at hand."""
    registry = mv.Registry(folder, cache=cache)
    version = registry["churn"][1]
    version.load()
    mv.Registry(folder)["churn"][1].delete(reason="erasure 9")

    with pytest.raises(VersionNotFoundError, match="deleted"):
        version.load()


# ---- what is wrong in it


def damage(path, at=100):
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1
    path.write_bytes(data)


def use(version, how, place):
    if how == "load":
        return version.load()["w"]
    if how == "mapped":
        return version.load(mmap=True)["w"]
    version.download(place)
    return np.frombuffer((place / "object/buffer-0.bin").read_bytes(), "float64")


@pytest.mark.parametrize("how", ["load", "mapped", "download"])
@pytest.mark.parametrize("at", [0, 2**20, -1])
def test_a_flipped_byte_is_fetched_again_and_never_returned(web, cache, how, at, tmp_path):
    """Whatever reads it: the bytes are the committed ones, and the copy is right afterwards."""
    opened(web, cache)["churn"][3].download(tmp_path / "first")
    for path in kept(cache):
        damage(path, at)
    fetched(web)

    found = use(opened(web, cache)["churn"][3], how, tmp_path / "second")

    assert (found == np.arange(2**18, dtype="float64") + 2).all()
    assert any("buffer-0" in path for path in fetched(web))
    use(opened(web, cache)["churn"][3], how, tmp_path / "third")
    assert fetched(web) == []


@pytest.mark.parametrize("data", [b"", b"short", b"x" * (2 * MB + 1)])
@pytest.mark.parametrize("how", ["load", "mapped", "download"])
def test_a_torn_or_longer_copy_is_fetched_again(web, cache, data, how, tmp_path):
    """What a full disk or a power cut left is not taken for the file."""
    opened(web, cache)["churn"][3].load()
    for path in kept(cache):
        path.write_bytes(data)

    found = use(opened(web, cache)["churn"][3], how, tmp_path / "out")

    assert (found == np.arange(2**18, dtype="float64") + 2).all()


def test_a_link_in_it_is_not_followed(web, cache, tmp_path):
    """A name that leads elsewhere is no file of the cache."""
    opened(web, cache)["churn"][3].load()
    for i, path in enumerate(kept(cache)):
        path.rename(tmp_path / f"elsewhere-{i}")
        path.symlink_to(tmp_path / f"elsewhere-{i}")
    fetched(web)

    assert opened(web, cache)["churn"][3].load()["w"][0] == 2.0
    assert fetched(web)


def test_bytes_that_are_wrong_at_the_place_are_not_kept(web, cache, folder):
    """Only what has its digest gets a name."""
    for path in (folder / "models/churn/versions/3").rglob("*"):
        if path.is_file() and path.name in ("buffer-0.bin", "a.txt"):
            path.chmod(0o600)
            damage(path)
    version = opened(web, cache)["churn"][3]

    with pytest.raises(DigestMismatchError):
        version.load()
    with pytest.raises(DigestMismatchError):
        version.open("a.txt")
    with pytest.raises(DigestMismatchError):
        version.download(folder.parent / "out")

    names = {path.name for path in kept(cache)}
    listed = {file.sha256 for file in version.files}
    wrong = {f.sha256 for f in version.files if f.path.endswith(("buffer-0.bin", "a.txt"))}
    assert names <= listed - wrong


# ---- its size


def put(cache, number, size=MB, age=0):
    """Keep some bytes, used so many seconds ago; give their digest."""
    data = number.to_bytes(8, "big") * (size // 8)
    digest = hashlib.sha256(data).hexdigest()
    copies = cache if isinstance(cache, Copies) else Copies(cache)
    copies.add(digest, data)
    if age and (cache.folder / digest).exists():
        then = time.time() - age
        os.utime(cache.folder / digest, (then, then))
    return digest


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    """The bound is held, and use counts, not arrival."""
    cache = mv.Cache(tmp_path / "cache", max_bytes=8 * MB)
    digests = [put(cache, i, age=1000 - i) for i in range(7)]
    Copies(cache).open(digests[0], MB).close()

    put(cache, 100, size=2 * MB)

    assert cache.size <= 8 * MB
    cache = Copies(cache)
    assert cache.holds(digests[0], MB)
    assert not cache.holds(digests[1], MB)
    assert cache.holds(digests[6], MB)


def test_the_bound_is_held_whatever_is_added(tmp_path):
    """After each of 200 files of any size it is no larger than it may be."""
    cache = mv.Cache(tmp_path / "cache", max_bytes=MB)
    copies, chance = Copies(cache), random.Random(5)

    for i in range(200):
        put(copies, i, size=8 * chance.randrange(1, 2**15), age=chance.randrange(1, 10**5))
        assert cache.size <= MB


def test_a_file_that_would_evict_all_others_is_not_kept(tmp_path):
    """What is larger than the bound goes past it."""
    cache = mv.Cache(tmp_path / "cache", max_bytes=MB)
    small = put(cache, 1, size=1000)

    put(cache, 2, size=MB)

    assert Copies(cache).holds(small, 1000)
    assert len(kept(cache)) == 1


def test_files_that_are_not_its_own_stay(tmp_path):
    """A folder that holds something else too is not cleared of it."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x" * 4096)
    cache = mv.Cache(tmp_path / "mine", max_bytes=2048)
    for i in range(5):
        put(cache, i, size=1024)

    cache.clear()

    assert [path.name for path in kept(cache)] == ["notes.txt"]


def test_what_a_killed_process_left_is_removed_in_the_end(tmp_path):
    """A half-written file of a day ago goes at the next eviction, one of now stays."""
    cache = mv.Cache(tmp_path / "cache", max_bytes=MB)
    put(cache, 1, size=1024)
    for name, age in ((".tmp-old", 2 * 24 * 3600), (".tmp-new", 0)):
        (cache.folder / name).write_bytes(b"x" * 1024)
        os.utime(cache.folder / name, (time.time() - age,) * 2)

    put(cache, 2, size=600 * 1024)
    put(cache, 3, size=600 * 1024)

    names = {path.name for path in kept(cache)}
    assert ".tmp-old" not in names
    assert ".tmp-new" in names


def test_processes_share_it_while_it_evicts(web, tmp_path):
    """8 processes load 3 versions through room for one and a half: every byte is right."""
    folder = tmp_path / "cache"

    def work(seed):
        chance = random.Random(seed)
        cache = mv.Cache(folder, max_bytes=4 * MB)
        registry = opened(web, cache)
        for _ in range(12):
            number = chance.randrange(1, 4)
            loaded = registry["churn"][number].load(mmap=chance.random() < 0.5)["w"]
            if not (loaded == np.arange(2**18, dtype="float64") + number - 1).all():
                return "wrong bytes"
        return "right"

    assert together(work, range(8)) == ["right"] * 8
    cache = mv.Cache(folder, max_bytes=4 * MB)
    assert 0 < cache.size <= 4 * MB + 8 * (4 * MB // 64 + 2 * MB)
    put(cache, 1, size=MB)
    assert cache.size <= 4 * MB
    assert [p.name for p in kept(cache) if p.name.startswith(".tmp")] == []


def test_a_process_that_is_killed_while_it_fills_leaves_no_wrong_file(web, cache, tmp_path):
    """Under a digest there is all of a file or nothing."""

    def work(calls):
        real, left = os.write, [calls]

        def write(descriptor, data):
            left[0] -= 1
            if not left[0]:
                real(descriptor, bytes(data)[: len(data) // 2])
                os._exit(9)
            return real(descriptor, data)

        os.write = write
        opened(web, cache)["churn"][1].download(tmp_path / f"out-{calls}")

    for calls in (1, 2, 3):
        pid = os.fork()
        if not pid:
            work(calls)
            os._exit(0)
        os.waitpid(pid, 0)

        for path in kept(cache):
            if not path.name.startswith(".tmp"):
                with path.open("rb") as file:
                    assert hashlib.file_digest(file, "sha256").hexdigest() == path.name
    assert opened(web, cache)["churn"][1].load()["w"][1] == 1.0


@pytest.mark.parametrize("call", ["makedirs", "open", "write", "replace"])
def test_a_disk_that_takes_nothing_costs_no_load(web, cache, call, monkeypatch):
    """A cache that cannot be written is a load from the place, and leaves nothing half done."""
    real = getattr(os, call)

    def failing(*args, **kwargs):
        if call != "open" or args[1] & os.O_CREAT:
            raise OSError(28, "No space left on device")
        return real(*args, **kwargs)

    version = opened(web, cache)["churn"][1]
    monkeypatch.setattr(os, call, failing)

    assert version.load()["w"][3] == 3.0
    assert version.load(mmap=True)["w"][3] == 3.0
    monkeypatch.undo()
    assert not cache.folder.exists() or kept(cache) == []


# ---- mutants: what the tests above see when a guard is away


def test_mutant_the_copy_is_not_hashed(web, cache, monkeypatch):
    """Without the hash a flipped byte is returned."""
    opened(web, cache)["churn"][3].load()
    for path in kept(cache):
        if path.stat().st_size > MB:
            damage(path, 100)
    real = files._read_hashed

    def blind(file, size, *more):
        data, found, _ = real(file, size, *more)
        return data, found, next(f.sha256 for f in version.files if f.size == size)

    version = opened(web, cache)["churn"][3]
    monkeypatch.setattr(files, "_read_hashed", blind)

    assert not (version.load()["w"] == np.arange(2**18, dtype="float64") + 2).all()


def test_mutant_use_is_not_noted(tmp_path, monkeypatch):
    """Without a note of its use, what is read all the time goes first."""
    monkeypatch.setattr(cache_module, "_NOTED_SECONDS", float("inf"))

    with pytest.raises(AssertionError):
        test_what_was_not_used_for_longest_goes_first(tmp_path)


def test_mutant_nothing_is_evicted(tmp_path, monkeypatch):
    """Without eviction the bound is passed."""
    monkeypatch.setattr(Copies, "_evict", lambda self: 0)

    with pytest.raises(AssertionError):
        test_the_bound_is_held_whatever_is_added(tmp_path)


def test_mutant_a_file_gets_its_name_before_its_bytes(web, cache, tmp_path, monkeypatch):
    """Written in place, a killed process leaves a torn file under a digest."""
    real = cache_module.Filling.__init__

    def in_place(self, copies, sha256, size):
        real(self, copies, sha256, size)
        self._temporary = copies.path(sha256)

    monkeypatch.setattr(cache_module.Filling, "__init__", in_place)

    with pytest.raises(AssertionError):
        test_a_process_that_is_killed_while_it_fills_leaves_no_wrong_file(web, cache, tmp_path)


def test_mutant_verify_reads_the_copy(cache, folder, monkeypatch):
    """A check that takes the copy's word passes over damage."""
    monkeypatch.setattr(
        files.VersionFiles, "check", lambda self, path: [None for _ in self.pieces(path)]
    )
    init = files.VersionFiles.__init__

    def with_cache(self, *args, **kwargs):
        init(self, *args, **{**kwargs, "cache": Copies(cache)})

    monkeypatch.setattr(files.VersionFiles, "__init__", with_cache)

    with pytest.raises(AssertionError):
        test_verify_asks_the_place_and_not_the_copy(cache, folder)


# ---- where it is


def cache_of(registry):
    copies = registry._home.cache
    return copies and copies.cache


def test_it_is_on_for_remote_places_and_off_for_local_ones(monkeypatch, tmp_path):
    """By default remote registries have one in the user's folder, folders and memory none."""
    monkeypatch.delenv("MODELVERSION_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))

    assert cache_of(mv.Registry(tmp_path / "registry")) is None
    assert cache_of(mv.Registry("memory://cached")) is None
    found = cache_of(mv.Registry("http://127.0.0.1:1/models"))
    assert found == mv.Cache(tmp_path / "xdg" / "modelversion", max_bytes=10 * 2**30)
    assert not (tmp_path / "xdg").exists()


def test_the_word_of_the_caller_goes_before_the_machine(monkeypatch, tmp_path):
    """`cache=` takes True, False, a folder or a Cache; the environment names folder and size."""
    monkeypatch.setenv("MODELVERSION_CACHE", str(tmp_path / "machine"))
    monkeypatch.setenv("MODELVERSION_CACHE_BYTES", "5000")
    remote = "http://127.0.0.1:1/models"
    own = mv.Cache(tmp_path / "own", max_bytes=7)

    assert cache_of(mv.Registry(remote)) == mv.Cache(tmp_path / "machine", max_bytes=5000)
    assert cache_of(mv.Registry(remote, cache=False)) is None
    assert cache_of(mv.Registry(remote, cache=own)) is own
    assert cache_of(mv.Registry(remote, cache=tmp_path / "x")).folder == tmp_path / "x"
    assert cache_of(mv.Registry(tmp_path / "local", cache=True)).folder == tmp_path / "machine"
    monkeypatch.setenv("MODELVERSION_CACHE", "off")
    assert cache_of(mv.Registry(remote)) is None


def test_a_handle_that_was_sent_takes_its_cache_along(web, cache):
    """A registry and a version work in another process as they did here."""
    registry = opened(web, cache)
    version = registry["churn"][1]
    version.load()
    fetched(web)

    for one in (
        pickle.loads(pickle.dumps(registry))["churn"][1],
        pickle.loads(pickle.dumps(version)),
    ):
        assert one.load()["w"][1] == 1.0
    assert fetched(web) == []


def test_only_its_owner_may_read_it(web, cache):
    """What is kept of a private bucket is not for others on the machine."""
    opened(web, cache).load("churn:1")

    assert cache.folder.stat().st_mode & 0o077 == 0
    assert [path.stat().st_mode & 0o077 for path in kept(cache)] == [0] * len(kept(cache))


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (7, "cache must be True, False, a folder"),
        (1.5, "cache must be"),
        ("s3://bucket/cache", "a folder of this machine"),
        (b"bytes", "cache must be"),
        ("a\0b", "a folder of this machine"),
    ],
)
def test_what_is_no_cache_is_refused(word, told):
    """The argument is named, with what was found."""
    with pytest.raises(InvalidInputError, match=told):
        mv.Registry("http://127.0.0.1:1/models", cache=word)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "10 GB", None, float("nan")])
def test_a_size_that_is_none_is_refused(size):
    """`max_bytes` is a number of bytes."""
    with pytest.raises(InvalidInputError, match="max_bytes must be a number of bytes"):
        mv.Cache("somewhere", max_bytes=size)


@pytest.mark.parametrize("text", ["0", "-1", "10GB", "1e9", "9" * 40])
def test_nonsense_in_the_environment_is_refused(text, monkeypatch):
    """The variable is named, with what it says."""
    monkeypatch.setenv("MODELVERSION_CACHE", "somewhere")
    monkeypatch.setenv("MODELVERSION_CACHE_BYTES", text)

    with pytest.raises(InvalidInputError, match=r"\$MODELVERSION_CACHE_BYTES"):
        mv.Registry("http://127.0.0.1:1/models")


def test_without_a_home_there_is_none(monkeypatch):
    """A user without a folder of their own reads as before."""
    monkeypatch.delenv("MODELVERSION_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)

    assert cache_of(mv.Registry("http://127.0.0.1:1/models")) is None
