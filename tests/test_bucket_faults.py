"""Every request of every write to a bucket fails in every way, once and for ever.

The bucket is a dictionary behind fsspec's asynchronous interface that creates once as buckets
do; the adapter, the journals and everything above are the real ones. After each fault: what was
acknowledged is there and true, what was not is absent or whole, older versions are untouched, and
the same call succeeds when the fault is gone.
"""

import asyncio
import collections
import contextlib
import errno
import itertools
import json
import os
import tempfile
from pathlib import Path

import pytest
from fsspec.asyn import AsyncFileSystem

import modelversion as mv
from modelversion.errors import (
    ModelVersionError,
    OutcomeUnknownError,
    SaveError,
    UnsafeFilesystemError,
)
from modelversion.storage import _object
from modelversion.storage._link import Link

BUCKETS = {}
KINDS = ("before", "after", "timeout", "torn", "denied", "full", "stale")


class Bucket:
    """Keys and bytes, the requests so far, and which of them fails how."""

    def __init__(self, data=()):
        self.data = dict(data)
        self.calls = []
        self.fault = None
        self.start = None
        self.hits = 0

    async def do(self, what, path, effect):
        index = len(self.calls)
        self.calls.append((what, path))
        if self.fault is None:
            return effect()
        at, kind, for_ever = self.fault
        if index == at or (for_ever and index > at):
            self.hits += 1
            return await self._fail(kind, what, path, effect)
        return effect()

    async def _fail(self, kind, what, path, effect):
        if kind == "before":
            raise ConnectionResetError("reset before it arrived")
        if kind == "denied":
            raise PermissionError("you may not")
        if kind == "full":
            raise OSError(errno.ENOSPC, "quota exceeded")
        if kind == "stale":
            if what == "get":
                raise FileNotFoundError(path)
            return effect()
        if kind == "torn":
            if what in ("get", "list"):
                # A reply that breaks off is an error of every driver, never a shorter answer.
                raise EOFError("the reply broke off")
            # A bucket keeps a request whose body broke off out of sight.
            raise ConnectionResetError("reset in the middle of the body")
        with contextlib.suppress(OSError):
            effect()
        if kind == "timeout":
            await asyncio.sleep(3600)
        raise ConnectionResetError("reset before the reply")


class BucketFileSystem(AsyncFileSystem):
    """The part of fsspec's asynchronous interface that the adapter uses."""

    protocol = "bucket"

    def __init__(self, name, **more):
        super().__init__(**more)
        self.bucket = BUCKETS[name]

    async def _pipe_file(self, path, value, mode="overwrite", **more):
        def effect():
            if mode == "create" and path in self.bucket.data:
                raise FileExistsError(path)
            self.bucket.data[path] = bytes(value)

        await self.bucket.do("put", path, effect)

    async def _cat_file(self, path, start=None, end=None, **more):
        def effect():
            if path not in self.bucket.data:
                raise FileNotFoundError(path)
            return self.bucket.data[path][start:end]

        return await self.bucket.do("get", path, effect)

    async def _rm_file(self, path, **more):
        await self.bucket.do("delete", path, lambda: self.bucket.data.pop(path, None))

    async def _ls(self, path, detail=True, **more):
        def effect():
            found = {}
            for key, data in self.bucket.data.items():
                if key.startswith(f"{path}/"):
                    name, _, rest = key[len(path) + 1 :].partition("/")
                    kind = "directory" if rest else "file"
                    found[name] = {"name": f"{path}/{name}", "type": kind, "size": len(data)}
            return list(found.values())

        return await self.bucket.do("list", path, effect)


