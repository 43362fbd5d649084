"""Copies between registries, and copied folders that go their own way."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest
from processes import threads_together, together

import modelversion as mv
from modelversion import _json, copying, versions
from modelversion.errors import (
    ConflictError,
    DigestMismatchError,
    FileMissingError,
    GateFailedError,
    InvalidInputError,
    NotARegistryError,
    OriginMismatchError,
    RecordError,
    VersionNotFoundError,
    WithdrawnWarning,
)


@pytest.fixture
def dev(tmp_path):
    """A registry of two models; churn:2 has parents, tags, notes, an alias and large buffers."""
    registry = mv.Registry(tmp_path / "dev", actor="ana@team")
    registry.save("base", {"w": 0})
    registry.save("Churn", {"w": 1})
    registry.save(
        "churn",
        {"big": np.arange(800_000.0), "small": np.arange(1000)},
        params={"C": 1},
        metrics={"auc": mv.metric(0.9, n=10)},
        artifacts={"a/roc.txt": "plot"},
        tags={"team": "risk", "run": 7},
        description="the second",
        parents=["base:1", "churn:1"],
    )
    version = registry["churn"][2]
    version.tag(owner="bo", run=8)
    version.untag("team")
    version.note("looks good")
    registry["churn"].set_alias("champion", 2)
    return registry


@pytest.fixture
def prod_place(tmp_path):
    """The folder of the target."""
    return tmp_path / "prod"


@pytest.fixture
def prod(prod_place):
    """An empty target."""
    return mv.Registry(prod_place, actor="release-bot")


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "claim.json"
    }


# ---- what a copy is


def test_a_copy_has_the_same_bytes_under_a_number_of_its_own(dev, prod, tmp_path):
    """Every file, `version.json` too, is the source's; number and claim are the target's."""
    prod.save("churn", {"another": 1})

    copy = dev.copy("churn@champion", to=prod)

    assert copy.ref == "churn:2" and prod["churn"].name == "churn"
    assert dev.copy("churn:1", to=prod).ref == "churn:3"
    assert copy.digest == dev["churn"][2].digest
    models = [tmp_path / name / "models/churn/versions/2" for name in ("dev", "prod")]
    assert files(models[0]) == files(models[1]) != {}
    np.testing.assert_array_equal(copy.load()["big"], np.arange(800_000.0))
    assert copy.load(mmap=True)["big"].flags.writeable is False
    assert prod.verify()


def test_a_copy_tells_what_was_recorded(dev, prod):
    """Params, metrics, description, who and when are those of the save."""
    source, copy = dev["churn"][2], dev.copy("churn:2", to=prod)

    assert copy.ref == "Churn:1"
    assert dict(copy.params) == {"C": 1} and dict(copy.metrics) == {"auc": 0.9}
    assert copy.description == "the second"
    assert (copy.created_at, str(copy.actor)) == (source.created_at, "ana@team")
    table = prod["churn"].versions(where="params.C = 1 and tags.owner = 'bo'").to_dict()
    assert table["actor"] == ["ana@team"]
    assert copy.open("a/roc.txt").read() == b"plot"


def test_tags_and_notes_go_along_and_names_do_not(dev, prod):
    """Tags are those of the moment of the copy; aliases are decisions of each registry."""
    copy = dev.copy("churn:2", to=prod)

    assert dict(copy.tags) == {"run": 8, "owner": "bo"}
    assert [(n["text"], n["actor"]) for n in copy.notes] == [("looks good", "ana@team")]
    assert copy.aliases == [] and prod["churn"].aliases == {}
    copy.tag(owner="prod")
    copy.note("arrived")
    assert dict(mv.Registry(prod.url)["churn"][1].tags) == {"run": 8, "owner": "prod"}
    assert [n["text"] for n in copy.notes] == ["looks good", "arrived"]
    assert dict(dev["churn"][2].tags) == {"run": 8, "owner": "bo"}


def test_a_copy_says_where_it_came_from(dev, prod):
    """The commit names source and origin, the source's heads, and what its journals said."""
    told = dev.copy("churn:2", to=prod).copied_from

    assert (told.registry, told.model, told.number) == (dev.id, "churn", 2)
    assert (told.origin.registry, told.origin.model, told.origin.number) == (dev.id, "churn", 2)
    assert str(told.actor) == "ana@team"
    checkpoint = dev.checkpoint()
    for folder, (position, digest) in told.heads.items():
        assert (position, digest) == (
            checkpoint.heads[folder].position,
            checkpoint.heads[folder].digest,
        )
    kinds = [(entry["event"]["kind"], entry["actor"]["name"]) for entry in told.history]
    assert kinds == [
        ("version.committed", "ana@team"),
        ("version.tagged", "ana@team"),
        ("version.tagged", "ana@team"),
        ("version.noted", "ana@team"),
        ("alias.set", "ana@team"),
    ]
    assert told.left_out is None
    assert dev["churn"][2].copied_from is None


