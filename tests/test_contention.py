"""Many writers of one name at once, in processes, in threads and through two handles."""

import os
import time
from datetime import timedelta

import pytest
from processes import threads_together, together

import modelversion as mv
from modelversion import layout
from modelversion.errors import UnsafeFilesystemError
from modelversion.storage import KeyTaken, _local


def numbers(registry, name="churn"):
    """The numbers of the versions that a fresh handle lists."""
    return [version.number for version in registry[name].versions()]


def assert_whole(registry):
    """The chain is whole, nothing is left over, and every version loads."""
    report = registry.verify()
    assert report.ok, str(report)
    assert report.pending == ()
    for model in registry.models():
        for version in model.versions():
            version.load()


# ---- saves -------------------------------------------------------------------------------------


def test_eight_processes_of_25_saves_get_the_numbers_1_to_200(tmp_path):
    """Every save succeeds, each has a number of its own, none is left out, and all load."""
    url = str(tmp_path / "registry")

    def save(writer):
        registry = mv.Registry(url)
        return [
            registry.save("churn", {"writer": writer, "turn": turn}).number for turn in range(25)
        ]

    given = together(save, range(8))

    registry = mv.Registry(url)
    assert sorted(number for part in given for number in part) == list(range(1, 201))
    assert numbers(registry) == list(range(1, 201))
    for writer, part in enumerate(given):
        assert part == sorted(part)
        for turn, number in enumerate(part):
            assert registry.load(f"churn:{number}") == {"writer": writer, "turn": turn}
    assert registry["churn"].latest.number == 200
    assert_whole(registry)


def test_saves_that_share_large_files_stay_whole(tmp_path):
    """Writers that link the same file of the version before all commit versions that load."""
    import numpy as np

    url = str(tmp_path / "registry")
    weights = np.arange(2**18, dtype="float64")

    def save(writer):
        registry = mv.Registry(url)
        return [registry.save("churn", {"w": weights, "by": (writer, i)}).number for i in range(4)]

    given = together(save, range(4))

    registry = mv.Registry(url)
    assert sorted(number for part in given for number in part) == list(range(1, 17))
    for version in registry["churn"].versions():
        assert np.array_equal(version.load()["w"], weights)
    assert_whole(registry)


def test_first_save_of_one_name_by_many_makes_one_model(tmp_path):
    """The model stands once in the registry's journal, and each writer has its own version."""
    registry = mv.Registry(tmp_path / "registry")
    registry.save("other", 0)

    def save(writer):
        return mv.Registry(tmp_path / "registry").save("Churn", writer).number

    given = together(save, range(12))

    assert sorted(given) == list(range(1, 13))
    assert list(registry) == ["Churn", "other"]
    entries = [
        item.name
        for item in (tmp_path / "registry" / layout.POLICIES).iterdir()
        if item.suffix == ".json"
    ]
    assert len(entries) == 2
    assert sorted(version.load() for version in registry["churn"].versions()) == list(range(12))
    assert_whole(registry)


def test_first_save_of_one_name_in_many_spellings_makes_one_model(tmp_path):
    """Whoever is first gives the spelling; the others save into the same model."""
    spellings = ["churn", "CHURN", "Churn", "cHurn"] * 2

    def save(spelling):
        content = [spelling, os.getpid()]
        return mv.Registry(tmp_path / "registry").save(spelling, content).model

    models = together(save, spellings)

    registry = mv.Registry(tmp_path / "registry")
    assert len(registry) == 1
    assert set(models) == {registry["churn"].name}
    assert len(registry["churn"]) == 8
    assert_whole(registry)


def test_sixteen_processes_that_create_one_place_agree_on_its_id(tmp_path):
    """All sixteen find the same id, the one that stands in registry.json."""
    url = str(tmp_path / "deep" / "in" / "registry")

    def create(writer):
        registry = mv.Registry(url)
        registry.save(f"model-{writer}", writer)
        return registry.id

    ids = together(create, range(16))

    registry = mv.Registry(url)
    assert set(ids) == {registry.id}
    assert len(registry) == 16
    assert_whole(registry)


# ---- journals ----------------------------------------------------------------------------------


