"""Places that cannot hold a registry, disks that are full or fail, and files that were edited."""

import errno
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from processes import together

import modelversion as mv
from modelversion import layout
from modelversion.errors import (
    BrokenJournalWarning,
    DigestMismatchError,
    ForeignProcessError,
    IntegrityError,
    JournalError,
    ModelVersionError,
    NewerFormatError,
    NotARegistryError,
    OutcomeUnknownError,
    ReadOnlyError,
    RecordError,
    SaveError,
    SizeMismatchError,
    StorageError,
    StorageFullError,
    UnknownEventError,
    UnsafeFilesystemError,
)

NOW = timedelta(0)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="mounts filesystems of Linux")


@pytest.fixture(autouse=True)
def unsaved(monkeypatch, tmp_path_factory):
    """Where the bytes of failed saves go, so that they do not stay in the system's folder."""
    folder = tmp_path_factory.mktemp("unsaved")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def tree(folder):
    """Give every path below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(Path(folder).rglob("*"))
    }


def refused(work):
    """Do what must fail in storage; give the error, whether or not a SaveError carries it."""
    with pytest.raises((StorageError, SaveError)) as caught:
        work()
    e = caught.value
    return e.__cause__ if isinstance(e, SaveError) else e


# ---- folders and files that are something else -------------------------------------------------


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    """A save into a project folder names what is there, and writes nothing."""
    (tmp_path / "train.py").write_text("print()")
    before = tree(tmp_path)

    e = refused(lambda: mv.Registry(tmp_path).save("churn", 1))

    assert isinstance(e, NotARegistryError)
    assert "'train.py'" in str(e)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", [".gitignore", ".DS_Store", "desktop.ini"])
def test_a_folder_with_files_of_the_system_is_taken(tmp_path, name):
    """What desktops and git leave in an empty folder does not make it something else."""
    (tmp_path / name).write_text("*")

    assert mv.Registry(tmp_path).save("churn", 1).number == 1


def test_a_registry_json_of_another_tool_is_refused(tmp_path):
    """A registry.json that is not ours is named, and nothing is written beside it."""
    (tmp_path / "registry.json").write_text('{"name": "npm"}')
    before = tree(tmp_path)

    e = refused(lambda: mv.Registry(tmp_path).save("churn", 1))

    assert isinstance(e, NotARegistryError)
    assert "registry.json" in str(e)
    with pytest.raises(NotARegistryError, match=r"registry\.json"):
        list(mv.Registry(tmp_path))
    assert tree(tmp_path) == before


@pytest.mark.parametrize("below", ["", "/deeper", "/deeper/still"])
def test_a_file_in_the_way_is_refused(tmp_path, below):
    """A path that is a file, or leads through one, is named, and the file stays as it is."""
    (tmp_path / "file").write_text("mine")

    e = refused(lambda: mv.Registry(f"{tmp_path}/file{below}").save("churn", 1))

    assert isinstance(e, NotARegistryError)
    assert f"{tmp_path}/file" in str(e)
    assert tree(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("folder", ["policies", "models", "models/churn/versions"])
def test_a_file_where_a_folder_belongs_is_refused(tmp_path, folder):
    """A file under the name of one of our folders gives one typed error that names it."""
    mv.Registry(tmp_path / "registry").save("other", 1)
    path = tmp_path / "registry" / folder
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")

    e = refused(lambda: mv.Registry(tmp_path / "registry").save("churn", 1))

    assert type(e) is StorageError
    assert str(path) in str(e)
    assert path.read_text() == "mine"


def test_a_folder_where_a_file_belongs_is_refused(tmp_path):
    """A folder under the name of registry.json gives one typed error that names it."""
    (tmp_path / "registry.json").mkdir()

    e = refused(lambda: mv.Registry(tmp_path).save("churn", 1))

    assert "registry.json" in str(e)
    assert tree(tmp_path) == {"registry.json": None}


def test_a_symlinked_root_works(tmp_path):
    """A registry reached through a link is the same registry, and the link stays a link."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")

    saved = mv.Registry(tmp_path / "link").save("churn", {"w": np.arange(2**18)})
    mv.Registry(tmp_path / "disk" / ".." / "link").save("churn", "two")

    assert (tmp_path / "link").is_symlink()
    assert np.array_equal(mv.Registry(tmp_path / "disk").load(saved.ref)["w"], np.arange(2**18))
    assert len(mv.Registry(tmp_path / "disk")["churn"]) == 2
    assert mv.Registry(tmp_path / "link").verify()