def test_parents_are_named_as_they_stand_in_the_target(dev, prod):
    """A parent that was copied before has its number there; the source's names are kept."""
    prod.save("base", {"another": 1})
    dev.copy("base:1", to=prod)

    copy = dev.copy("churn:2", to=prod)

    assert copy.parents == ("base:2",)
    assert copy.copied_from.parents == ("base:1", "Churn:1")
    assert dev["churn"][2].parents == ("base:1", "Churn:1")


def test_a_parent_that_was_deleted_is_still_told(dev, prod):
    """What cannot be named in the target keeps the name that it had in the source."""
    dev["base"][1].delete(reason="gone", everywhere=True)

    copy = dev.copy("churn:2", to=prod)

    assert copy.parents == ()
    assert copy.copied_from.parents == ("base:1", "Churn:1")


def test_a_whole_model_or_a_list_is_copied_in_order(dev, prod):
    """A model gives all of its versions, so that parents in it come before their children."""
    copies = dev.copy(dev["churn"], to=prod)

    assert [copy.ref for copy in copies] == ["Churn:1", "Churn:2"]
    assert copies[1].parents == ("Churn:1",)
    assert dev.copy(["churn:2", dev["base"][1]], to=prod) == [copies[1], prod["base"][1]]
    assert dev.copy(dev["churn"].versions(where="params.C = 1"), to=prod) == [copies[1]]
    assert dev.copy([], to=prod) == []
    assert prod.verify()


def test_a_copy_of_a_copy_keeps_its_origin(dev, prod, tmp_path):
    """The origin stays, the history grows, and the way back ends at the original."""
    third = mv.Registry(tmp_path / "third", actor="carl")
    middle = dev.copy("churn:2", to=prod)
    middle.note("in the middle")
    middle.tag(stage="two")

    copy = prod.copy(middle, to=third)

    told = copy.copied_from
    assert told.origin.registry == dev.id and told.registry == prod.id
    assert [entry["registry"] for entry in told.history] == [dev.id] * 5 + [prod.id] * 3
    assert [n["text"] for n in copy.notes] == ["looks good", "in the middle"]
    assert copy.tags["stage"] == "two" and str(copy.actor) == "ana@team"
    assert third.copy(copy, to=dev) == dev["churn"][2]
    assert third.copy(copy, to=prod) == middle
    assert len(dev["churn"]) == 2
    assert third.verify()


@pytest.mark.parametrize("there", ["memory://copied", "folder"])
def test_places_of_any_kind_take_copies(dev, there, tmp_path):
    """From a folder into memory or another folder, and back."""
    other = mv.Registry(there if "://" in there else tmp_path / there)
    copy = dev.copy("churn:2", to=other)

    assert copy.load()["small"][5] == 5
    again = mv.Registry(tmp_path / "again")
    assert other.copy(copy, to=again).digest == copy.digest
    assert again.verify()


def test_a_copy_loads_in_another_process(dev, prod):
    """A pickled handle that has read nothing finds the commit that vouches for the origin."""
    copy = dev.copy("churn:2", to=prod)

    fresh = pickle.loads(pickle.dumps(copy))
    assert fresh.load()["small"][3] == 3
    assert mv.Registry(prod.url).load("churn:1")["small"][3] == 3


def test_saving_the_same_content_after_a_copy_is_a_repeat(prod, tmp_path):
    """A copy is the latest version like any other."""
    dev = mv.Registry(tmp_path / "dev")
    dev.save("m", {"w": 1})
    copy = dev.copy("m", to=prod)

    assert prod.save("m", {"w": 1}) == copy


