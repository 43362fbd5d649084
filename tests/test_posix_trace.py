"""The operations of a save, an alias move and a deletion, against a strict model of POSIX."""

import copy
import json
import random
import re
import shutil
from datetime import timedelta

import attrs
import numpy as np
import pytest
from posix_model import Disk, Recorder, materialise

import modelversion as mv
from modelversion import layout

ENTRY = re.compile(r"/(journal|decisions|policies)/\d{12}\.json$")
VALUE = {"weights": [1.0, 2.0]}
LARGE = {f"w{i}": np.full(2**17 + i, i + 0.5) for i in range(3)} | {"b": np.full(1000, 9.5)}


@attrs.frozen
class Trace:
    """What an operation did: how to get the disk that it found, its events, what it promised."""

    base: str
    disk: object
    events: list
    version: int | None = None
    alias: bool = False


def record(base, root, work, *, disk=None, alias=False):
    """Do `work` with a fresh handle and record it."""
    start = copy.deepcopy(disk or Disk(base))
    with Recorder(base).recording() as recorder:
        version = work(mv.Registry(root))
    number = version.number if isinstance(version, mv.Version) else None
    return Trace(str(base), lambda: copy.deepcopy(start), recorder.events, number, alias)


def first_save(base):
    """The first save in a place whose parents do not exist either."""
    root = base / "new" / "registry"
    return record(base, root, lambda registry: registry.save("churn", VALUE))


def first_save_of_large_buffers(base):
    """The first save, of three arrays with a file each."""
    root = base / "registry"
    return record(base, root, lambda registry: registry.save("churn", LARGE))


def save(base):
    """A save beside two versions."""
    _two_versions(base)
    root = base / "registry"
    return record(base, root, lambda registry: registry.save("churn", VALUE))


def save_of_large_buffers(base):
    """A save of large arrays beside two versions."""
    _two_versions(base)
    root = base / "registry"
    return record(base, root, lambda registry: registry.save("churn", LARGE))


def save_of_shared_files(base):
    """A save whose large files are linked from the version before."""
    _two_versions(base)
    root = base / "registry"
    mv.Registry(root).save("churn", LARGE)
    again = {"tags": {"again": True}}
    return record(base, root, lambda registry: registry.save("churn", LARGE, **again))


def second_save_of_a_handle(base):
    """The second save of one handle, which need not sync every folder again."""
    _two_versions(base)
    registry = mv.Registry(base / "registry")
    registry.save("churn", "three")
    return record(base, base / "registry", lambda _: registry.save("churn", VALUE))


def alias(base):
    """An alias move."""
    _two_versions(base)
    mv.Registry(base / "registry")["churn"].set_alias("champion", 1)
    return record(base, base / "registry", _move_alias, alias=True)


def delete(base):
    """A deletion."""
    _two_versions(base)
    return record(base, base / "registry", lambda registry: registry["churn"][1].delete(reason="x"))


def _two_versions(base):
    registry = mv.Registry(base / "registry")
    registry.save("churn", "one")
    registry.save("churn", "two")


def _move_alias(registry):
    version = registry["churn"].latest
    registry["churn"].set_alias("champion", version)
    return version


def save_of_a_large_file(base):
    """An artifact that is too large to wait in memory."""
    _two_versions(base)
    (base / "large.bin").write_bytes(b"x" * (5 * 2**20))
    artifacts = {"large.bin": base / "large.bin"}
    return record(
        base,
        base / "registry",
        lambda registry: registry.save("churn", "three", artifacts=artifacts),
    )


SAVES = [
    save_of_a_large_file,
    first_save,
    first_save_of_large_buffers,
    save,
    save_of_large_buffers,
    save_of_shared_files,
    second_save_of_a_handle,
]
OPERATIONS = [*SAVES, alias, delete]


@pytest.fixture
def base(tmp_path):
    """A folder that is durable."""
    folder = tmp_path / "base"
    folder.mkdir()
    return folder


# ---- judging a trace ---------------------------------------------------------------------------