def test_a_relative_root_stays_where_it_was(tmp_path, monkeypatch):
    """A handle made with a relative path goes on to the same folder after a chdir."""
    monkeypatch.chdir(tmp_path)
    registry = mv.Registry("registry")
    registry.save("churn", 1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    registry.save("churn", 2)

    assert len(mv.Registry(tmp_path / "registry")["churn"]) == 2
    assert tree(tmp_path / "elsewhere") == {}


# ---- disks that are read-only or full ----------------------------------------------------------


def mounted(check, tmp_path, options):
    """Run a function of this file in a process that has a tmpfs of its own mounted."""
    disk, spare = tmp_path / "disk", tmp_path / "spare"
    disk.mkdir()
    spare.mkdir()
    own = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    _run(
        [*own, "sh", "-c", f'mount -t tmpfs -o {options} none "$1" && shift && exec "$@"', "sh"],
        check,
        disk,
        spare,
    )


def unprivileged(check, tmp_path):
    """Run a function of this file in a process that permissions bind, also where we are root."""
    disk, spare = tmp_path / "disk", tmp_path / "spare"
    disk.mkdir()
    spare.mkdir()
    powerless = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    _run([*(powerless if os.geteuid() == 0 else []), "env"], check, disk, spare, mount=False)


def _run(prefix, check, disk, spare, *, mount=True):
    code = f"import test_places; test_places.{check.__name__}(test_places.Path({str(disk)!r}))"
    done = subprocess.run(
        [*prefix, *([disk] if mount else []), sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=Path(__file__).parent,
        env={**os.environ, "TMPDIR": str(spare)},
    )
    assert done.returncode == 0, done.stderr


def fill_with_bytes(disk, left):
    """Fill a disk but for `left` bytes."""
    filler = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(filler, bytes(4096))
    except OSError as e:
        assert e.errno == errno.ENOSPC
    os.ftruncate(filler, max(os.fstat(filler).st_size - left, 0))
    os.close(filler)


def fill_with_files(disk, left):
    """Use the inodes of a disk up but for `left`."""
    (disk / "filler").mkdir()
    count = 0
    try:
        while True:
            (disk / "filler" / str(count)).touch()
            count += 1
    except OSError as e:
        assert e.errno == errno.ENOSPC
    for i in range(min(left, count)):
        (disk / "filler" / str(i)).unlink()


def free(disk):
    """Take what fills the disk away."""
    if (disk / "filler").is_dir():
        shutil.rmtree(disk / "filler")
    else:
        (disk / "filler").unlink()


def assert_kept(e, value, equal=lambda one, other: one == other):
    """The error carries the object and a folder that gives it back."""
    assert e.value is value
    assert e.spooled_at is not None
    assert e.spooled_at in str(e)
    assert equal(mv.open_directory(e.spooled_at).load(allow_pickle=True), value)
    assert isinstance(e.__cause__, StorageFullError)
    assert e.__cause__.args[0] in str(e)


def save_on_ever_less_space(disk, fill, steps):
    """Save with ever more space left, until it succeeds; a failure changes nothing."""
    root, failures, saved = disk / "registry", 0, 1
    mv.Registry(root).save("churn", "one")
    for left in steps:
        for registry in (mv.Registry(root), warm(root)):
            value = {"blob": os.urandom(20_000), "left": left}
            fill(disk, left)
            try:
                registry.save("churn", value)
                saved += 1
            except SaveError as e:
                failures += 1
                assert_kept(e, value)
            assert len(mv.Registry(root)["churn"]) == saved
            assert mv.Registry(root).load("churn:1") == "one"
            free(disk)
    return failures, saved


def warm(root):
    """Give a handle that has shown already that it can write."""
    registry = mv.Registry(root)
    registry["churn"][1].tag(warm=True)
    registry.save("churn", mv.Registry(root)["churn"].latest.load())
    return registry


def assert_recovers(root):
    """With space again the next save works and gc clears what the failures left."""
    registry = mv.Registry(root)
    assert registry.load(registry.save("churn", "after").ref) == "after"
    registry.gc(older_than=NOW)
    report = registry.verify()
    assert (report.problems, report.pending) == ((), ())
    assert [p for p in root.rglob("*") if p.name.startswith(layout.TEMPORARY)] == []


def no_bytes_left(disk):
    """See `test_a_full_disk_leaves_older_versions_untouched`."""
    failures, saved = save_on_ever_less_space(disk, fill_with_bytes, range(0, 100_000, 4096))
    assert failures >= 10
    assert saved >= 5
    assert_recovers(disk / "registry")


def no_inodes_left(disk):
    """See `test_a_full_disk_leaves_older_versions_untouched`."""
    failures, saved = save_on_ever_less_space(disk, fill_with_files, range(14))
    assert failures >= 5
    assert saved >= 5
    assert_recovers(disk / "registry")


def too_small_for_the_arrays(disk):
    """See `test_what_does_not_fit_the_disk_is_kept_elsewhere`."""
    mv.Registry(disk / "registry").save("churn", "one")
    before = tree(disk)
    value = {"w": np.arange(2**19, dtype="float64")}
    with pytest.raises(SaveError) as caught:
        mv.Registry(disk / "registry").save("churn", value)
    assert_kept(caught.value, value, equal=lambda a, b: np.array_equal(a["w"], b["w"]))
    assert tree(disk) == before


def too_small_for_the_stream(disk):
    """See `test_what_does_not_fit_the_disk_is_kept_elsewhere`."""
    mv.Registry(disk / "registry").save("churn", "one")
    before = tree(disk)
    value = {"text": "x" * 6_000_000}
    with pytest.raises(SaveError) as caught:
        mv.Registry(disk / "registry").save("churn", value)
    assert not isinstance(caught.value, mv.errors.UnpicklableError)
    assert_kept(caught.value, value)
    assert tree(disk) == before


def no_first_save(disk):
    """See `test_a_full_disk_takes_no_first_save`."""
    fill_with_bytes(disk, 0)
    value = {"w": [1]}
    with pytest.raises(SaveError) as caught:
        mv.Registry(disk / "registry").save("churn", value)
    assert_kept(caught.value, value)
    free(disk)
    assert mv.Registry(disk / "registry").save("churn", value).number == 1


def decisions_on_a_full_disk(disk):
    """See `test_a_full_disk_refuses_tags_and_aliases`."""
    model = (
        mv.Registry(disk / "registry").save("churn", "one")
        and mv.Registry(disk / "registry")["churn"]
    )
    model.set_alias("champion", 1)
    fill_with_bytes(disk, 0)
    for work in (
        lambda: model[1].tag(a=1),
        lambda: model.set_alias("other", 1),
        lambda: model[1].withdraw(reason="x"),
    ):
        with pytest.raises(StorageFullError, match="free space"):
            work()
    assert model.aliases == {"champion": 1}
    free(disk)
    model[1].tag(a=2)
    assert dict(model[1].tags) == {"a": 2}


@on_linux
@pytest.mark.parametrize(
    ("check", "options"),
    [(no_bytes_left, "size=8m"), (no_inodes_left, "size=16m,nr_inodes=200")],
    ids=["bytes", "inodes"],
)
def test_a_full_disk_leaves_older_versions_untouched(check, options, tmp_path):
    """However little is left, a save that fails raises SaveError with the object and a folder
    that gives it back, older versions load, and once there is space all goes on."""
    mounted(check, tmp_path, options)


@on_linux
@pytest.mark.parametrize("check", [too_small_for_the_arrays, too_small_for_the_stream])
def test_what_does_not_fit_the_disk_is_kept_elsewhere(check, tmp_path):
    """Files too large for the registry's disk are in .value and .spooled_at, and nothing of them
    stays on the disk."""
    mounted(check, tmp_path, "size=2m")


@on_linux
def test_a_full_disk_takes_no_first_save(tmp_path):
    """A registry that cannot be made fails as a save does, with the object kept."""
    mounted(no_first_save, tmp_path, "size=1m")


@on_linux
def test_a_full_disk_refuses_tags_and_aliases(tmp_path):
    """A tag, an alias and a withdrawal that find no space say so, and change nothing."""
    mounted(decisions_on_a_full_disk, tmp_path, "size=1m")


def read_only_disk(disk):
    """See `test_a_read_only_place_can_be_read`."""
    make_read_only(disk, lambda: subprocess.run(["mount", "-o", "remount,ro", disk], check=True))


def read_only_folder(disk):
    """See `test_a_read_only_place_can_be_read`."""

    def close():
        for path in [disk, *disk.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)

    try:
        make_read_only(disk, close)
    finally:
        for path in [disk, *disk.rglob("*")]:
            path.chmod(0o755)


def make_read_only(disk, close):
    """Make a registry, close it for writing, and try everything."""
    root = disk / "registry"
    registry = mv.Registry(root)
    registry.save("churn", "one").tag(a=1)
    registry.save("churn", {"w": np.arange(2**18)})
    registry["churn"].set_alias("champion", 1)
    before = tree(disk)
    close()
    for reader in (registry, mv.Registry(root)):
        assert reader.load("churn@champion") == "one"
        assert dict(reader["churn"][1].tags) == {"a": 1}
        assert len(reader.load("churn:2", mmap=True)["w"]) == 2**18
        assert len(reader["churn"].versions()) == 2
        assert reader.verify()
        value = ["new"]
        e = refused(lambda reader=reader, value=value: reader.save("churn", value))
        assert isinstance(e, ReadOnlyError), repr(e)
        for work in (
            lambda reader=reader: reader["churn"].set_alias("champion", 2),
            lambda reader=reader: reader["churn"][1].tag(b=1),
            lambda reader=reader: reader["churn"][2].delete(reason="old"),
        ):
            with pytest.raises(ReadOnlyError, match="cannot"):
                work()
        assert reader["churn"].aliases == {"champion": 1}
    assert isinstance(refused(lambda: mv.Registry(disk / "new").save("churn", 1)), ReadOnlyError)
    assert tree(disk) == before


@on_linux
def test_a_read_only_disk_can_be_read(tmp_path):
    """All reading works on a read-only mount; each write is refused and changes nothing."""
    mounted(read_only_disk, tmp_path, "size=8m")


@on_linux
def test_a_read_only_folder_can_be_read(tmp_path):
    """All reading works without write permission; each write is refused and changes nothing."""
    unprivileged(read_only_folder, tmp_path)


def closed_parent(disk):
    """See `test_a_root_below_a_folder_that_cannot_be_listed_works`."""
    (disk / "closed" / "registry").mkdir(parents=True)
    (disk / "closed").chmod(0o111)
    try:
        assert mv.Registry(disk / "closed" / "registry").save("churn", 1).number == 1
        assert mv.Registry(disk / "closed" / "registry").load("churn") == 1
    finally:
        (disk / "closed").chmod(0o755)


@on_linux
def test_a_root_below_a_folder_that_cannot_be_listed_works(tmp_path):
    """A shared folder whose parent we may only pass through can hold a registry."""
    unprivileged(closed_parent, tmp_path)


# ---- fsync that fails --------------------------------------------------------------------------


class FailingSync:
    """An fsync whose k-th call fails as a broken disk does."""

    def __init__(self, monkeypatch, k):
        self.calls = 0
        self._k, self._real = k, os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor):
        self.calls += 1
        if self.calls == self._k:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._real(descriptor)


def with_failing_syncs(monkeypatch, tmp_path, work):
    """Do `work(root)` with each fsync failing in turn; give the error and root of each."""
    template = tmp_path / "template"
    mv.Registry(template).save("churn", "one")
    mv.Registry(template).save("churn", "two")
    mv.Registry(template)["churn"].set_alias("champion", 1)
    k = 0
    while True:
        k += 1
        root = tmp_path / f"k{k}"
        shutil.copytree(template, root)
        with monkeypatch.context() as patch:
            sync = FailingSync(patch, k)
            try:
                work(root)
                e = None
            except ModelVersionError as caught:
                e = caught
        if sync.calls < k:
            assert e is None
            assert k > 3
            return
        yield e, root


@pytest.mark.parametrize("value", ["small", "large"])
def test_a_save_never_survives_an_fsync_that_fails(value, monkeypatch, tmp_path):
    """Whichever fsync fails, the save raises: with OutcomeUnknownError where the entry may be
    seen, else with another StorageError and nothing to be seen; the object is kept."""
    given = "three" if value == "small" else {"w": np.arange(2**18)}
    unknown = 0
    for e, root in with_failing_syncs(
        monkeypatch, tmp_path, lambda root: mv.Registry(root).save("churn", given)
    ):
        seen = len(mv.Registry(root)["churn"]) > 2
        assert isinstance(e, SaveError), repr(e)
        assert e.value is given
        assert isinstance(e.__cause__, StorageError)
        if seen:
            assert isinstance(e.__cause__, OutcomeUnknownError)
            unknown += 1
        assert mv.Registry(root).load("churn:1") == "one"
        assert mv.Registry(root).save("churn", "next").load() == "next"
        assert mv.Registry(root).verify()
    assert unknown


LARGE = {
    "buffer": lambda: np.arange(3 * 2**20),
    "stream": lambda: ["text of a stream"] * 2 + [bytes(24 * 2**20).hex()],
}


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the hint is one of Linux")
@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("refused", [False, True])
def test_the_disk_works_while_a_large_file_is_written(value, refused, monkeypatch, tmp_path):
    """Each part is sent on its way once, in order, and before the sync; a system that does not
    take the hint loses nothing."""
    seen, (advise, fsync) = [], (os.posix_fadvise, os.fsync)

    def advised(descriptor, start, size, advice):
        seen.append((os.fstat(descriptor).st_ino, start, size))
        if refused:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        advise(descriptor, start, size, advice)

    def synced(descriptor):
        seen.append((os.fstat(descriptor).st_ino, "sync", None))
        fsync(descriptor)

    monkeypatch.setattr(os, "posix_fadvise", advised)
    monkeypatch.setattr(os, "fsync", synced)
    given = value()
    version = mv.Registry(tmp_path).save("large", given)

    file = max(tmp_path.rglob("*"), key=lambda path: path.stat().st_size)
    of_file = [what for node, *what in seen if node == file.stat().st_ino]
    begun = [what for what in of_file if what[0] != "sync"]
    assert of_file == [*begun, ["sync", None]]
    assert len(begun) >= 2
    assert [start for start, _ in begun] == [0, *itertools.accumulate(n for _, n in begun)][:-1]
    assert sum(size for _, size in begun) > file.stat().st_size - 2**23
    loaded = version.load()
    assert np.array_equal(loaded, given) if isinstance(given, np.ndarray) else loaded == given


DECISIONS = {
    "alias": (
        lambda registry: registry["churn"].set_alias("champion", "latest"),
        lambda registry: registry["churn"].aliases["champion"] == 2,
    ),
    "tag": (
        lambda registry: registry["churn"][1].tag(good=True),
        lambda registry: bool(registry["churn"][1].tags),
    ),
    "withdraw": (
        lambda registry: registry["churn"][1].withdraw(reason="x"),
        lambda registry: registry["churn"][1].withdrawn is not None,
    ),
    "delete": (
        lambda registry: registry["churn"][2].delete(reason="x"),
        lambda registry: len(registry["churn"]) == 1,
    ),
}


@pytest.mark.parametrize("kind", DECISIONS)
def test_a_decision_never_survives_an_fsync_that_fails(kind, monkeypatch, tmp_path):
    """Before the link: StorageError and no change; after it: OutcomeUnknownError."""
    work, seen = DECISIONS[kind]
    outcomes = []
    for e, root in with_failing_syncs(monkeypatch, tmp_path, lambda root: work(mv.Registry(root))):
        assert isinstance(e, StorageError), repr(e)
        assert "fsync" in str(e) or "Input/output error" in str(e)
        assert isinstance(e, OutcomeUnknownError) == seen(mv.Registry(root)), repr(e)
        outcomes.append(isinstance(e, OutcomeUnknownError))
        assert mv.Registry(root).verify().ok
    assert outcomes[0] is False
    assert outcomes[-1] is True


def test_an_unknown_outcome_says_what_to_look_at(monkeypatch, tmp_path):
    """The message names the file whose fate is open."""
    found = []
    for e, _ in with_failing_syncs(
        monkeypatch, tmp_path, lambda root: mv.Registry(root)["churn"].set_alias("champion", 2)
    ):
        found.append(e)

    unknown = [str(e) for e in found if isinstance(e, OutcomeUnknownError)]
    assert unknown
    for said in unknown:
        assert "decisions/000000000003.json" in said


# ---- processes ---------------------------------------------------------------------------------


def test_a_fork_with_an_open_registry_works(tmp_path):
    """Parent and child go on with the same handle on a folder, and their numbers differ."""
    registry = mv.Registry(tmp_path / "registry")
    registry.save("churn", "parent")

    numbers = together(lambda i: registry.save("churn", ["child", i]).number, range(4))
    numbers.append(registry.save("churn", "parent again").number)

    assert sorted(numbers) == [2, 3, 4, 5, 6]
    assert len(registry["churn"]) == 6
    assert registry.verify()


MEMORY_USES = {
    "save": lambda registry: registry.save("churn", 2),
    "load": lambda registry: registry.load("churn:1"),
    "list": lambda registry: list(mv.Registry.models(registry)),
    "tag": lambda registry: registry["churn"][1].tag(a=1),
    "verify": lambda registry: registry.verify(),
}


@pytest.mark.parametrize("use", MEMORY_USES)
def test_a_memory_registry_is_refused_in_a_forked_process(use):
    """What is in the memory of one process is not silently another's."""
    registry = mv.Registry("memory://forked")
    registry.save("churn", 1)

    def attempt(_):
        try:
            MEMORY_USES[use](registry)
        except ForeignProcessError as e:
            return str(e)
        except SaveError as e:
            return str(e.__cause__) if isinstance(e.__cause__, ForeignProcessError) else repr(e)

    (said,) = together(attempt, [0])

    assert f"process {os.getpid()}" in str(said)
    assert registry.load("churn:1") == 1


def in_fresh_python(code, data):
    """Run code in a new Python that gets bytes on standard input; give what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], input=data, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_a_registry_pickles_into_another_process(tmp_path):
    """A pickled handle, a model and a version work in a fresh process, and see each other."""
    registry = mv.Registry(tmp_path / "registry", actor="ana@team")
    version = registry.save("churn", [1, 2])
    code = (
        "import pickle, sys; r, m, v = pickle.load(sys.stdin.buffer); "
        "print(v.load(), len(m), r.save('churn', 'there').ref)"
    )

    printed = in_fresh_python(code, pickle.dumps((registry, registry["churn"], version)))

    assert printed == "[1, 2] 1 churn:2"
    assert registry.load("churn:2") == "there"
    assert registry["churn"][2].actor.name == "ana@team"


def test_a_pickled_memory_registry_is_refused_elsewhere():
    """It unpickles in another process, and says there whose memory it lives in."""
    registry = mv.Registry("memory://pickled")
    registry.save("churn", 1)
    code = (
        "import pickle, sys; from modelversion.errors import ForeignProcessError\n"
        "try: pickle.load(sys.stdin.buffer).load('churn')\n"
        "except ForeignProcessError as e: print(e)"
    )

    assert f"process {os.getpid()}" in in_fresh_python(code, pickle.dumps(registry))


# ---- filesystems of fsspec ---------------------------------------------------------------------


class LookalikeFileSystem(MemoryFileSystem):
    """Something that looks like a filesystem that we know."""

    protocol = "lookalike"
    store = {}  # noqa: RUF012 - fsspec's way to share it
    pseudo_dirs = [""]  # noqa: RUF012


@pytest.fixture
def lookalike():
    """The URL of an empty place on a filesystem of a class that is not known."""
    fsspec.register_implementation("lookalike", LookalikeFileSystem, clobber=True)
    LookalikeFileSystem.store.clear()
    LookalikeFileSystem.pseudo_dirs[:] = [""]
    return "lookalike://registry"


@pytest.mark.parametrize("chain", ["", "simplecache::", "filecache::", "blockcache::"])
def test_an_unknown_filesystem_is_refused_for_writing(chain, lookalike):
    """Subclasses of what we know and caches over it are refused, and nothing is written."""
    place = chain + ("memory://registry" if chain else lookalike)

    e = refused(lambda: mv.Registry(place).save("churn", 1))

    assert isinstance(e, UnsafeFilesystemError)
    assert ("give the URL without it" if chain else "writers='single'") in str(e)
    assert not LookalikeFileSystem.store
    assert not MemoryFileSystem.store


@pytest.mark.parametrize("chain", ["simplecache::", "filecache::", "blockcache::"])
def test_nothing_is_written_through_a_cache(chain):
    """What answers from a cache is refused, whatever the caller says of other writers."""
    registry = mv.Registry(f"{chain}memory://registry", writers="single")

    assert isinstance(refused(lambda: registry.save("churn", 1)), UnsafeFilesystemError)
    assert not MemoryFileSystem.store


def test_an_unknown_filesystem_is_read(lookalike):
    """Reading is always allowed; decisions and tags are refused as saves are."""
    mv.Registry(lookalike, writers="single").save("churn", [1])
    registry = mv.Registry(lookalike, allow_pickle=True)

    assert registry.load("churn") == [1]
    assert registry.verify()
    for work in (
        lambda: registry["churn"].set_alias("champion", 1),
        lambda: registry["churn"][1].tag(a=1),
        lambda: registry["churn"][1].delete(reason="x"),
    ):
        with pytest.raises(UnsafeFilesystemError, match="LookalikeFileSystem"):
            work()
    assert registry["churn"].aliases == {}
    assert registry.load("churn:1") == [1]


def test_a_single_writer_may_use_an_unknown_filesystem(lookalike):
    """With the caller's word all works: save, alias, tag, delete, gc, verify; also pickled."""
    registry = mv.Registry(lookalike, writers="single", allow_pickle=True)
    for i in range(40):
        registry.save("churn", [i])
    registry["churn"].set_alias("champion", 3)
    registry["churn"][2].delete(reason="old")
    registry.gc(older_than=NOW)

    again = pickle.loads(pickle.dumps(registry))
    again.save("churn", "pickled")

    assert again.load("churn@champion") == [2]
    assert len(again["churn"]) == 40
    assert again.verify()


def test_what_memory_holds_is_read_through_a_cache():
    """A cache over a registry reads it as it is, also after it has grown."""
    registry = mv.Registry("memory://cached")
    registry.save("churn", 1)
    cached = mv.Registry("simplecache::memory://cached", allow_pickle=True)

    assert cached.load("churn") == 1
    assert cached.verify()
    registry.save("churn", 2)
    assert cached.load("churn") == 2


@pytest.mark.parametrize("nested", [1, 2])
def test_a_folder_filesystem_over_local_is_local(nested, tmp_path):
    """DirFileSystem over local files is unwrapped: hard links, fsync and mmap as ever."""
    filesystem, path = LocalFileSystem(), ""
    for i in range(nested):
        filesystem = DirFileSystem(str(tmp_path) if i == 0 else "inner", filesystem)
    place = Place(filesystem, "registry" + path)

    mv.Registry(place).save("churn", {"w": np.arange(2**18)})

    root = tmp_path / ("registry" if nested == 1 else "inner/registry")
    assert (root / "registry.json").is_file()
    assert len(mv.Registry(root).load("churn", mmap=True)["w"]) == 2**18
    assert mv.Registry(place).save("churn", "x").number == 2


class Place:
    """What a UPath is to us."""

    def __init__(self, fs, path):
        self.fs, self.path = fs, path

    def __str__(self):
        return f"dir::{self.path}"


def test_a_folder_filesystem_over_an_unknown_one_is_unknown(lookalike):
    """Unwrapping does not make a filesystem safer than what lies below."""
    place = Place(DirFileSystem("inner", fsspec.filesystem("lookalike")), "registry")

    assert isinstance(refused(lambda: mv.Registry(place).save("churn", 1)), UnsafeFilesystemError)


@pytest.mark.parametrize("prefix", ["file://", "local://"])
def test_a_local_url_is_the_folder(prefix, tmp_path):
    """`file://` and `local://` name the same folder as its path."""
    mv.Registry(f"{prefix}{tmp_path}/registry").save("churn", 1)

    assert mv.Registry(tmp_path / "registry").load("churn") == 1


# ---- the clock ---------------------------------------------------------------------------------


def test_entry_times_rise_though_the_clock_runs_backwards(tmp_path):
    """`time` strictly rises in every journal, `clock` says what the clock said."""
    now = datetime(2026, 11, 1, tzinfo=UTC)
    ticks = (now - timedelta(hours=i) for i in range(1000))
    registry = mv.Registry(tmp_path, clock=lambda: next(ticks))
    for i in range(5):
        registry.save("churn", i).tag(i=i)
        registry["churn"].set_alias("champion", i + 1)

    for name in ("journal", "decisions"):
        found = sorted((tmp_path / "models/churn" / name).glob("0*.json"))
        entries = [json.loads(path.read_bytes()) for path in found]
        times = [entry["time"] for entry in entries]
        clocks = [entry["clock"] for entry in entries]
        assert len(times) >= 5
        assert times == sorted(set(times))
        assert clocks == sorted(set(clocks), reverse=True)
    assert registry.verify()


# ---- newer formats -----------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path):
    """A registry of two versions, an alias and a tag."""
    root = tmp_path / "registry"
    registry = mv.Registry(root)
    registry.save("churn", "one")
    registry.save("churn", "two", artifacts={"a.txt": "text"})
    registry["churn"].set_alias("champion", 1)
    registry["churn"][1].tag(good=True)
    return root


def edit(path, change):
    """Change the JSON of a file."""
    value = json.loads(path.read_bytes())
    change(value)
    path.chmod(0o644)
    path.write_text(json.dumps(value))


GO_ON = ("search", "gc")
USES = {
    "list": list,
    "load": lambda registry: registry.load("churn:1"),
    "alias": lambda registry: registry["churn"].set_alias("other", 1),
    "save": lambda registry: registry.save("churn", "three"),
    "tag": lambda registry: registry["churn"][1].tag(a=1),
    "search": lambda registry: registry.search(),
    "gc": lambda registry: registry.gc(older_than=NOW),
}


def outcome(use, root):
    """Give the error that a use of the registry raises, or its warning; None if it works."""
    try:
        USES[use](mv.Registry(root))
    except SaveError as e:
        return e.__cause__
    except (ModelVersionError, BrokenJournalWarning) as e:
        return e
    return None


@pytest.mark.parametrize("use", USES)
def test_a_registry_of_a_newer_format_is_refused(use, root):
    """registry.json of format 2 stops reading and writing, and says what to do."""
    edit(root / "registry.json", lambda value: value.update(format=2))
    before = tree(root)

    e = outcome(use, root)

    assert isinstance(e, NewerFormatError)
    assert "registry.json has format 2" in str(e)
    assert "install" in str(e)
    assert tree(root) == before


def test_a_version_of_a_newer_format_is_refused(root, tmp_path):
    """version.json of format 2 says so before its fields are judged."""
    folder = mv.Registry(root)["churn"][2].download(tmp_path / "copy")
    edit(folder / "version.json", lambda value: (value.update(format=2), value.pop("origin")))

    with pytest.raises(NewerFormatError, match=r"version\.json has format 2"):
        mv.open_directory(folder)


def append_event(root, folder, **event):
    """Append an entry as another release would, and give its path."""
    paths = sorted((root / folder).glob("0*.json"))
    last = paths[-1].read_bytes()
    value = json.loads(last)
    value["position"] += 1
    value["time"] = "2096" + value["time"][4:]
    value["previous"] = __import__("hashlib").sha256(last).hexdigest()
    value["event"] = event
    path = root / folder / f"{value['position']:012d}.json"
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize(
    ("folder", "uses"),
    [
        ("policies", ["list", "save", "search", "gc"]),
        ("models/churn/journal", ["load", "save", "tag", "search", "gc"]),
        ("models/churn/decisions", ["load", "alias", "search", "gc"]),
    ],
)
def test_an_unknown_event_that_must_be_understood_stops_us(folder, uses, root):
    """Reading and writing stop, the entry and its kind are named, and nothing is written."""
    append_event(root, folder, kind="version.teleported", must_understand=True)
    before = tree(root)

    for use in uses:
        e = outcome(use, root)
        # A search and a gc go on without the model, and say so.
        told = BrokenJournalWarning if use in GO_ON and folder != "policies" else None
        assert isinstance(e, told or UnknownEventError), (use, e)
        assert "version.teleported" in str(e)
    versions = {k: v for k, v in tree(root).items() if "/versions/" not in k}
    assert versions == {k: v for k, v in before.items() if "/versions/" not in k}


def test_an_unknown_event_of_no_consequence_is_passed_over(root):
    """An event that need not be understood changes nothing and stops nobody."""
    for folder in ("policies", "models/churn/journal", "models/churn/decisions"):
        append_event(root, folder, kind="version.admired", must_understand=False, by="ana")

    assert [use for use in USES if outcome(use, root)] == []
    assert mv.Registry(root).verify()


# ---- truncated and hand-edited JSON ------------------------------------------------------------

FILES = {
    "registry": "registry.json",
    "policies": "policies/000000000001.json",
    "entry": "models/churn/journal/000000000001.json",
    "last entry": "models/churn/journal/000000000003.json",
    "decision": "models/churn/decisions/000000000001.json",
    "claim": "models/churn/versions/1/claim.json",
    "version": "models/churn/versions/1/version.json",
}


def without(field):
    """Give an edit that takes a field away."""
    return lambda data: json.dumps(
        {k: v for k, v in json.loads(data).items() if k != field}
    ).encode()


def with_field(**fields):
    """Give an edit that sets fields."""
    return lambda data: json.dumps({**json.loads(data), **fields}).encode()


EDITS = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "text": lambda data: b"hello",
    "a list": lambda data: b"[]",
    "null": lambda data: b"null",
    "zeros": lambda data: bytes(len(data)),
    "not utf-8": lambda data: data.replace(b"a", b"\xff", 1),
    "a key twice": lambda data: data.replace(b"{", b'{"nonce":"x","nonce":"y",', 1),
    "deeply nested": lambda data: data.replace(
        b"{", b'{"more":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b",", 1
    ),
    "a huge number": lambda data: data.replace(b"{", b'{"more":1e999,', 1),
    "no actor": without("actor"),
    "actor is text": with_field(actor="ana"),
    "a time that is none": with_field(time="yesterday", created_at="yesterday"),
    "another number": with_field(number=7, position=7, format=0),
}
# What registry.json says beside its format and id is bound by nothing.
HARMLESS = {("registry", "a time that is none"), ("registry", "another number")}
RIGHT = {"churn:1": "one", "churn:2": "two"}


