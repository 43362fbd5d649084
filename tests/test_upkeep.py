"""End of life: withdraw, restore, delete, prune, gc, usage and verify."""

import errno
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

import modelversion as mv
from modelversion import layout
from modelversion.errors import (
    BytesLeftWarning,
    ConflictError,
    FileMissingError,
    InUseError,
    InvalidInputError,
    InvalidValueError,
    ModelVersionError,
    VersionNotFoundError,
)

NOW = timedelta(0)


def version_folder(registry, number, model="churn"):
    return Path(registry.url, "models", model, "versions", str(number))


def entries(registry, kind, model="churn"):
    found = sorted(Path(registry.url, "models", model, kind).glob("0*.json"))
    return [json.loads(path.read_text()) for path in found]


def left(registry, number):
    folder = version_folder(registry, number)
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


# ---- withdraw and restore


def test_a_withdrawal_is_recorded(churn, registry):
    """Who, when, why and what instead stand in the journal."""
    churn[1].withdraw(reason="bad labels", use_instead=2)

    entry = entries(registry, "decisions")[-1]
    assert entry["event"]["kind"] == "version.withdrawn"
    assert entry["event"]["reason"] == "bad labels"
    assert entry["event"]["use_instead"] == 2
    assert entry["actor"]["name"] == "ana@team"
    assert mv.Registry(registry.url)["churn"][1].withdrawn == "bad labels"


@pytest.mark.parametrize("reason", ["", " ", 5, None, "x" * 10_001, "\ud800"])
@pytest.mark.parametrize("act", ["withdraw", "restore", "delete"])
def test_a_reason_is_needed(churn, registry, act, reason):
    """An empty or an endless one is refused, and nothing is decided."""
    with pytest.raises(InvalidValueError, match="reason"):
        getattr(churn[1], act)(reason=reason)
    assert entries(registry, "decisions") == []


def test_what_is_so_already_is_a_conflict(churn):
    """Withdrawing twice, and restoring what is not withdrawn, are refused."""
    with pytest.raises(ConflictError, match="churn:1 is not withdrawn"):
        churn[1].restore(reason="r")
    churn[1].withdraw(reason="r")
    with pytest.raises(ConflictError, match="churn:1 is withdrawn already"):
        churn[1].withdraw(reason="again")

    assert churn[1].withdrawn == "r"


def test_a_deleted_version_cannot_be_withdrawn(churn):
    """A handle that still has it is told."""
    version = churn[1]
    version.delete(reason="r")

    with pytest.raises(VersionNotFoundError, match="churn:1 was deleted"):
        version.withdraw(reason="r")


# ---- delete


def test_a_deleted_version_leaves_a_tombstone(churn, registry):
    """Bytes are gone, the claim stays; number, reason, digests and sizes are in the journal."""
    version = churn[2]
    files = {file.path: (file.size, file.sha256) for file in version.files}

    version.delete(reason="erasure request 9")

    assert left(registry, 2) == ["claim.json"]
    entry = entries(registry, "decisions")[-1]
    event = entry["event"]
    assert (event["number"], event["reason"]) == (2, "erasure request 9")
    assert event["sha256"] == version.digest
    kept = {file["path"]: (file["size"], file["sha256"]) for file in event["files"]}
    assert files.items() <= kept.items()
    assert kept["version.json"][1] == version.digest
    assert registry.verify().ok


def test_a_deleted_version_is_gone_for_everyone(churn, registry):
    """For this handle, for a new one, and for one that held it."""
    held = mv.Registry(registry.url).get("churn:2")
    held.load()
    churn[2].delete(reason="r")

    for ask in (
        lambda: registry.get("churn:2"),
        lambda: mv.Registry(registry.url).load("churn:2"),
        held.load,
    ):
        with pytest.raises(VersionNotFoundError, match="churn:2 was deleted"):
            ask()
    assert [v.number for v in registry.search()] == [1, 3]


def test_a_number_is_never_used_again(churn, registry):
    """The next version goes on counting."""
    churn[3].delete(reason="r")

    assert registry.save("churn", {"w": 9}).number == 4


def test_what_an_alias_holds_is_not_deleted(churn, registry):
    """The error names the aliases, and nothing is removed."""
    churn.set_alias("champion", 2)
    churn.set_alias("best", 2)

    with pytest.raises(InUseError, match="churn:2 is held by the alias 'best', 'champion'"):
        churn[2].delete(reason="r")
    assert churn[2].verify().ok
    churn.delete_alias("champion")
    churn.delete_alias("best")
    churn[2].delete(reason="r")
    assert 2 not in churn