def judge(trace, events=None):
    """Give what a trace does wrong, in order."""
    disk, problems = trace.disk(), []
    for event in trace.events if events is None else events:
        problems += [f"before {event}: {what}" for what in before(disk, event)]
        disk.run(event)
    return problems + [f"acknowledged: {what}" for what in at_the_end(disk, trace)]


def before(disk, event):
    """Give what must not be as it is when an event begins."""
    if event.call == "link" and not is_spooled(event.paths[0]) and not is_proof(event.paths[1]):
        inode = disk.find(event.paths[0])
        if inode.synced != inode.data:
            yield "it shows a file whose bytes are not durable"
        if ENTRY.search(event.paths[1]):
            yield from before_entry(disk, event, json.loads(inode.data)["event"])
    if event.call == "unlink" and "/versions/" in event.paths[0]:
        yield from before_removal(disk, event.paths[0])


def is_spooled(path):
    """Tell whether a path is of a spool or of a version, whose files are linked into another."""
    return re.search(r"/\.tmp-[0-9a-f]+/\d+$", path) or "/.tmp-" not in path


def is_proof(path):
    """Tell whether a path is one that readers pass over and that is gone again at once."""
    return "/.tmp-" in path


def before_entry(disk, event, said):
    """An entry may show a version only when the version is durable."""
    if said["kind"] == "version.committed":
        folder = re.sub(r"/journal/.*", f"/versions/{said['number']}", event.paths[1])
        for path in version_files(disk, folder):
            if lost := disk.lost(path):
                yield lost


def before_removal(disk, path):
    """The bytes of a version go only when the entry that says so is durable."""
    if path.rsplit("/", 1)[-1].startswith(layout.TEMPORARY):
        return
    folder = re.sub(r"/versions/.*", "/decisions", path)
    deleted = [e for e in entries(disk, folder) if b"version.deleted" in disk.find(e).data]
    if not any(disk.lost(entry) is None for entry in deleted):
        yield "no durable entry says that the version is deleted"


def at_the_end(disk, trace):
    """Give what may still be lost when the call returned."""
    for path in wanted(disk, trace):
        if lost := disk.lost(path):
            yield lost


def wanted(disk, trace):
    """Name everything that a reader needs to find what was acknowledged."""
    root = f"{trace.base}/new/registry"
    root = root if disk.find(root) else f"{trace.base}/registry"
    yield f"{root}/{layout.REGISTRY}"
    yield from entries(disk, f"{root}/policies")
    yield from entries(disk, f"{root}/models/churn/journal")
    if trace.alias or trace.version is None:
        yield from entries(disk, f"{root}/models/churn/decisions")
    if trace.version is not None:
        yield from version_files(disk, f"{root}/models/churn/versions/{trace.version}")


def entries(disk, folder):
    """Name the entries of a journal."""
    names = disk.find(folder).names if disk.find(folder) else ()
    return [f"{folder}/{name}" for name in sorted(names) if name[:12].isdigit()]


def version_files(disk, folder):
    """Name the claim, version.json, and every file that it lists."""
    yield f"{folder}/{layout.CLAIM}"
    yield f"{folder}/{layout.VERSION}"
    found = disk.find(f"{folder}/{layout.VERSION}")
    if found is not None:
        listed = json.loads(found.data)["files"]
        yield from (f"{folder}/{file['path']}" for file in listed)


# ---- what must hold ----------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_what_is_acknowledged_is_durable(operation, base):
    """No power cut after the call takes a file or a name away that a reader needs, and no entry
    ever shows what is not durable."""
    trace = operation(base)

    assert len(trace.events) > 5
    assert judge(trace) == []


def test_the_trace_covers_all_that_is_on_the_disk(base):
    """Replayed on the model, the recorded calls give the very tree that is on the disk."""
    trace = first_save_of_large_buffers(base)
    disk = trace.disk()
    for event in trace.events:
        disk.run(event)

    assert disk.as_seen() == Disk(base).as_seen()