@pytest.mark.parametrize("change", EDITS)
@pytest.mark.parametrize("kind", FILES)
def test_an_edited_file_is_named_by_verify(kind, change, root):
    """verify raises an error of ours, or reports a problem, that names the file or the entry."""
    path = edited(root, kind, change)

    try:
        said = [str(problem) for problem in mv.Registry(root).verify().problems]
    except (IntegrityError, NotARegistryError) as e:
        assert kind in ("registry", "policies"), repr(e)
        said = [str(e)]

    assert any(names(text, path) for text in said) or (kind, change) in HARMLESS, said


@pytest.mark.parametrize("change", EDITS)
@pytest.mark.parametrize("kind", FILES)
def test_an_edited_file_gives_one_typed_error(kind, change, root):
    """Every use raises an error of ours that names the file, or gives what was committed."""
    path = edited(root, kind, change)

    for reference, value in RIGHT.items():
        try:
            assert mv.Registry(root).load(reference) == value
        except (IntegrityError, NotARegistryError) as e:
            assert names(str(e), path), repr(e)
    for use in USES:
        e = outcome(use, root)
        if isinstance(e, BrokenJournalWarning):
            assert use in GO_ON and names(str(e), path), repr(e)
        else:
            assert e is None or isinstance(e, (IntegrityError, NotARegistryError)), repr(e)


