"""Saving: repeats, shared files, artifacts, bad input, and commits that fail."""

import errno
import math
import os
import resource
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import numpy
import pandas
import pytest
from processes import together

import modelversion as mv
from modelversion.errors import (
    InvalidInputError,
    InvalidNameError,
    InvalidPathError,
    InvalidValueError,
    ModelNotFoundError,
    ModelVersionError,
    SaveError,
    TextArtifactWarning,
    UnpicklableError,
)

LARGE = 2**20


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, where results that were not saved are kept."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def folder(registry, number, model="churn"):
    return Path(registry.url, "models", model, "versions", str(number))


def files_of(registry):
    return sorted(str(path) for path in Path(registry.url).rglob("*"))


# ---- repeats


def save_one(registry, **change):
    given = {
        "params": {"C": 1},
        "metrics": {"auc": 0.9},
        "data": {"train": numpy.zeros((2, 3))},
        "artifacts": {"a.txt": "a"},
        "tags": {"team": "risk"},
        "description": "first",
    }
    return registry.save("churn", {"w": [1]}, **(given | change))


def test_the_same_content_again_is_the_same_version(place):
    """It is returned as it was, by this handle and by a new one."""
    registry = mv.Registry(place)
    first = save_one(registry)

    for handle in (registry, mv.Registry(place)):
        again = save_one(handle)
        assert again == first
        assert again.created_at == first.created_at
        assert again.digest == first.digest
    assert len(registry["churn"]) == 1
    assert registry.verify().ok


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"C": 1.0}},
        {"params": {"C": True}},
        {"params": {}},
        {"metrics": {"auc": 0.91}},
        {"metrics": {"auc": mv.metric(0.9, n=10)}},
        {"data": {"train": numpy.zeros((2, 4))}},
        {"data": {"train": numpy.zeros((2, 3), "f4")}},
        {"artifacts": {"a.txt": "b"}},
        {"artifacts": {"b.txt": "a"}},
        {"tags": {}},
        {"description": None},
    ],
)
def test_other_content_is_another_version(registry, change):
    """Whatever differs, in its value or its type, makes a version."""
    save_one(registry)

    assert save_one(registry, **change).number == 2


def test_the_order_of_names_is_no_content(registry):
    """A dict with its keys the other way round is the same."""
    registry.save("churn", 1.5, params={"a": 1, "b": 2}, metrics={"x": 1, "y": 2})

    assert (
        registry.save("churn", 1.5, params={"b": 2, "a": 1}, metrics={"y": 2, "x": 1}).number == 1
    )


def test_only_the_latest_can_be_repeated(registry):
    """Going back to what an older version had is news."""
    registry.save("churn", {"w": [1]})
    registry.save("churn", {"w": [2]})

    assert registry.save("churn", {"w": [1]}).number == 3


def test_a_changed_tag_does_not_hide_a_repeat(registry):
    """Tags that were set later are no part of what was saved."""
    first = registry.save("churn", {"w": [1]})
    first.tag(team="risk")

    assert registry.save("churn", {"w": [1]}) == first


def test_what_was_deleted_or_withdrawn_is_not_repeated(registry):
    """Saving it again is a decision to have it again."""
    first = registry.save("churn", {"w": [1]})
    first.withdraw(reason="r")

    second = registry.save("churn", {"w": [1]})
    assert second.number == 2
    second.delete(reason="r", everywhere=True)
    assert registry.save("churn", {"w": [1]}).number == 3
    assert registry.load("churn") == {"w": [1]}


def test_another_model_is_no_repeat(registry):
    """Two models have versions of their own."""
    registry.save("churn", {"w": [1]})

    assert registry.save("fraud", {"w": [1]}).ref == "fraud:1"


def test_a_version_without_an_object_is_repeated_too(registry):
    """Nothing but params and metrics can be the same as well."""
    registry.save("churn", params={"C": 1})

    assert registry.save("churn", params={"C": 1}).number == 1
    assert registry.save("churn", None, params={"C": 1}).number == 2
    assert registry.load("churn:2") is None


def test_new_insists(place):
    """`new=True` makes a version of the same content, which loads alike."""
    registry = mv.Registry(place)
    first = save_one(registry)

    second = save_one(registry, new=True)

    assert second.number == 2
    assert second.load() == first.load()
    assert second.digest != first.digest
    assert registry.verify().ok
    assert save_one(registry) == second