def test_a_large_file_is_shared_with_the_version_before(dev, prod, prod_place):
    """What the target has already is linked, as in a save."""
    array = np.arange(800_000.0)
    for name in ("x", "y"):
        dev.save("churn", {"big": array}, tags={"name": name})
    dev.copy(["churn:3", "churn:4"], to=prod)

    folder = prod_place / "models/churn/versions"
    one, two = (os.stat(folder / n / "object/buffer-0.bin").st_ino for n in ("1", "2"))
    assert one == two


# ---- promoting across registries


def test_a_promotion_across_registries_is_one_call(dev, prod):
    """It is copied and promoted there, under the policies and by the actor of there."""
    prod.set_policy("production", after="staging")

    with pytest.raises(GateFailedError):
        dev["churn"][2].promote("production", to=prod, reason="too early")
    decision = dev["churn"][2].promote("staging", to=prod, reason="release 1")
    dev["churn"][2].promote("production", to=prod, reason="release 1")

    assert (decision.reason, str(decision.actor)) == ("release 1", "release-bot")
    assert prod["churn"]["production"].digest == dev["churn"][2].digest
    assert len(prod["churn"]) == 1
    assert dev["churn"].stages["production"] == []
    assert prod.verify()


def test_a_registry_adopts_a_version(dev, prod):
    """The same copy, from the target's side; parents are found as in a copy."""
    prod.adopt(dev["base"][1])
    copy = prod.adopt(dev["churn"][2])

    assert copy == dev.copy("churn:2", to=prod)
    assert copy.parents == ("base:1",)
    with pytest.raises(InvalidInputError, match="into itself"):
        dev.adopt(dev["churn"][2])


# ---- copying again


def test_copying_again_gives_the_copy_that_is_there(dev, prod):
    """Also in a new process, and whatever was said of it since."""
    copy = dev.copy("churn:2", to=prod)
    dev["churn"][2].note("later")

    assert dev.copy("churn:2", to=prod) == copy
    assert mv.Registry(dev.url).copy("churn:2", to=mv.Registry(prod.url)) == copy
    assert len(prod["churn"]) == 1
    assert len(copy.notes) == 1


def test_a_copy_that_was_deleted_can_be_made_again(dev, prod):
    """Under a new number, since numbers are never used twice."""
    dev.copy("churn:2", to=prod).delete(reason="a mistake")

    assert dev.copy("churn:2", to=prod).ref == "Churn:2"


def test_a_version_comes_back_from_a_copy_after_its_deletion(dev, prod):
    """A copy in the registry of its origin is one too, and loads."""
    copy = dev.copy("churn:2", to=prod)
    dev["churn"].delete_alias("champion")
    dev["churn"][2].delete(reason="a mistake")

    restored = prod.copy(copy, to=dev)

    assert restored.ref == "Churn:3"
    assert restored.load()["small"][5] == 5
    assert dev.verify()


def test_many_who_copy_at_once_make_one_copy(dev, prod):
    """Processes that copy the same version all get the same one, and leave nothing half done."""

    def job(i):
        target = mv.Registry(prod.url)
        return mv.Registry(dev.url).copy("churn:2", to=target).number

    numbers = together(job, list(range(5)))

    assert len(set(numbers)) == 1
    assert len(prod["churn"]) == 1
    report = prod.verify()
    assert report.ok and not report.pending


def test_threads_that_copy_at_once_make_one_copy(dev):
    """The same in memory."""
    target = mv.Registry("memory://copied")

    numbers = threads_together(lambda _: dev.copy("churn:2", to=target).number, range(5))

    assert len(set(numbers)) == 1
    assert len(target["churn"]) == 1
    assert target.verify()


def overtaken(dev, prod, monkeypatch):
    """Let another process copy the same version while ours is being filled."""
    original = copying.claim_number

    def slow(line):
        claim = original(line)
        monkeypatch.setattr(copying, "claim_number", original)
        mv.Registry(dev.url).copy("churn:2", to=mv.Registry(prod.url))
        return claim

    monkeypatch.setattr(copying, "claim_number", slow)
    return dev.copy("churn:2", to=prod)


def test_a_copier_that_was_overtaken_gives_its_number_up(dev, prod, monkeypatch):
    """It returns the other's copy and removes its own bytes."""
    copy = overtaken(dev, prod, monkeypatch)

    assert copy.ref == "Churn:2" and len(prod["churn"]) == 1
    with pytest.raises(VersionNotFoundError, match="abandoned"):
        prod["churn"][1]
    report = prod.verify()
    assert report.ok and not report.pending