def edited(root, kind, change):
    """Edit a file of the registry and give its path."""
    path = root / FILES[kind]
    path.chmod(0o644)
    path.write_bytes(EDITS[change](path.read_bytes()))
    return path


def names(text, path):
    """Tell whether a message names a file, or its journal and the entry's number."""
    entry = path.stem.isdigit() and f"entry {int(path.stem)}" in text
    return path.name in text or (entry and path.parent.name in text)


@pytest.mark.parametrize("change", EDITS)
def test_an_edited_directory_gives_one_typed_error_that_names_it(change, root, tmp_path):
    """A version.json that no journal vouches for is refused as what it is, or read unharmed."""
    folder = mv.Registry(root)["churn"][2].download(tmp_path / "copy")
    path = folder / "version.json"
    path.write_bytes(EDITS[change](path.read_bytes()))

    try:
        assert mv.open_directory(folder).load(allow_pickle=True) == "two"
    except RecordError as e:
        assert "version.json" in str(e)
        assert change not in ("another number", "a time that is none")
    else:
        assert change in ("another number", "a time that is none")


def test_the_key_that_stands_twice_is_named(root):
    """registry.json, a claim and a version.json with a key twice name the key."""
    for kind in ("registry", "claim"):
        path = root / FILES[kind]
        data = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(data.replace(b"{", b'{"twin":1,"twin":2,', 1))
        try:
            said = str(mv.Registry(root).verify())
        except RecordError as e:
            said = str(e)
        assert "'twin' twice" in said
        path.write_bytes(data)


def test_a_changed_version_json_is_refused_before_it_is_read(root):
    """Other bytes are a digest mismatch, another length a size mismatch, by the journal's word."""
    path = root / FILES["version"]
    data = path.read_bytes()
    path.chmod(0o644)
    for changed, error in [
        (data.replace(b"o", b"0", 1), DigestMismatchError),
        (data + b" ", SizeMismatchError),
        (data[:-1], SizeMismatchError),
    ]:
        path.write_bytes(changed)
        with pytest.raises(error, match=r"version\.json"):
            mv.Registry(root).load("churn:1")


def test_a_replaced_entry_breaks_the_chain(root):
    """An entry whose bytes are another's is a journal error, though it parses."""
    edit(root / FILES["entry"], lambda value: value["actor"].update(name="mallory"))

    with pytest.raises(JournalError, match="entry 2 does not continue"):
        mv.Registry(root).load("churn:1")