def registry_on(name):
    """Open a registry in a bucket."""
    store = _object.ObjectStore(
        Link(BucketFileSystem, f"bucket://{name}", options={"name": name}), "root", _object.GCS
    )
    registry = mv.Registry("memory://unused", allow_pickle=True, actor="ana")
    registry.__setstate__({**registry.__getstate__(), "store": store})
    return registry


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Time-outs of milliseconds, and a place for the bytes of failed saves."""
    monkeypatch.setattr(_object, "ATTEMPT_SECONDS", 0.05)
    monkeypatch.setattr(_object, "DEADLINE_SECONDS", 0.12)
    monkeypatch.setattr(_object, "_SLOWEST", float("inf"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    BUCKETS.clear()


def save(registry):
    return registry.save("churn", {"weights": [4]}).number


def first_save(registry):
    return registry.save("other", {"weights": [1]}).number


def alias(registry):
    registry["churn"].set_alias("champion", 2)


def tag(registry):
    registry["churn"][2].tag(team="risk")


def withdraw(registry):
    registry["churn"][1].withdraw(reason="bad labels")


def delete(registry):
    registry["churn"][1].delete(reason="erasure")


# Each with how a fresh handle sees that it has happened.
OPERATIONS = {
    save: lambda r: r["churn"].latest.load() == {"weights": [4]},
    first_save: lambda r: "other" in r and len(r["other"]) > 0,
    alias: lambda r: r["churn"].aliases.get("champion") == 2,
    tag: lambda r: dict(r["churn"][2].tags) == {"team": "risk"},
    withdraw: lambda r: r["churn"][1].withdrawn is not None,
    delete: lambda r: 1 not in [v.number for v in r["churn"].versions()],
}


def prepared():
    """Give the bytes of a registry with three versions and an alias on the third."""
    BUCKETS["made"] = Bucket()
    registry = registry_on("made")
    for i in range(1, 4):
        registry.save("churn", {"weights": [i]})
    registry["churn"].set_alias("champion", 3)
    return BUCKETS["made"].data


def warm(name):
    """Open a registry, and let it see what is there."""
    registry = registry_on(name)
    registry.load("churn@champion")
    registry["churn"].versions()
    registry._home.store.prove()
    return registry


def requests_of(operation, data):
    BUCKETS["count"] = Bucket(data)
    registry = warm("count")
    before = len(BUCKETS["count"].calls)
    operation(registry)
    return len(BUCKETS["count"].calls) - before


def swept(operation, data):
    """Do an operation with each fault; give what came of it, counted."""
    endings = collections.Counter()
    for index in range(requests_of(operation, data)):
        for kind in KINDS:
            for for_ever in (False, True) if kind != "stale" else (False,):
                name = f"{index}-{kind}-{for_ever}"
                bucket = BUCKETS[name] = Bucket(data)
                registry = warm(name)
                bucket.fault = (len(bucket.calls) + index, kind, for_ever)
                endings[_ending(operation, registry)] += 1
                bucket.fault = None
                assert bucket.hits, f"{name} hit nothing"
                _check(operation, name, data)
    return endings


def _ending(operation, registry):
    bucket = BUCKETS[_name(registry)]
    try:
        operation(registry)
        bucket.fault = bucket.start = None
    except ModelVersionError as e:
        cause = e.__cause__ if isinstance(e, SaveError) else e
        return "unknown" if isinstance(cause, OutcomeUnknownError) else "failed"
    return "acknowledged" if OPERATIONS[operation](registry_on(_name(registry))) else "lost"


def _name(registry):
    return registry.url.removeprefix("bucket://")


def _check(operation, name, data):
    fresh = registry_on(name)
    report = fresh.verify()
    assert report.ok, f"{name}: {report}"
    heads = fresh["churn"]._line.heads()
    assert [head.state.void for head in heads] == [0, 0], f"{name}: something was done twice"
    for number in (2, 3):
        assert fresh.load(f"churn:{number}") == {"weights": [number]}, name
    if not OPERATIONS[operation](fresh):
        operation(registry_on(name))
    assert OPERATIONS[operation](registry_on(name)), f"{name}: a retry did not help"
    assert registry_on(name).verify().ok, name
    kept = {key: value for key, value in data.items() if "/versions/1/" not in key}
    assert kept.items() <= BUCKETS[name].data.items(), f"{name}: something older was changed"


# A deletion has happened, whatever became of the bytes, and says that in a warning.
@pytest.mark.filterwarnings("ignore::modelversion.errors.BytesLeftWarning")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.__name__)
def test_a_fault_at_any_request_leaves_the_truth(operation):
    """Acknowledged is there; failed or unknown is absent or whole; a retry succeeds."""
    endings = swept(operation, prepared())

    assert endings["lost"] == 0
    assert endings["acknowledged"]
    assert endings["failed"] + endings["unknown"]


def promote(registry):
    registry["churn"][2].promote("staging", reason="better")


OPERATIONS[promote] = lambda r: r["churn"].stages.get("staging") == [2]


PAIRED = (save, alias, promote)
ENDS = (("after", "before"), ("before", "after"), ("after", "after"))


def pairs(count):
    """Give how many pairs of faults an operation of so many requests is put to; retries are two."""
    return len(ENDS) * sum(1 for a, b in itertools.combinations(range(count + 2), 2) if a < count)


@pytest.mark.parametrize("operation", PAIRED, ids=lambda o: o.__name__)
def test_pairs_of_faults_leave_the_truth(operation):
    """Two requests of one operation fail in turn; nothing acknowledged is lost, a retry works."""
    data = prepared()
    count = requests_of(operation, data)
    done = 0
    for first in range(count):
        for second in range(first + 1, count + 2):
            for kinds in ENDS:
                name = f"pair-{first}-{second}-{kinds}"
                bucket = BUCKETS[name] = _Twice(data, second, kinds)
                registry = warm(name)
                bucket.start, bucket.first = len(bucket.calls), first
                assert _ending(operation, registry) != "lost"
                bucket.start = None
                _check(operation, name, data)
                done += 1
    assert done == pairs(count) >= 40


class _Twice(Bucket):
    """A bucket where two requests fail."""

    def __init__(self, data, second, kinds):
        super().__init__(data)
        self.second, self.kinds = second, kinds

    async def do(self, what, path, effect):
        index = len(self.calls)
        self.calls.append((what, path))
        at = None if self.start is None else index - self.start
        if at is not None and at in (self.first, self.second):
            kind = self.kinds[at == self.second]
            return await self._fail(kind, what, path, effect)
        return effect()


# ---- what the sweep finds when a guard is taken away


def problems(operation):
    """Sweep until something is wrong; give what, None if nothing is."""
    try:
        endings = swept(operation, prepared())
    except (AssertionError, ModelVersionError) as e:
        return str(e) or type(e).__name__
    return "lost" if endings["lost"] else None


def test_mutant_no_create_once(monkeypatch):
    """A put that replaces overwrites what another writer has committed."""
    pipe_file = BucketFileSystem._pipe_file

    async def replacing(self, path, value, mode="overwrite", **more):
        await pipe_file(self, path, value, **more)

    data = prepared()
    monkeypatch.setattr(BucketFileSystem, "_pipe_file", replacing)
    BUCKETS["replaced"] = Bucket(data)

    with pytest.raises(UnsafeFilesystemError):
        warm("replaced")


def test_mutant_no_read_back(monkeypatch):
    """Whoever takes a lost reply for another's write is found."""

    async def blind(self, fs, refusal):
        if isinstance(refusal, FileExistsError):
            raise _object.KeyTaken(self._path)
        return False

    monkeypatch.setattr(_object._Creation, "_is_ours", blind)

    assert problems(save)


def test_mutant_an_error_is_an_acknowledgement(monkeypatch):
    """Whoever passes an error over acknowledges what is not there."""

    async def deaf(self, fs):
        await self._attempt(fs)

    monkeypatch.setattr(_object._Creation, "settle", deaf)

    assert problems(save)


def test_the_sweep_is_counted():
    """How many faults were tried is written where MODELVERSION_TEST_COUNTS says."""
    data = prepared()
    counts = {o.__name__: requests_of(o, data) for o in OPERATIONS}
    faults = {name: n * (2 * len(KINDS) - 1) for name, n in counts.items()}

    if os.environ.get("MODELVERSION_TEST_FAULTS"):
        report = {
            "single": faults,
            "pairs": {o.__name__: pairs(counts[o.__name__]) for o in PAIRED},
        }
        Path(os.environ["MODELVERSION_TEST_FAULTS"]).write_text(json.dumps(report))
    assert sum(faults.values()) > 200