def test_a_version_is_deleted_once(churn):
    """The second time it is not there."""
    version = churn[2]
    version.delete(reason="r")

    with pytest.raises(VersionNotFoundError, match="churn:2 was deleted"):
        version.delete(reason="r")


def test_a_broken_version_can_be_deleted(churn, registry):
    """Its `version.json` is gone, its number and digest are known."""
    (version_folder(registry, 2) / "version.json").unlink()

    mv.Registry(registry.url)["churn"][2].delete(reason="broken")

    assert left(registry, 2) == ["claim.json"]
    assert registry.verify().ok


def test_a_version_of_many_files_can_be_deleted(registry):
    """However many and however long their paths: the tombstone fits its entry."""
    paths = [f"{'deep/' * 30}{i:04d}-{'x' * 200}" for i in range(400)]
    version = registry.save("churn", artifacts=dict.fromkeys(paths, "a"))

    version.delete(reason="größe " * 1600)

    assert left(registry, 1) == ["claim.json"]
    assert registry.verify().ok


# ---- twins


@pytest.fixture
def twins(registry):
    """Versions 1, 2 and 4 of a model hold one object, version 3 another."""
    for weights, number in ((1, 1), (1, 2), (2, 3), (1, 4)):
        registry.save("churn", {"weights": weights}, params={"n": number})
    return registry["churn"]


def test_an_erasure_names_the_twins(twins, registry):
    """Bytes that other versions hold too would not be gone."""
    with pytest.raises(InUseError, match=r"churn:2, churn:4 hold the same object as churn:1"):
        twins[1].delete(reason="erasure")
    assert len(twins) == 4
    assert entries(registry, "decisions") == []


def test_an_erasure_everywhere_deletes_the_twins(twins):
    """All of them, and no other."""
    twins[2].delete(reason="erasure", everywhere=True)

    assert [version.number for version in twins] == [3]
    assert twins.verify().ok


def test_an_erasure_everywhere_is_all_or_nothing(twins, registry):
    """Where an alias holds one of the twins, none is deleted."""
    twins.set_alias("champion", 4)

    with pytest.raises(InUseError, match="churn:4 is held by the alias 'champion'"):
        twins[1].delete(reason="erasure", everywhere=True)
    assert len(twins) == 4
    assert twins.verify().ok


def test_an_erasure_names_twins_of_other_models(registry):
    """Bytes under another model's name are the same bytes."""
    first = registry.save("churn", {"weights": 1})
    registry.save("fraud", {"weights": 1})

    with pytest.raises(InUseError, match="fraud:1 holds the same object as churn:1"):
        first.delete(reason="erasure")


def test_an_erasure_everywhere_deletes_twins_of_other_models(twins, registry):
    """And leaves what else they have."""
    for weights in (1, 2):
        registry.save("fraud", {"weights": weights})

    twins[1].delete(reason="erasure", everywhere=True)

    assert [version.ref for version in registry.search()] == ["churn:3", "fraud:2"]
    assert registry.verify().ok


def test_an_alias_of_another_model_refuses_an_erasure_everywhere(twins, registry):
    """It is named, and nothing is deleted."""
    registry.save("fraud", {"weights": 1})
    registry["fraud"].set_alias("champion", 1)

    with pytest.raises(InUseError, match="fraud:1 is held by the alias 'champion'"):
        twins[1].delete(reason="erasure", everywhere=True)
    assert (len(twins), len(registry["fraud"])) == (4, 1)


def test_versions_without_objects_are_no_twins(registry):
    """That both hold nothing is no reason to keep them."""
    first = registry.save("churn", params={"n": 1})
    registry.save("churn", params={"n": 2})

    first.delete(reason="r")

    assert len(registry["churn"]) == 1


# ---- prune


@pytest.fixture
def ten(registry):
    """Ten versions with rising auc but for the first, which has the highest."""
    for i in range(1, 11):
        registry.save("churn", {"w": i}, metrics={"auc": 0.99 if i == 1 else 0.5 + i / 100})
    return registry["churn"]


def numbers(model):
    return [version.number for version in model]


def test_prune_keeps_the_newest(ten):
    """And tells what it deleted, what it kept and how many bytes went."""
    report = ten.prune(keep=3)

    assert report.deleted == (1, 2, 3, 4, 5, 6, 7)
    assert report.kept == (8, 9, 10)
    assert report.bytes > 0
    assert not report.dry_run
    assert f"deleted 7 versions, {report.bytes:,} bytes; 3 kept" in str(report)
    assert "1, 2, 3, 4, 5, 6, 7" in str(report)
    assert numbers(ten) == [8, 9, 10]
    assert ten.verify().ok