def test_without_the_second_look_there_would_be_two_copies(dev, prod, monkeypatch):
    """The look at the moment of the commit is what keeps it to one."""
    monkeypatch.setattr(
        copying, "_unless_copied", lambda target, event, identity: lambda state: event
    )

    overtaken(dev, prod, monkeypatch)

    assert len(prod["churn"]) == 2


def test_a_copy_can_be_killed_at_any_write_and_repeated(dev, prod_place, tmp_path):
    """After a kill at each sync the target is sound, and copying again makes exactly one copy."""
    for k in range(1, 200):
        place = tmp_path / "killed" / str(k)
        child = os.fork()
        if child == 0:
            _copy_and_die(dev.url, place, k)
        _, status = os.waitpid(child, 0)
        target = mv.Registry(place)
        assert target.verify(), k
        assert dev.copy("churn:2", to=target).load()["small"][9] == 9
        assert len(target["churn"]) == 1
        assert target.verify(), k
        if os.waitstatus_to_exitcode(status) == 0:
            break
        shutil.rmtree(place)
    assert 10 < k < 199


def _copy_and_die(source, place, k):
    """Copy in a process that ends at the k-th sync, without a word."""
    original, calls = os.fsync, [0]

    def fsync(descriptor):
        calls[0] += 1
        if calls[0] == k:
            os._exit(9)
        original(descriptor)

    os.fsync = fsync
    try:
        mv.Registry(source).copy("churn:2", to=mv.Registry(place))
        os._exit(0)
    finally:
        os._exit(1)


# ---- withdrawals, and much to tell


def test_a_withdrawal_goes_along(dev, prod):
    """Loading the copy warns with the source's reason, and names the copy of what to use."""
    good = dev.copy("churn:1", to=prod)
    dev["churn"][2].withdraw(reason="bad labels", use_instead=1)

    copy = dev.copy("churn:2", to=prod)

    assert copy.withdrawn == "bad labels"
    with pytest.warns(WithdrawnWarning, match=rf"bad labels; use {good.ref}"):
        copy.load()


def test_copying_again_brings_a_later_withdrawal(dev, prod):
    """What is there already is not copied, but a warning about it is."""
    copy = dev.copy("churn:2", to=prod)
    dev["churn"][2].withdraw(reason="bad labels", use_instead=1)

    for _ in range(2):
        assert dev.copy("churn:2", to=prod) == copy

    assert copy.withdrawn == "bad labels"


def test_of_a_long_history_the_newest_entries_go_along(dev, prod, prod_place):
    """The entry stays small, and says how many were left out."""
    for i in range(100):
        dev["churn"][2].note(f"{i:03d} " + "x" * 900)

    copy = dev.copy("churn:2", to=prod)

    told = copy.copied_from
    assert told.left_out + len(told.history) == 105
    assert 15 < len(told.history) < 30
    assert [note["text"][:3] for note in copy.notes][-1] == "099"
    entry = next((prod_place / "models/churn/journal").glob("*.json"))
    assert entry.stat().st_size < 64 * 1024


def test_tags_that_a_summary_leaves_out_are_true_in_a_copy(prod, tmp_path):
    """Tags that stand in `version.json` only are read there, and then changed as in the source."""
    dev = mv.Registry(tmp_path / "dev")
    version = dev.save("m", 1, tags={f"t{i}": "x" * 900 for i in range(30)})
    version.tag(t1="other", new=1)
    version.untag("t2")

    copy = dev.copy("m", to=prod)

    assert dict(copy.tags) == dict(version.tags)
    assert copy.tags["t1"] == "other" and "t2" not in copy.tags and len(copy.tags) == 30


def test_more_changed_tags_than_an_entry_holds_are_refused(prod, prod_place, tmp_path):
    """Nothing is written, and the message says what to do."""
    dev = mv.Registry(tmp_path / "dev")
    version = dev.save("m", 1)
    for i in range(80):
        version.tag({f"t{i}": "x" * 900})

    with pytest.raises(InvalidInputError, match="m:1 since it was saved are too many"):
        dev.copy("m", to=prod)
    assert not (prod_place / "models").exists()