def _tag(registry):
    registry["churn"].latest.tag(seen=True)
    return registry["churn"].latest


FOLLOWERS = {
    "first_save then save": (first_save, lambda registry: registry.save("churn", "next"), False),
    "save then save": (save, lambda registry: registry.save("churn", "next"), False),
    "save then alias": (save, _move_alias, True),
    "alias then alias": (alias, _move_alias, True),
    "save then tag": (save, _tag, False),
    "delete then save": (delete, lambda registry: registry.save("churn", "next"), False),
    "delete then gc": (delete, lambda registry: registry.gc(), False),
}


@pytest.mark.parametrize("pair", FOLLOWERS)
def test_what_is_acknowledged_on_top_of_a_killed_writer_is_durable(pair, base):
    """A writer is killed between any two calls, another goes on, then the power fails: what the
    second was told is durable, with all that it builds on."""
    operation, work, moves = FOLLOWERS[pair]
    trace = operation(base)
    disk, found = trace.disk(), {}
    for i, event in enumerate(trace.events):
        disk.run(event)
        if event.call not in ("link", "mkdir", "create", "unlink"):
            continue
        shutil.rmtree(base)
        materialise(disk.as_seen(), base)
        root = base / ("new/registry" if operation is first_save else "registry")
        follower = record(base, root, work, disk=disk, alias=moves)
        for problem in judge(follower):
            found.setdefault(problem, f"first after call {i}, {event}")

    assert found == {}


CUTS = [first_save, save, save_of_large_buffers, alias, delete]


@pytest.mark.parametrize("operation", CUTS, ids=lambda operation: operation.__name__)
def test_a_power_cut_at_any_moment_leaves_a_registry(operation, base, tmp_path):
    """After a cut between any two calls that keeps nothing, all, or any part of what was not
    synced, readers see whole versions, the next save works, and gc clears the rest."""
    trace = operation(base)
    dice = random.Random(1)
    disk, seen = trace.disk(), set()
    for event in [*trace.events, None]:
        for keep in (lambda: False, lambda: True, lambda: dice.random() < 0.5):
            tree = disk.after_a_cut(keep)
            if event is not None and fingerprint(tree) in seen:
                continue
            seen.add(fingerprint(tree))
            place = tmp_path / f"cut-{len(seen)}"
            materialise(tree, place)
            survives(place, trace, acknowledged=event is None)
            shutil.rmtree(place)
        if event is not None:
            disk.run(event)

    assert len(seen) >= 4


def fingerprint(tree):
    """Give a value that equal trees share, but for nonces in temporary names."""
    if isinstance(tree, bytes):
        return hash(tree)
    return hash(frozenset((name, fingerprint(inode)) for name, inode in tree.items()))


def survives(place, trace, *, acknowledged):
    """Check a registry that a power cut left."""
    root = place / ("new/registry" if (place / "new").exists() else "registry")
    registry = mv.Registry(root)
    for version in registry.search():
        version.load()
    assert registry.verify().ok, str(registry.verify())
    if acknowledged and trace.version is not None:
        assert registry["churn"][trace.version].verify().ok
    if acknowledged and trace.alias:
        assert registry["churn"].aliases == {"champion": trace.version}
    saved = registry.save("churn", "the next one")
    assert registry.load(saved.ref) == "the next one"
    registry.gc(older_than=timedelta(0))
    report = mv.Registry(root).verify()
    assert (report.problems, report.pending) == ((), ())


# ---- mutants: every fsync left out in turn ------------------------------------------------------