def test_prune_keeps_the_best_and_what_aliases_hold(ten):
    """Besides the newest."""
    ten.set_alias("champion", 4)

    assert ten.prune(keep=2, keep_best=("auc", 1)).kept == (1, 4, 9, 10)
    assert numbers(ten) == [1, 4, 9, 10]


def test_a_dry_run_deletes_nothing(ten):
    """It tells what a run would do."""
    report = ten.prune(keep=3, dry_run=True)

    assert report.dry_run
    assert report.deleted == (1, 2, 3, 4, 5, 6, 7)
    assert numbers(ten) == list(range(1, 11))
    assert ten.prune(keep=3).deleted == report.deleted


@pytest.mark.parametrize(("keep", "kept"), [(0, []), (10, list(range(1, 11))), (99, None)])
def test_prune_counts_from_none_to_all(ten, keep, kept):
    """Keeping none deletes all; keeping more than there are deletes none."""
    ten.prune(keep=keep)

    assert numbers(ten) == (list(range(1, 11)) if kept is None else kept)


@pytest.mark.parametrize("keep", [-1, True, 1.5, "3", None])
def test_keep_is_a_number_of_versions(ten, keep):
    """Anything else is refused, and nothing is deleted."""
    with pytest.raises(InvalidInputError, match="keep must be a number of versions"):
        ten.prune(keep=keep)
    assert len(ten) == 10


@pytest.mark.parametrize(
    "best", ["auc", ("auc", -1), ("auc", "1"), ("auc", True), (5, 1), ("auc",)]
)
def test_keep_best_is_a_metric_and_a_number(ten, best):
    """Anything else is refused, and nothing is deleted."""
    with pytest.raises(InvalidInputError):
        ten.prune(keep=1, keep_best=best)
    assert len(ten) == 10


def test_prune_needs_the_direction_of_a_metric(registry):
    """Without it, the best could be the worst."""
    for i in range(3):
        registry.save("churn", {"w": i}, metrics={"depth": i})

    with pytest.raises(InvalidInputError, match="higher_is_better"):
        registry["churn"].prune(keep=1, keep_best=("depth", 1))
    assert len(registry["churn"]) == 3


# ---- gc


def crash(registry, number, clock=None):
    """Leave what a save leaves that dies before its commit."""
    line = registry["churn"]._line
    folder = version_folder(registry, number)
    from modelversion.versions import claim_number

    line.taken = number - 1
    claim = claim_number(line)
    assert claim.number == number
    (folder / "object").mkdir()
    (folder / "object" / "object.pkl").write_bytes(b"half")
    line.taken = 0


def test_gc_abandons_what_was_never_committed(churn, registry):
    """The claim stays, the bytes go, the number is explained and not used again."""
    crash(registry, 4)
    before = registry.verify()

    report = registry.gc(older_than=NOW)

    assert before.ok and [p.what for p in before.pending] == ["claimed and not committed yet"]
    assert report.abandoned == ("churn:4",)
    assert "models/churn/versions/4/object/object.pkl" in report.removed
    assert str(report).startswith(f"gc: removed {len(report.removed)} files, 1 abandoned numbers")
    assert left(registry, 4) == ["claim.json"]
    assert registry.verify().pending == ()
    with pytest.raises(VersionNotFoundError, match="claimed and never committed; it was abandoned"):
        registry.get("churn:4")
    assert mv.Registry(registry.url).save("churn", {"w": 9}).number == 5


def test_gc_leaves_what_is_young(churn, registry):
    """A save that is running is not disturbed."""
    crash(registry, 4)

    report = registry.gc()

    assert report.abandoned == report.removed == ()
    assert "object/object.pkl" in left(registry, 4)


def test_age_is_told_by_the_claim(tmp_path, clock):
    """By the clock of the registry, not by the times of files."""
    registry = mv.Registry(tmp_path / "r", clock=clock)
    registry.save("churn", {"w": 1})
    crash(registry, 2)

    assert registry.gc(older_than=timedelta(hours=1)).abandoned == ()
    clock.now += timedelta(hours=2)
    assert registry.gc(older_than=timedelta(hours=1)).abandoned == ("churn:2",)


def test_a_dry_run_of_gc_changes_nothing(churn, registry):
    """It tells what a run would do."""
    crash(registry, 4)
    files = sorted(Path(registry.url).rglob("*"))

    report = registry.gc(older_than=NOW, dry_run=True)

    assert report.dry_run
    assert report.abandoned == ("churn:4",)
    assert sorted(Path(registry.url).rglob("*")) == files
    done = registry.gc(older_than=NOW)
    assert done.abandoned == report.abandoned
    assert set(report.removed) <= set(done.removed)