# ---- what is refused


@pytest.mark.parametrize("path", ["object/object.pkl", "object/buffer-0.bin", "version.json"])
@pytest.mark.parametrize("how", ["flipped", "missing"])
def test_a_broken_source_is_not_copied(dev, prod, prod_place, tmp_path, path, how):
    """A byte that is not the committed one is found while it is read; nothing is written."""
    file = tmp_path / "dev/models/churn/versions/2" / path
    data = file.read_bytes()
    file.unlink()
    if how == "flipped":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    with pytest.raises(DigestMismatchError if how == "flipped" else FileMissingError):
        dev.copy("churn:2", to=prod)
    assert not (prod_place / "models").exists()


def test_wrong_arguments_are_refused(dev, prod, tmp_path):
    """Each says what was found."""
    with pytest.raises(InvalidInputError, match="to must be a Registry"):
        dev.copy("churn:2", to=str(tmp_path))
    with pytest.raises(InvalidInputError, match="cannot be copied into itself"):
        dev.copy("churn:2", to=mv.Registry(dev.url))
    with pytest.raises(InvalidInputError, match="takes references and versions, found 7"):
        dev.copy([7], to=prod)
    prod.save("churn", 1)
    with pytest.raises(InvalidInputError, match="of another registry"):
        dev.copy(prod["churn"], to=prod)
    with pytest.raises(VersionNotFoundError):
        dev.copy("churn:9", to=prod)


def hostile(registry, place, change):
    """Rewrite the `version.json` of m:1 and its commit, which nothing binds yet."""
    file = place / "models/m/versions/1/version.json"
    record = change(json.loads(file.read_bytes()))
    file.unlink()
    file.write_bytes(_json.dumps(record))
    entry = place / "models/m/journal/000000000001.json"
    value = json.loads(entry.read_bytes())
    value["event"] |= {
        "size": file.stat().st_size,
        "sha256": _json.digest(file.read_bytes()),
    }
    entry.unlink()
    entry.write_bytes(_json.dumps(value))
    return mv.Registry(place)


def foreign(record):
    return record | {"origin": record["origin"] | {"number": 7}}


def test_an_origin_that_the_commit_does_not_name_is_refused(prod, tmp_path, monkeypatch):
    """A version that says it is another's is none, unless its commit says it was copied."""
    dev = mv.Registry(tmp_path / "dev")
    dev.save("m", {"w": 1})
    registry = hostile(dev, tmp_path / "dev", foreign)

    with pytest.raises(OriginMismatchError):
        registry.load("m:1")
    with pytest.raises(OriginMismatchError):
        registry.copy("m:1", to=prod)
    assert not registry.verify()

    monkeypatch.setattr(versions, "_check_origin", lambda *args: None)
    assert registry.load("m:1") == {"w": 1}


def test_a_copy_under_a_changed_origin_is_refused(dev, prod, prod_place):
    """What the commit names is what `version.json` has to say."""
    dev.save("m", {"w": 1})
    dev.copy("m", to=prod)
    registry = hostile(prod, prod_place, foreign)

    with pytest.raises(OriginMismatchError, match="m:7"):
        registry.load("m:1")


@pytest.mark.parametrize(
    "path",
    ["../../../../out.txt", "/tmp/out", "object/../../x", "version.json", "claim.json", "a:b"],
)
def test_a_hostile_registry_cannot_write_outside_of_a_version(prod, prod_place, tmp_path, path):
    """A file path that leaves the version's folder, or is none of its files, is refused."""
    dev = mv.Registry(tmp_path / "dev")
    dev.save("m", {"w": 1}, artifacts={"a.txt": "x"})
    bad = {"path": path, "size": 1, "sha256": _json.digest(b"x")}
    registry = hostile(dev, tmp_path / "dev", lambda r: r | {"files": [*r["files"], bad]})

    for act in (
        lambda: registry.copy("m:1", to=prod),
        lambda: registry.load("m:1"),
        lambda: registry.get("m:1").download(tmp_path / "down"),
    ):
        with pytest.raises(RecordError, match="which cannot be its own"):
            act()
    assert not (prod_place / "models").exists()


# ---- forks


@pytest.fixture
def twin(dev, tmp_path):
    """A folder that was copied as it is."""
    shutil.copytree(tmp_path / "dev", tmp_path / "twin")
    return mv.Registry(tmp_path / "twin", actor="bo")