LEFT_OUT = {
    "of a data file": r"/versions/1/object/object\.pkl$",
    "of version.json": r"/versions/1/version\.json$",
    "of the packed buffers": r"/versions/1/object/buffers\.bin$",
    "of spooled buffers": r"/\.tmp-[0-9a-f]+/\d+$",
    "of one spooled buffer": r"/\.tmp-[0-9a-f]+/2$",
    "of the entry's temporary": r"/churn/journal/\.tmp-[0-9a-f]+$",
    "of the claim's temporary": r"/versions/1/\.tmp-[0-9a-f]+$",
    "of the model's entry": r"/policies/\.tmp-[0-9a-f]+$",
    "of registry.json's temporary": r"/registry/\.tmp-[0-9a-f]+$",
    "of the version folder": r"/versions/1$",
    "of object/": r"/versions/1/object$",
    "of versions/": r"/versions$",
    "of the journal folder": r"/churn/journal$",
    "of the model folder": r"/models/churn$",
    "of models/": r"/models$",
    "of policies/": r"/policies$",
    "of the root": r"/registry$",
    "of the folder above the root": r"/base$",
}


@pytest.mark.parametrize("mutant", LEFT_OUT)
def test_mutant_without_an_fsync_is_caught(mutant, base):
    """Each fsync of a first save is needed: without it the model finds something to lose."""
    trace = first_save_of_large_buffers(base)
    target = re.compile(LEFT_OUT[mutant])

    kept = [e for e in trace.events if not (e.call == "fsync" and target.search(e.paths[0]))]

    assert len(kept) < len(trace.events)
    assert judge(trace, kept)


def test_mutants_without_an_fsync_of_an_alias_and_a_deletion_are_caught(base):
    """The entry's own fsync and its folder's are needed for decisions too."""
    for i, operation in enumerate([alias, delete]):
        folder = base / str(i) / "base"
        folder.mkdir(parents=True)
        trace = operation(folder)
        for target in (r"/decisions/\.tmp-[0-9a-f]+$", r"/decisions$"):
            kept = [
                e for e in trace.events if not (e.call == "fsync" and re.search(target, e.paths[0]))
            ]
            assert len(kept) < len(trace.events)
            assert judge(trace, kept), target


def test_no_fsync_of_a_first_save_is_left_out_unseen(base):
    """Whatever is synced and still there at the end is caught when its fsync is left out."""
    trace = first_save_of_large_buffers(base)
    disk = trace.disk()
    files = {}
    for event in trace.events:
        disk.run(event)
        if event.call in ("open", "create"):
            files[event.file] = disk.find(event.paths[0])
    reachable = set(everything(disk.root))
    synced = {files[e.file] for e in trace.events if e.call == "fsync"}

    for inode in synced & reachable:
        kept = [e for e in trace.events if e.call != "fsync" or files[e.file] is not inode]
        assert judge(trace, kept), next(e.paths for e in trace.events if files.get(e.file) is inode)


def everything(folder):
    """Give a folder and all that is below it."""
    yield folder
    for inode in folder.names.values():
        if hasattr(inode, "names"):
            yield from everything(inode)
        else:
            yield inode


def test_mutant_that_syncs_after_the_link_is_caught(base):
    """Bytes that become durable only after the entry shows them are too late."""
    trace = first_save_of_large_buffers(base)
    late = [e for e in trace.events if e.call == "fsync" and "/versions/1" in e.paths[0]]

    found = judge(trace, [*[e for e in trace.events if e not in late], *late])

    assert found
    assert not any(problem.startswith("acknowledged") for problem in found)


def test_mutant_that_writes_entries_in_place_is_caught(base):
    """An entry that is created under its name and written then can be seen empty."""
    trace = save(base)
    disk = trace.disk()
    entry = next(e for e in trace.events if e.call == "link" and ENTRY.search(e.paths[1]))
    for event in trace.events[: trace.events.index(entry)]:
        if not (event.call == "fsync" and event.paths[0] == entry.paths[0]):
            disk.run(event)

    assert list(before(disk, entry)) == ["it shows a file whose bytes are not durable"]


def test_mutant_that_removes_before_the_tombstone_is_caught(base):
    """Bytes that go before the deletion is durable may be missed by the version that stays."""
    trace = delete(base)
    removals = [e for e in trace.events if e.call == "unlink" and "/versions/" in e.paths[0]]

    assert removals
    assert judge(trace, [*removals, *[e for e in trace.events if e not in removals]])