def test_a_dry_run_tells_the_files_of_what_it_would_abandon(churn, registry):
    """What would be removed is listed as a run lists it."""
    crash(registry, 4)

    assert registry.gc(older_than=NOW, dry_run=True).removed == registry.gc(older_than=NOW).removed


def test_gc_sweeps_what_a_delete_left(churn, registry):
    """Bytes that a crash kept after the tombstone are removed."""
    data = (version_folder(registry, 2) / "version.json").read_bytes()
    churn[2].delete(reason="r")
    (version_folder(registry, 2) / "version.json").write_bytes(data)

    assert [p.what for p in registry.verify().pending] == ["deleted, and its bytes are still there"]
    assert registry.gc().removed == ("models/churn/versions/2/version.json",)
    assert left(registry, 2) == ["claim.json"]


def test_a_deletion_whose_bytes_stay_is_one_all_the_same(churn, registry, monkeypatch):
    """The system refuses to unlink: the deletion stands, and says that a gc has to remove them."""

    def refuse(path, **_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refuse)
        with pytest.warns(BytesLeftWarning, match=r"churn:2 is deleted, .*gc\(\) removes the rest"):
            churn[2].delete(reason="r")

    assert 2 not in [version.number for version in churn.versions()]
    registry.gc()
    assert left(registry, 2) == ["claim.json"]


def test_gc_removes_temporaries(churn, registry):
    """Files and spools of writers that died, once they are old."""
    root = Path(registry.url)
    (root / "models/churn/journal/.tmp-0123").write_bytes(b"x")
    (root / ".tmp-4567").mkdir()
    (root / ".tmp-4567/1").write_bytes(b"x")
    (root / ".tmp-empty").mkdir()

    assert registry.gc().removed == ()
    removed = set(registry.gc(older_than=NOW - timedelta(seconds=5)).removed)
    assert {"models/churn/journal/.tmp-0123", ".tmp-4567/1", ".tmp-empty"} <= removed
    assert not [path for path in root.rglob("*") if path.name.startswith(".tmp-")]


def test_gc_touches_nothing_else(churn, registry):
    """What is committed, and what nobody knows, stays."""
    churn.set_alias("champion", 1)
    Path(registry.url, "models/churn/versions/1/artifacts").mkdir()
    Path(registry.url, "models/churn/versions/1/artifacts/foreign").write_text("x")
    files = sorted(Path(registry.url).rglob("*"))

    report = registry.gc(older_than=NOW)

    assert report.abandoned == report.removed == ()
    assert sorted(Path(registry.url).rglob("*")) == files


def test_nothing_is_removed_through_a_link(churn, registry, tmp_path):
    """A number's folder that leads elsewhere: gc and delete leave what is there, verify tells."""
    elsewhere = version_folder(registry, 2).rename(tmp_path / "elsewhere")
    version_folder(registry, 2).symlink_to(elsewhere)
    crash(registry, 4)
    version_folder(registry, 4).rename(tmp_path / "crashed")
    version_folder(registry, 4).symlink_to(tmp_path / "crashed")
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())

    assert registry.gc(older_than=NOW).removed == ()
    assert {problem.key[-10:] for problem in registry.verify().problems} == {
        "versions/2",
        "versions/4",
    }
    with pytest.warns(BytesLeftWarning, match="is a link"):
        churn[2].delete(reason="of its data")
    assert registry.gc(older_than=NOW).removed == ()

    after = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert after >= set(before) and (elsewhere / "version.json").exists()


def test_what_is_no_number_is_nobody_elses_to_clear(churn, registry):
    """A file or a folder that a person put beside the numbers stays, and stops nothing."""
    folder = version_folder(registry, 1).parent
    (folder / "README").write_text("mine")
    (folder / "\u00b2").mkdir()
    (folder / "\u00b2" / "file").write_text("mine")
    (folder / "7").write_text("mine")

    assert registry.gc(older_than=NOW).removed == ()
    assert [problem.key[-10:] for problem in registry.verify().problems] == ["versions/7"]
    assert {path.name for path in folder.iterdir()} >= {"README", "\u00b2", "7"}


def test_gc_of_a_model_is_of_that_model(churn, registry):
    """Other models' claims stay."""
    registry.save("fraud", 1.5)
    crash(registry, 4)

    assert registry["fraud"].gc(older_than=NOW).abandoned == ()
    assert churn.gc(older_than=NOW).abandoned == ("churn:4",)