def test_sixteen_processes_of_50_tags_all_land(tmp_path):
    """800 tags of one version: each call succeeds, each tag is there, the chain is whole."""
    url = str(tmp_path / "registry")
    mv.Registry(url).save("churn", {"weights": [1]})

    def tag(writer):
        version = mv.Registry(url)["churn"][1]
        for turn in range(50):
            version.tag({f"t{writer}-{turn}": turn})

    together(tag, range(16))

    registry = mv.Registry(url)
    wanted = {f"t{writer}-{turn}": turn for writer in range(16) for turn in range(50)}
    assert dict(registry["churn"][1].tags) == wanted
    entries = sorted((tmp_path / "registry/models/churn/journal").glob("*.json"))
    positions = [int(path.stem) for path in entries if path.stem.isdigit()]
    assert positions == list(range(1, 802))
    assert_whole(registry)


def test_saves_tags_aliases_and_gc_at_once_do_not_disturb_each_other(tmp_path):
    """Every call of four kinds of writer succeeds, and what they wrote is all there."""
    url = str(tmp_path / "registry")
    mv.Registry(url).save("churn", "first")

    def act(kind):
        registry = mv.Registry(url)
        for turn in range(15):
            ACTS[kind](registry, turn)

    together(act, ["save", "tag", "alias", "gc"] * 2)

    registry = mv.Registry(url)
    assert len(registry["churn"]) == 31
    assert registry["churn"].aliases == {"champion": 1, "latest-good": 1}
    assert dict(registry["churn"][1].tags) == {f"t{turn}": turn for turn in range(15)}
    assert_whole(registry)


ACTS = {
    "save": lambda registry, turn: registry.save("churn", [os.getpid(), turn]),
    "tag": lambda registry, turn: registry["churn"][1].tag({f"t{turn}": turn}),
    "alias": lambda registry, turn: registry["churn"].set_alias(
        ("champion", "latest-good")[turn % 2], 1
    ),
    "gc": lambda registry, turn: registry.gc(),
}


def test_gc_without_patience_never_makes_a_save_fail(tmp_path):
    """A claim that gc abandons under a running save costs a number, never the save."""
    url = str(tmp_path / "registry")
    mv.Registry(url).save("churn", "first")

    def act(kind):
        registry = mv.Registry(url)
        if kind == "save":
            return [registry.save("churn", [os.getpid(), i]).number for i in range(20)]
        stop = time.monotonic() + 1
        while time.monotonic() < stop:
            registry["churn"].gc(older_than=timedelta(0))
        return []

    given = together(act, ["save", "save", "gc", "gc"])

    registry = mv.Registry(url)
    saved = sorted(number for part in given for number in part)
    assert len(set(saved)) == 40
    assert numbers(registry) == [1, *saved]
    report = registry.verify()
    assert report.ok, str(report)
    for version in registry["churn"].versions():
        version.load()


def test_one_number_is_deleted_by_one_of_many(tmp_path):
    """Of eight that delete one version, one succeeds and the others learn that it is gone."""
    url = str(tmp_path / "registry")
    registry = mv.Registry(url)
    registry.save("churn", "one")
    registry.save("churn", "two")

    def delete(_):
        version = mv.Registry(url)["churn"][1]
        try:
            version.delete(reason="privacy")
        except mv.errors.VersionNotFoundError:
            return "gone"
        return "deleted"

    def attempt(writer):
        try:
            return delete(writer)
        except mv.errors.VersionNotFoundError:
            return "gone"

    given = together(attempt, range(8))

    assert sorted(given) == ["deleted", *["gone"] * 7]
    assert numbers(registry) == [2]
    assert_whole(registry)


def test_an_alias_and_a_deletion_of_one_version_never_both_win(tmp_path):
    """After a race of the two, the alias names a version that is there, or there is no alias."""

    def act(given):
        kind, url = given
        model = mv.Registry(url)["churn"]
        try:
            model.set_alias("champion", 1) if kind == "alias" else model[1].delete(reason="old")
        except (mv.errors.VersionNotFoundError, mv.errors.InUseError) as e:
            return type(e).__name__
        return kind

    for turn in range(6):
        url = str(tmp_path / f"registry-{turn}")
        mv.Registry(url).save("churn", "one")
        results = together(act, [("alias", url), ("delete", url)])

        registry = mv.Registry(url)
        assert sum(result in ("alias", "delete") for result in results) == 1
        for alias in registry["churn"].aliases:
            assert registry.load(f"churn@{alias}") == "one"
        assert_whole(registry)