def inodes(registry, number, name):
    return [path.stat().st_ino for path in sorted(folder(registry, number).rglob(name))]


def test_a_repeated_version_shares_its_files(registry):
    """Its files are links to those of the version before."""
    save_one(registry)

    save_one(registry, new=True)

    for name in ("object.pkl", "a.txt"):
        assert inodes(registry, 1, name) == inodes(registry, 2, name)
    assert inodes(registry, 1, "version.json") != inodes(registry, 2, "version.json")


def test_a_large_file_is_shared(registry):
    """A version that keeps a large array keeps the file; the small ones are its own."""
    array = numpy.arange(LARGE // 4, dtype="f8")
    registry.save("churn", {"a": array, "b": 1})
    registry.save("churn", {"a": array, "b": 2})

    assert inodes(registry, 1, "buffer-*.bin") == inodes(registry, 2, "buffer-*.bin")
    assert (registry.load("churn:2")["a"] == array).all()


@pytest.mark.parametrize("damage", ["other", "shorter", "removed"])
def test_a_file_that_was_tampered_with_is_not_shared(registry, damage):
    """Bytes are hashed before they are linked: the new version is whole, the old one is not."""
    array = numpy.arange(LARGE // 4, dtype="f8")
    registry.save("churn", {"a": array})
    (path,) = folder(registry, 1).rglob("buffer-*.bin")
    path.chmod(0o644)
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(b"x" * (array.nbytes if damage == "other" else 5))

    second = registry.save("churn", {"a": array}, new=True)

    assert second.verify().ok
    assert (second.load()["a"] == array).all()
    assert not registry["churn"][1].verify().ok


def test_deleting_one_of_two_that_share_leaves_the_other(registry):
    """A link is a file of its own."""
    array = numpy.arange(LARGE // 4, dtype="f8")
    first = registry.save("churn", {"a": array})
    second = registry.save("churn", {"a": array, "b": 1})

    first.delete(reason="r")

    assert second.verify().ok
    assert (second.load()["a"] == array).all()


# ---- artifacts


def test_artifacts_are_bytes_text_and_files(place, tmp_path):
    """A folder is taken with all that is in it, under its name."""
    source = tmp_path / "source"
    (source / "deep/er").mkdir(parents=True)
    (source / "a.txt").write_text("größe", "utf-8")
    (source / "deep/er/b.bin").write_bytes(b"\0" * 5_000_000)
    version = mv.Registry(place).save(
        "churn",
        artifacts={"t": "text", "b": b"\0", "f.txt": source / "a.txt", "d": source, "e": ""},
    )

    found = {file.path: file.size for file in version.files}
    assert found == {
        "artifacts/t": 4,
        "artifacts/b": 1,
        "artifacts/f.txt": 7,
        "artifacts/d/a.txt": 7,
        "artifacts/d/deep/er/b.bin": 5_000_000,
        "artifacts/e": 0,
    }
    assert version.open("f.txt").read().decode() == "größe"
    assert version.open("e").read() == b""
    assert version.verify().ok


def test_a_file_may_change_once_it_was_saved(registry, tmp_path):
    """What is kept is a copy."""
    (tmp_path / "a").write_text("before")
    version = registry.save("churn", artifacts={"a": tmp_path / "a"})

    (tmp_path / "a").write_text("after")

    assert version.open("a").read() == b"before"


@pytest.mark.parametrize("path", ["../a", "/a", "a\\b", "a:b", "", "a/../../b", "a\nb", 5])
def test_artifact_paths_are_checked(registry, path):
    """A path that leads elsewhere is refused, and nothing is written."""
    with pytest.raises(InvalidPathError, match="artifact path"):
        registry.save("churn", 1.5, artifacts={path: "a"})
    assert not Path(registry.url).exists()


@pytest.mark.parametrize("paths", [("a", "A"), ("a", "a/b")])
def test_artifact_paths_are_distinct(registry, paths):
    """Two that some system takes for one are refused, and nothing is written."""
    with pytest.raises(InvalidPathError):
        registry.save("churn", 1.5, artifacts=dict.fromkeys(paths, "a"))
    assert not Path(registry.url).exists()


def test_text_that_names_a_file_is_kept_as_text_and_said_so(registry, tmp_path, monkeypatch):
    """Text is never taken for a path, whoever meant one is told; other text is not remarked on."""
    monkeypatch.chdir(tmp_path)
    Path("roc.csv").write_text("1,2\n")

    with pytest.warns(TextArtifactWarning, match=r"artifacts\['a.csv'\] is kept as text.*Path"):
        version = registry.save("churn", {"w": 1}, artifacts={"a.csv": "roc.csv", "b.txt": "roc"})

    assert version.open("artifacts/a.csv").read() == b"roc.csv"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registry.save("churn", {"w": 2}, artifacts={"a": "", "b": "\0", "c": "x" * 9999})


def test_artifacts_of_a_folder_are_distinct_from_others(registry, tmp_path):
    """Files inside folders count as well."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x").touch()

    with pytest.raises(InvalidPathError, match="one path where case is ignored"):
        registry.save("churn", artifacts={"a": tmp_path / "d", "a/X": "text"})


def test_a_missing_file_is_named(registry, tmp_path):
    """The error says which artifact and which path."""
    with pytest.raises(InvalidPathError, match=r"artifacts\['a'\]: there is no file or folder"):
        registry.save("churn", 1.5, artifacts={"a": tmp_path / "nothing"})
    assert not Path(registry.url).exists()


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_inside_a_folder_are_refused(registry, tmp_path):
    """They may lead out of it, to what nobody meant to keep."""
    (tmp_path / "d").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "d/link").symlink_to(tmp_path / "secret")

    with pytest.raises(InvalidPathError, match="link"):
        registry.save("churn", artifacts={"d": tmp_path / "d"})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_what_is_no_file_is_refused(registry, tmp_path):
    """A pipe in a folder is an error, not left out in silence."""
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "d/pipe")

    with pytest.raises(InvalidPathError, match="pipe"):
        registry.save("churn", artifacts={"d": tmp_path / "d"})


@pytest.mark.parametrize("content", [None, 5, ["a"], {"a": 1}, bytearray(b"a"), object()])
def test_an_artifact_is_bytes_text_or_a_path(registry, content):
    """Anything else is refused by its type, and nothing is written."""
    with pytest.raises(InvalidValueError, match=r"artifacts\['a'\] must be bytes, text, a"):
        registry.save("churn", 1.5, artifacts={"a": content})
    assert not Path(registry.url).exists()


def test_text_is_unicode(registry):
    """Text with lone surrogates cannot be kept as text."""
    with pytest.raises(InvalidInputError, match="artifacts"):
        registry.save("churn", 1.5, artifacts={"a": "\ud800"})


# ---- bad input

CYCLE = []
CYCLE.append(CYCLE)
DEEP = 1
for _ in range(70):
    DEEP = [DEEP]
STRANGE = pandas.DataFrame([[1]], columns=pandas.Index(["\ud800"], dtype=object))

BAD = {
    "params: list": ({"params": [1]}, "params must be a dict, found list"),
    "params: object": ({"params": {"a": object()}}, r"params\['a'\] is a builtins.object"),
    "params: key": ({"params": {1: 2}}, "params has the key 1 of type int"),
    "params: cycle": ({"params": {"a": CYCLE}}, r"params\['a'\].* contains itself"),
    "params: deep": ({"params": {"a": DEEP}}, "nested deeper than 64 levels"),
    "params: surrogate": ({"params": {"a": "\ud800"}}, r"params\['a'\] holds text that is not Uni"),
    "params: array": ({"params": {"a": numpy.zeros(3)}}, r"params\['a'\] is a numpy.ndarray"),
    "params: size": ({"params": {"a": "x" * 2**20}}, "params are 1048.* bytes of JSON; at most"),
    "metrics: list": ({"metrics": [1]}, "metrics must map names to numbers"),
    "metrics: text": ({"metrics": {"auc": "0.9"}}, r"metrics\['auc'\] must be a number, found str"),
    "metrics: none": ({"metrics": {"auc": None}}, r"metrics\['auc'\] must be a number, found None"),
    "metrics: bool": ({"metrics": {"ok": True}}, r"metrics\['ok'\] must be a number, found bool"),
    "metrics: array": ({"metrics": {"a": numpy.zeros(3)}}, r"metrics\['a'\] must be a number"),
    "metrics: name": ({"metrics": {"a\nb": 1}}, "metric name"),
    "tags: list": ({"tags": ["a"]}, "tags must be a dict, found list"),
    "tags: long": ({"tags": {"a": "x" * 1001}}, r"tags\['a'\] must be text of at most 1,000"),
    "tags: dict": ({"tags": {"a": {}}}, r"tags\['a'\] must be text"),
    "tags: name": ({"tags": {"": 1}}, "tag name"),
    "data: list": ({"data": [1]}, "data must be a dict, found list"),
    "data: name": ({"data": {5: 1}}, "data name must be str"),
    "description: empty": ({"description": " "}, "description must be text of 1 to 10000"),
    "description: long": ({"description": "x" * 10_001}, "description must be text"),
    "description: number": ({"description": 5}, "description must be text .* found int"),
    "description: surrogate": ({"description": "\ud800"}, "description holds text that is not"),
    "artifacts: list": ({"artifacts": ["a"]}, "artifacts must be a dict, found list"),
    "parents: text": ({"parents": "base:1"}, "parents"),
    "parents: number": ({"parents": [5]}, "a reference is text"),
    "verify: word": ({"verify": "loads"}, "verify must be 'load' or None, found 'loads'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_nothing_written(registry, case):
    """One error of ours that names the field, what was found and what to do."""
    given, message = BAD[case]

    with pytest.raises(InvalidInputError, match=message):
        registry.save("churn", {"w": 1}, **given)
    assert not Path(registry.url).exists()


def test_a_parent_has_to_be_there(registry):
    """A typo in a parent is found before anything is written."""
    before = registry.save("base", {"w": 1}), files_of(registry)

    with pytest.raises(ModelNotFoundError, match="did you mean 'base'"):
        registry.save("churn", {"w": 1}, parents=["bsae:1"])
    for one in (before[0], "base:1", 3):
        with pytest.raises(InvalidInputError, match="parents must be a list"):
            registry.save("churn", {"w": 1}, parents=one)
    assert files_of(registry) == before[1]


def test_parents_are_resolved_to_numbers(registry):
    """An alias that moves later does not move the parent."""
    base = registry.save("base", {"w": 1})
    registry["base"].set_alias("champion", base)

    version = registry.save("churn", 1.5, parents=["base@champion", base, "base"])

    assert version.parents == ("base:1", "base:1", "base:1") or version.parents == ("base:1",)


@pytest.mark.parametrize(
    "value", [threading.Lock(), {"a": [threading.Lock()]}, (i for i in "ab")], ids=type
)
def test_an_object_that_cannot_be_pickled_is_refused(registry, value):
    """The path of the part is named, the object is in the error, and nothing is written."""
    with pytest.raises(UnpicklableError, match=r"object.* cannot be pickled") as refusal:
        registry.save("churn", value)

    assert refusal.value.value is value
    assert refusal.value.path.startswith("object")
    assert not any(path.endswith("claim.json") for path in files_of(registry))
    assert not any(".tmp-" in path for path in files_of(registry))


def test_a_name_is_needed(registry):
    """A save without one is Python's own error."""
    with pytest.raises(TypeError):
        registry.save()
    with pytest.raises(InvalidNameError):
        registry.save({"w": 1})


def test_numbers_are_kept_as_they_are(registry):
    """NaN, infinities, huge integers and numpy scalars all save."""
    params = {"nan": math.nan, "inf": math.inf, "huge": 10**300, "np": numpy.float32(0.5)}

    version = registry.save("churn", {"w": 1}, params=params, metrics=dict(params))

    assert version.verify().ok
    assert version.params["huge"] == version.metrics["huge"] == 10**300


def test_a_large_summary_is_cut_and_nothing_lost(registry):
    """What a table's line cannot hold is in the version."""
    params = {f"p{i}": "x" * 100 for i in range(500)}
    tags = {f"t{i}": "y" * 100 for i in range(500)}
    metrics = {f"m{i}": i for i in range(3000)}
    registry.save("churn", 1.5, params=params, tags=tags, metrics=metrics, description="d" * 9999)

    version = mv.Registry(registry.url)["churn"][1]

    assert dict(version.params) == params
    assert dict(version.tags) == tags
    assert dict(version.metrics) == metrics
    assert mv.Registry(registry.url)["churn"].versions().to_dict()["tags.t7"] == ["y" * 100]


# ---- commits that fail


def broken(registry, number=2):
    """Put a file where a version's folder has to go."""
    registry.save("churn", {"w": 0})
    place = folder(registry, number)
    place.write_text("in the way")
    return place


def test_a_commit_that_fails_keeps_the_object(registry):
    """It is in the error, and its bytes are in a folder that can be opened and loaded."""
    place = broken(registry)
    value = {"w": numpy.arange(10)}

    with pytest.raises(SaveError, match="churn was not saved: ") as refusal:
        registry.save("churn", value, params={"C": 1}, artifacts={"a.txt": "a"})

    assert refusal.value.value is value
    spooled = mv.open_directory(refusal.value.spooled_at)
    assert (spooled.load(allow_pickle=True)["w"] == value["w"]).all()
    assert spooled.record.params == {"C": 1}
    assert (spooled.path / "artifacts/a.txt").read_text() == "a"
    place.unlink()
    assert len(registry["churn"]) == 1
    assert registry.save("churn", value).verify().ok


def test_a_version_that_failed_is_not_seen(registry):
    """Readers see what they saw before."""
    broken(registry)

    with pytest.raises(SaveError):
        registry.save("churn", {"w": 1})

    fresh = mv.Registry(registry.url)
    assert fresh.load("churn") == {"w": 0}
    assert len(fresh["churn"].versions()) == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_disk_that_fails_is_a_save_error(registry, monkeypatch, code):
    """A full, a read-only and a broken disk each say so, and keep the object."""
    registry.save("churn", {"w": 0})
    monkeypatch.setattr(os, "link", failing(code))

    with pytest.raises(SaveError) as refusal:
        registry.save("churn", {"w": 1})

    assert refusal.value.value == {"w": 1}
    assert os.strerror(code) in str(refusal.value)
    monkeypatch.undo()
    assert registry.save("churn", {"w": 1}).verify().ok


def failing(code):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return fail


def test_the_first_save_into_a_place_that_fails_keeps_the_object(tmp_path):
    """Also where not even the registry can be made."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ModelVersionError) as refusal:
        mv.Registry(tmp_path / "file" / "r").save("churn", {"w": 1})
    assert "file" in str(refusal.value)


# ---- proving


def test_a_load_is_proved_before_the_commit(registry):
    """With `verify="load"` a fresh process loads the object first."""
    assert registry.save("churn", {"w": 1}, verify="load").number == 1


class Unloadable:
    def __reduce__(self):
        return eval, ("1/0",)


def test_what_does_not_load_is_not_committed(registry):
    """The error has the last line of what the process said, and the object."""
    value = Unloadable()

    with pytest.raises(
        SaveError, match="does not load in a fresh process: ZeroDivision"
    ) as refusal:
        registry.save("churn", value, verify="load")

    assert refusal.value.value is value
    assert "churn" not in registry


# ---- where no file can be opened


def _save_without_descriptors(place):
    registry = mv.Registry(place)
    registry.save("churn", "one")
    # Imports on the way of the failure have to open files too.
    for name in ("tempfile", "shutil"):
        sys.modules.pop(name, None)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        registry.save("churn", "two")
    except SaveError as e:
        return e.value, e.spooled_at
    return None


def test_the_result_is_kept_where_no_file_can_be_opened(tmp_path):
    """A process with too many open files gets its object back in the error."""
    (kept,) = together(_save_without_descriptors, [str(tmp_path / "registry")])

    assert kept == ("two", None)
    assert mv.Registry(tmp_path / "registry").load("churn") == "one"


def test_a_spooled_file_that_cannot_be_removed_does_not_undo_a_save(tmp_path, monkeypatch):
    """The version is acknowledged, as it is there; what is left behind is for a gc."""
    import os

    import numpy as np

    import modelversion as mv

    registry = mv.Registry(tmp_path / "registry")
    real = os.unlink

    def unlink(path, *args, **kwargs):
        if os.fspath(path).endswith("/1"):
            raise PermissionError(13, "Permission denied", path)
        real(path, *args, **kwargs)

    monkeypatch.setattr(os, "unlink", unlink)

    version = registry.save("churn", {"w": np.zeros(2**18)})

    monkeypatch.undo()
    assert version.load()["w"].shape == (2**18,)
    assert registry.verify()