def test_gc_is_idempotent(place):
    """The second run finds nothing, in a folder and in memory."""
    registry = mv.Registry(place)
    version = registry.save("churn", {"w": 1})
    registry.save("churn", {"w": 2})
    version.delete(reason="r")

    assert registry.gc(older_than=NOW).removed == registry.gc(older_than=NOW).removed == ()
    assert registry.verify().ok


@pytest.mark.parametrize("age", [5, "1 day", None])
def test_an_age_is_a_timedelta(churn, registry, age):
    """Anything else is one of our errors."""
    with pytest.raises(ModelVersionError, match="older_than"):
        registry.gc(older_than=age)


# ---- a writer that was abandoned


def test_a_slow_save_takes_another_number(churn, registry):
    """A save whose claim was abandoned meanwhile commits under the next one."""
    from modelversion import versions

    line = registry["churn"]._line
    seen = []
    original = versions.fill

    def slow(line, claim, *rest):
        result = original(line, claim, *rest)
        if not seen:
            seen.append(claim.number)
            mv.Registry(registry.url).gc(older_than=NOW)
        return result

    versions.fill = slow
    try:
        version = registry.save("churn", {"w": 9})
    finally:
        versions.fill = original

    assert seen == [4]
    assert version.number == 5
    assert version.load() == {"w": 9}
    assert list(line.facts.head().state.abandoned) == [4]
    assert registry.verify().ok


# ---- tables after deletions


def test_tables_survive_a_deletion_of_a_large_version(registry):
    """A version whose summary was cut, tagged and then deleted does not break the others."""
    large = registry.save("churn", {"w": 1}, params={"text": "x" * 20_000}, tags={"a": "y" * 900})
    registry.save("churn", {"w": 2})
    large.tag(team="risk")
    large.untag("a")
    large.delete(reason="r")

    fresh = mv.Registry(registry.url)
    assert [version.number for version in fresh.search()] == [2]
    assert fresh["churn"].versions().to_dict()["number"] == [2]
    assert fresh.verify().ok


@pytest.mark.parametrize("act", ["tag", "untag", "note"])
def test_a_deleted_version_is_not_written_to(churn, registry, act):
    """A tag or a note on what is gone is refused, as everything else about it."""
    version = churn[2]
    version.delete(reason="r")
    before = len(entries(registry, "journal"))

    with pytest.raises(VersionNotFoundError, match="churn:2 was deleted"):
        getattr(version, act)({"a": 1} if act == "tag" else "a")
    assert len(entries(registry, "journal")) == before


# ---- verify


def test_verify_names_what_is_broken(churn, registry):
    """Files that no load reads are found, too."""
    root = Path(registry.url, "models/churn/versions")
    (root / "1/claim.json").unlink()
    (root / "2/extra").write_text("x")
    (root / "3/object/object.pkl").unlink()
    (root / "9").mkdir()

    report = registry.verify()

    found = {problem.key.removeprefix("models/churn/versions/") for problem in report.problems}
    assert found == {"1/claim.json", "2/extra", "3/object/object.pkl"}
    assert not report.ok and not report
    assert "3 broken" in str(report)
    assert [problem.key for problem in report.pending] == ["models/churn/versions/9"]


def test_verify_finds_a_missing_folder(churn, registry):
    """Each number of a committed version has a folder."""
    import shutil

    shutil.rmtree(version_folder(registry, 2))

    problems = registry.verify().problems
    assert "models/churn/versions/2" in {problem.key for problem in problems}
    with pytest.raises(FileMissingError):
        registry.load("churn:2")


def test_verify_finds_a_foreign_model(churn, registry):
    """A folder that no entry knows is no model."""
    Path(registry.url, "models/stray/versions").mkdir(parents=True)

    (problem,) = registry.verify().problems
    assert (problem.key, problem.what) == ("models/stray", "is no model of the registry")


@pytest.mark.parametrize("change", ["swapped", "claims"])
def test_verify_finds_folders_that_changed_places(churn, registry, change):
    """A version stands under its own number, with its own claim."""
    one, two = version_folder(registry, 1), version_folder(registry, 2)
    if change == "claims":
        one, two = one / layout.CLAIM, two / layout.CLAIM
    one.rename(one.with_name("aside"))
    two.rename(one)
    one.with_name("aside").rename(two)

    assert len(mv.Registry(registry.url).verify().problems) >= 2


def test_verify_reports_each_number(churn, registry):
    """A report counts the versions that were read."""
    churn[1].delete(reason="r")

    report = registry.verify()

    assert (report.versions, report.subject) == (2, registry.url)
    assert str(report).endswith("2 versions verified, all good")