# ---- threads and handles -----------------------------------------------------------------------


def test_threads_of_one_handle_save_and_tag(place, merges):
    """Eight threads that share a handle, and eight tags each: all land, in memory too."""
    registry = mv.Registry(place)

    def work(writer):
        saved = [registry.save("churn", [writer, turn]) for turn in range(10)]
        for version in saved:
            version.tag({f"by-{writer}": True})
        return [version.number for version in saved]

    given = threads_together(work, range(8))
    merges()

    fresh = mv.Registry(place)
    assert sorted(number for part in given for number in part) == list(range(1, 81))
    for writer, part in enumerate(given):
        for number in part:
            assert dict(fresh["churn"][number].tags) == {f"by-{writer}": True}
    assert_whole(fresh)
    assert numbers(registry) == numbers(fresh)


def test_threads_with_handles_of_their_own_save(place, merges):
    """Eight handles in eight threads on one place give 80 contiguous numbers."""

    def work(writer):
        registry = mv.Registry(place)
        return [registry.save("churn", [writer, turn]).number for turn in range(10)]

    given = threads_together(work, range(8))
    merges()

    registry = mv.Registry(place)
    assert sorted(number for part in given for number in part) == list(range(1, 81))
    assert_whole(registry)


def test_threads_that_read_one_handle_see_each_note_once(place):
    """Threads that refresh the same history at once do not apply an entry twice."""
    version = mv.Registry(place).save("churn", 1)
    for turn in range(200):
        version.note(f"note {turn}")
    for _ in range(10):
        reader = mv.Registry(place)["churn"][1]

        seen = threads_together(lambda _, reader=reader: len(reader.notes), range(8))

        assert seen == [200] * 8
        assert [note["text"] for note in reader.notes] == [f"note {turn}" for turn in range(200)]


def test_two_handles_take_turns(place):
    """Each handle sees what the other committed, tagged, aliased and deleted."""
    one, two = mv.Registry(place), mv.Registry(place)
    for turn in range(6):
        writer, reader = (one, two) if turn % 2 else (two, one)

        version = writer.save("churn", turn)
        writer["churn"].set_alias("champion", version)

        assert reader["churn"].latest.number == turn + 1
        assert reader.load("churn@champion") == turn
    two["churn"][1].delete(reason="old")

    with pytest.raises(mv.errors.VersionNotFoundError):
        one.load("churn:1")
    assert numbers(one) == numbers(two) == [2, 3, 4, 5, 6]
    assert_whole(one)


# ---- mutants of the primitive ------------------------------------------------------------------


def create_same_key(root):
    """Let many processes create one key; give how many believe that they won, and the bytes."""

    def create(writer):
        store = _local.LocalStore(root)
        try:
            store.put_new("a/key", str(writer).encode() * 100)
        except KeyTaken:
            return None
        return writer

    given = [writer for writer in together(create, range(8)) if writer is not None]
    return given, _local.LocalStore(root).read("a/key")


def test_one_of_many_creates_a_key(tmp_path):
    """Of eight processes that create one key one wins, and the key holds its bytes."""
    for turn in range(10):
        winners, data = create_same_key(str(tmp_path / str(turn)))

        assert len(winners) == 1
        assert data == str(winners[0]).encode() * 100


def test_mutant_that_looks_before_it_writes_is_caught(tmp_path, monkeypatch):
    """With exists-then-write in place of the link, two of the eight believe that they won."""

    def look_then_write(temporary, path):
        if os.path.exists(path):
            raise KeyTaken(path)
        time.sleep(0.05)
        os.replace(temporary, path)

    monkeypatch.setattr(_local, "_link_new", look_then_write)

    winners, _ = create_same_key(str(tmp_path))

    assert len(winners) > 1


def test_mutant_that_replaces_is_caught_by_the_proof(tmp_path, monkeypatch):
    """A filesystem whose link overwrites is refused before the first byte of a registry."""
    monkeypatch.setattr(_local, "_link_new", os.replace)

    with pytest.raises(UnsafeFilesystemError, match="both won"):
        mv.Registry(tmp_path / "registry").save("churn", 1)

    assert list((tmp_path / "registry").iterdir()) == []