def test_a_copied_folder_goes_its_own_way_under_a_new_id(dev, twin):
    """What it held stays true and loadable; what is saved from now on is its own."""
    old, new = twin.id, twin.fork(reason="a sandbox")

    assert (old, new) == (dev.id, twin.id) and new != old
    version = twin.save("churn", {"w": 3})
    assert twin.load("churn:2")["small"][1] == 1
    assert version.load() == {"w": 3} and version.copied_from is None
    again = mv.Registry(twin.url)
    assert again.id == new and again.load("churn:3") == {"w": 3} and again.verify()
    assert version != dev.save("churn", {"w": 3})
    assert dev.id == old and dev.verify()


def test_a_fork_can_be_forked(twin, tmp_path):
    """Each id continues the one before it."""
    first = twin.fork(reason="one")
    twin.save("churn", {"w": 3})
    second = twin.fork(reason="two")
    twin.save("churn", {"w": 4})

    again = mv.Registry(twin.url)
    assert again.id == second != first
    assert [again.load(f"churn:{n}") for n in (3, 4)] == [{"w": 3}, {"w": 4}]
    assert again.verify()


def test_twins_are_refused_as_source_and_target_until_one_is_forked(dev, twin):
    """Two places of one id are noticed where both are in hand; versions of both are known again."""
    with pytest.raises(ConflictError, match="one is a copied folder; call fork"):
        dev.copy("churn:2", to=twin)
    twin.fork(reason="a sandbox")

    assert dev.copy("churn:2", to=twin) == twin["churn"][2]
    new = twin.save("churn", {"only": "here"})
    copy = twin.copy(new, to=dev)
    assert copy.load() == {"only": "here"} and copy.copied_from.origin.registry == twin.id
    assert dev.verify()


def test_a_checkpoint_of_the_original_is_not_one_of_the_fork(dev, twin):
    """From the fork on they are two registries."""
    checkpoint = dev.checkpoint()
    assert twin.verify(since=checkpoint)
    twin.fork(reason="a sandbox")

    with pytest.raises(InvalidInputError, match="the checkpoint is of the registry"):
        twin.verify(since=checkpoint)
    assert twin.verify(since=twin.checkpoint())


def test_a_handle_from_before_the_fork_goes_on(twin):
    """A process that did not hear of it writes under the old id, which is one of the fork's."""
    before = mv.Registry(twin.url)
    before.save("churn", {"w": 3})
    twin.fork(reason="a sandbox")
    before.save("churn", {"w": 4})

    assert mv.Registry(twin.url).load("churn:4") == {"w": 4}
    assert mv.Registry(twin.url).verify()
    with pytest.raises(ConflictError, match="forked by somebody else"):
        before.fork(reason="again")


def test_a_fork_is_in_the_journal_with_its_reason(twin, tmp_path):
    """Who forked, from what and why."""
    twin.fork(reason="a sandbox")

    entry = json.loads(sorted((tmp_path / "twin/policies").glob("*.json"))[-1].read_bytes())
    assert entry["actor"]["name"] == "bo"
    assert entry["event"] | {"id": 0} == {
        "id": 0,
        "kind": "registry.forked",
        "must_understand": False,
        "previous": entry["event"]["previous"],
        "reason": "a sandbox",
    }


def test_a_fork_that_continues_another_registry_is_refused(dev, twin, tmp_path):
    """A fork's record that was put in from elsewhere is damage."""
    twin.fork(reason="a sandbox")
    other = mv.Registry(tmp_path / "other")
    other.save("m", 1)
    shutil.copytree(tmp_path / "twin" / "forks", tmp_path / "other" / "forks")

    with pytest.raises(RecordError, match="continues the registry"):
        list(mv.Registry(tmp_path / "other"))


def test_an_empty_place_cannot_be_forked(registry):
    """There is nothing to go another way from."""
    with pytest.raises(NotARegistryError, match="is empty"):
        registry.fork(reason="why not")


@pytest.mark.parametrize("reason", ["", "  ", None, 7])
def test_a_fork_wants_a_reason(twin, reason):
    """Before anything is written."""
    with pytest.raises(InvalidInputError, match="reason"):
        twin.fork(reason=reason)
    assert mv.Registry(twin.url).id == twin.id
