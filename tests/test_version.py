"""A version: what was recorded comes back, what can change changes, files are checked."""

import enum
import math
import os
import pickle
from collections.abc import Mapping
from datetime import UTC, date, datetime
from operator import attrgetter, itemgetter
from pathlib import Path

import numpy
import pandas
import polars
import pytest

import modelversion as mv
from modelversion.errors import (
    ArtifactNotFoundError,
    DigestMismatchError,
    FileMissingError,
    InvalidInputError,
    InvalidNameError,
    InvalidValueError,
    LiveVersionWarning,
    ObjectNotFoundError,
    SizeMismatchError,
    UntrustedPickleError,
    VersionNotFoundError,
    WithdrawnWarning,
)


@pytest.fixture
def version(registry):
    """A version with something of everything."""
    registry.save("base", {"w": [0]})
    return registry.save(
        "Churn",
        {"w": [1]},
        params={"C": 1.0, "layers": (64, 32), "seed": 2**70, "since": date(2026, 11, 1)},
        metrics={"auc": 0.9, "loss": mv.metric(0.5, higher_is_better=True, n=100)},
        data={"train": pandas.DataFrame({"x": [1.0], "y": ["a"]}), "w": numpy.zeros((3, 2))},
        artifacts={"roc.svg": "<svg/>", "raw/a.bin": b"\0\1"},
        tags={"team": "risk", "stars": 3, "ok": True, "none": None},
        description="The first one.\nIn two lines.",
        parents=["base:1"],
    )


@pytest.fixture(params=["saved", "read"])
def seen(request, version, registry):
    """The version as `save` gave it, and as another handle reads it."""
    return version if request.param == "saved" else mv.Registry(registry.url).get("churn:1")


# ---- what was recorded


def test_what_was_saved_comes_back(seen, registry):
    """Every part is what was given, in its type."""
    assert (seen.number, seen.model, seen.ref) == (1, "Churn", "Churn:1")
    assert len(seen.digest) == 64
    assert seen.type == "builtins.dict"
    assert seen.description == "The first one.\nIn two lines."
    assert dict(seen.params) == {
        "C": 1.0,
        "layers": (64, 32),
        "seed": 2**70,
        "since": date(2026, 11, 1),
    }
    assert dict(seen.metrics) == {"auc": 0.9, "loss": 0.5}
    assert dict(seen.tags) == {"team": "risk", "stars": 3, "ok": True, "none": None}
    assert seen.parents == ("base:1",)
    assert seen.actor.name == "ana@team"
    assert datetime.fromisoformat(seen.created_at).tzinfo is not None
    assert seen.load() == {"w": [1]}
    assert seen.code.entry == "test_version.py"
    assert (seen.aliases, seen.notes, seen.withdrawn) == ([], [], None)


def test_data_is_recorded_by_its_shape(seen):
    """Frames have columns, arrays a dtype; none of it is copied."""
    train, w = seen.data["train"], seen.data["w"]

    assert (train.type, train.shape) == ("pandas.DataFrame", (1, 2))
    assert list(train.columns) == ["x", "y"]
    assert train.columns["x"] == "float64"
    assert (w.type, w.shape, w.dtype) == ("numpy.ndarray", (3, 2), "float64")
    assert not any(file.path.startswith("data") for file in seen.files)


def test_the_environment_is_recorded(seen):
    """Python, platform, and what is installed."""
    assert seen.environment.python.count(".") == 2
    assert seen.environment.packages["numpy"] == numpy.__version__


def test_every_file_is_listed(seen):
    """Each with its size and digest."""
    sizes = {file.path: file.size for file in seen.files}

    assert sizes["artifacts/roc.svg"] == 6
    assert sizes["artifacts/raw/a.bin"] == 2
    assert "object/object.pkl" in sizes
    assert all(len(file.sha256) == 64 for file in seen.files)


def test_what_was_recorded_cannot_be_changed(seen):
    """The mappings are read-only."""
    for mapping in (seen.params, seen.metrics, seen.tags, seen.data):
        assert isinstance(mapping, Mapping)
        with pytest.raises(TypeError):
            mapping["x"] = 1


@pytest.mark.parametrize(
    ("metric", "higher"), [("auc", True), ("loss", True), ("rmse", False), ("depth", None)]
)
def test_a_metric_has_a_direction(seen, metric, higher):
    """What was said goes before what the name says."""
    assert seen.higher_is_better(metric) is higher


class Kind(enum.StrEnum):
    TREE = "tree"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        -(2**80),
        0.1,
        -0.0,
        math.inf,
        -math.inf,
        "text",
        "größe\n\0",
        b"\0\xff",
        date(2026, 1, 2),
        datetime(2026, 1, 2, 3, 4, 5, 6),
        datetime(2026, 1, 2, tzinfo=UTC),
        [1, [2, None]],
        (1, (2,)),
        {"a": {"b": (1, b"x")}},
        {"$float": "nan"},
        {"$$": [{"$int": 1}]},
        [],
        (),
        {},
    ],
)
def test_params_keep_their_types(registry, value):
    """What was given comes back equal, in its type, from another handle."""
    registry.save("churn", params={"p": value})

    back = mv.Registry(registry.url).get("churn").params["p"]

    assert back == value
    assert type(back) is type(value)
    assert str(back) == str(value)


def test_params_that_are_nearly_plain_become_plain(registry):
    """numpy scalars, enums and NaN are stored as what they are."""
    params = {"n": numpy.int64(3), "x": numpy.float32(0.5), "k": Kind.TREE, "nan": math.nan}
    registry.save("churn", params=params | {"b": numpy.bool_(True)})

    back = mv.Registry(registry.url).get("churn").params

    assert (back["n"], back["x"], back["k"], back["b"]) == (3, 0.5, "tree", True)
    assert [type(back[name]) for name in ("n", "x", "k", "b")] == [int, float, str, bool]
    assert math.isnan(back["nan"])


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 10**400, 2**53 + 1, -0.0, 0],
    ids=lambda v: str(v)[:9],
)
def test_metrics_keep_any_number(registry, value):
    """A metric comes back as the number that it was, in a version and in a table."""
    registry.save("churn", metrics={"m": value})
    churn = mv.Registry(registry.url)["churn"]

    for back in (churn[1].metrics["m"], churn.versions().to_dict()["metrics.m"][0]):
        assert (back == value or math.isnan(value)) and str(back) == str(value)


# ---- identity


def test_versions_are_values(seen, version, registry):
    """Two handles on one version are equal, also in sets."""
    other = registry.save("churn", {"w": [2]})

    assert seen == version
    assert {seen, version, other} == {version, other}
    assert version != "Churn:1"


def test_the_digest_is_that_of_the_record(version, registry):
    """It can be checked with sha256sum."""
    import hashlib

    data = Path(registry.url, "models/churn/versions/1/version.json").read_bytes()

    assert version.digest == hashlib.sha256(data).hexdigest()


def test_a_version_pickles(version):
    """A worker can be given the version itself."""
    twin = pickle.loads(pickle.dumps(version))

    assert twin == version
    assert twin.load() == {"w": [1]}


# ---- showing


def test_a_repr_is_one_line(registry):
    """It says the reference, the type, and three metrics."""
    version = registry.save("churn", {"w": 1}, metrics={"auc": 0.91234, "a": 1, "b": 2, "c": 3})

    assert repr(version) == "<Version churn:1 dict a=1 auc=0.9123 b=2>"
    assert repr(registry.save("churn", params={"a": 1})) == "<Version churn:2>"


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, 10**400, -(10**400), 2**64, 5e-324], ids=lambda v: str(v)[:9]
)
def test_a_repr_shows_any_number(registry, value):
    """However large a metric is, the repr is one line."""
    version = registry.save("churn", metrics={"m": value})

    assert repr(version).startswith("<Version churn:1 m=")
    assert repr(version).isprintable()


def test_a_repr_of_strange_names_is_one_line(registry):
    """Whatever a type or a metric is called, the repr is one printable line."""
    strange = type("a\n\x1b[31m<b>", (), {})()
    version = registry.save("churn", strange, metrics={"<script> 日本": 1})

    assert repr(version).isprintable()


def test_a_repr_never_raises(version, registry):
    """What cannot be read is shown as the kind of its error."""
    Path(registry.url, "models/churn/versions/1/version.json").unlink()

    assert repr(mv.Registry(registry.url).get("churn:1")) == "<Version Churn:1 (FileMissingError)>"


# ---- tags and notes


def test_tags_change(version, registry):
    """They are set, replaced and removed; every handle sees it."""
    other = mv.Registry(registry.url).get("churn")
    version.tag(team="fraud", new=1.5)
    version.tag({"a/b": True}, stars=4)
    version.untag("ok", "none", "never there")

    assert dict(other.tags) == dict(version.tags)
    assert dict(other.tags) == {"team": "fraud", "stars": 4, "new": 1.5, "a/b": True}
    other.tag(ok=None)
    assert version.tags["ok"] is None


def test_tags_do_not_change_what_was_recorded(version):
    """The digest and the files stay."""
    before = version.digest

    version.tag(team="other")

    assert version.digest == before
    assert version.verify().ok


@pytest.mark.parametrize(
    "name", ["$float", "$int", "$time", "$bytes", "$tuple", "$x", "$$x", "a.b", "a b", "größe"]
)
def test_tags_of_any_name_come_back(registry, name):
    """Also names that mean something in the format, alone or beside others."""
    version = registry.save("churn", 1.5, tags={name: "x"})

    assert dict(version.tags) == {name: "x"}
    version.tag({name: 2.5})
    assert dict(version.tags) == {name: 2.5}
    assert registry["churn"].versions().to_dict()[f"tags.{name}"] == [2.5]
    version.untag(name)
    assert dict(version.tags) == {}


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**60, numpy.float32(0.5), Kind.TREE, "日"])
def test_tags_keep_their_values(registry, value):
    """Numbers and text come back as what they are."""
    version = registry.save("churn", 1.5)
    version.tag(t=value)

    back = version.tags["t"]
    assert back == value or math.isnan(value)


@pytest.mark.parametrize("value", [[1], (1,), {"a": 1}, b"x", "x" * 1001, object(), 10**1001])
def test_a_tag_is_short(version, value):
    """Lists, bytes and long text are refused, when saving and later."""
    with pytest.raises(InvalidValueError, match=r"tags\['t'\]"):
        version.tag(t=value)
    assert "t" not in version.tags


@pytest.mark.parametrize("name", ["", " a", "a\nb", "`a`", "x" * 201, "\ud800"])
def test_tag_names_are_checked(version, name):
    """A name that cannot be shown or asked for is refused."""
    with pytest.raises(InvalidNameError, match="tag name"):
        version.tag({name: 1})
    with pytest.raises(InvalidNameError, match="tag name"):
        version.untag(name)


@pytest.mark.parametrize("tags", [5, "team", [("team", "risk")], {1: 2}])
def test_tags_are_a_dict(version, tags):
    """Anything else is one of our errors."""
    with pytest.raises(InvalidInputError, match="tag"):
        version.tag(tags)


def entries(registry, model="churn"):
    return len(list(Path(registry.url, "models", model, "journal").glob("*.json")))


def test_nothing_to_change_writes_nothing(version, registry):
    """No tags given, no entry."""
    before = entries(registry)

    version.tag()
    version.tag({})
    version.untag()

    assert entries(registry) == before


def test_notes_are_kept_in_order(version, registry):
    """Each with its text, time and actor."""
    version.note("Looks good.")
    mv.Registry(registry.url, actor="bo@team").get("churn").note("Zweite\nNotiz")

    notes = version.notes

    assert [note["text"] for note in notes] == ["Looks good.", "Zweite\nNotiz"]
    assert [note["actor"] for note in notes] == ["ana@team", "bo@team"]
    assert notes[0]["time"] < notes[1]["time"]


@pytest.mark.parametrize("text", ["", "  ", "x" * 10_001, 5, None, "\ud800"])
def test_a_note_is_text(version, text):
    """An empty, an endless and another one are refused, and nothing is written."""
    with pytest.raises(InvalidValueError, match="note"):
        version.note(text)
    assert version.notes == []


def test_the_longest_note_is_kept(version):
    """10,000 characters fit an entry, whichever they are."""
    for text in ("x" * 10_000, "\0" * 10_000, "\U0001f600" * 10_000):
        version.note(text)

    assert [len(note["text"]) for note in version.notes] == [10_000] * 3


# ---- files


@pytest.mark.parametrize("path", ["roc.svg", "artifacts/roc.svg"])
def test_an_artifact_is_opened(seen, path):
    """With or without the folder before it."""
    with seen.open(path) as file:
        assert file.read() == b"<svg/>"


@pytest.mark.parametrize(
    "path", ["", "nothing", "/etc/passwd", "../../registry.json", "claim.json"]
)
def test_a_file_that_is_not_listed_is_not_opened(seen, path):
    """Only what the version lists can be read, and the error lists it."""
    for use in (lambda: seen.open(path), lambda: seen.download("nowhere", path)):
        with pytest.raises(ArtifactNotFoundError, match=r"has no file .* its files: artifacts/raw"):
            use()
    assert not Path("nowhere").exists()


def test_a_version_is_downloaded(seen, tmp_path):
    """Every file and `version.json`; the copy loads by itself."""
    folder = seen.download(tmp_path / "here")

    assert folder == tmp_path / "here"
    assert (folder / "artifacts/raw/a.bin").read_bytes() == b"\0\1"
    directory = mv.open_directory(folder)
    assert directory.load(allow_pickle=True) == {"w": [1]}
    assert directory.record.origin.number == 1
    assert (directory.params, dict(directory.metrics)) == (seen.params, dict(seen.metrics))
    assert directory.files == seen.files
    assert directory.open("raw/a.bin").read() == b"\0\1"


def test_the_series_of_a_copy_are_read_from_it(registry, tmp_path):
    """Verified first, as every file is."""
    with registry.run("churn") as run:
        run.log_metric("loss", 0.5, step=1)
    copy = mv.open_directory(run.version.download(tmp_path / "here"))

    assert copy.metrics.series("loss") == [(1, 0.5)]
    (tmp_path / "here/series.jsonl").chmod(0o600)
    (tmp_path / "here/series.jsonl").write_bytes(b"x" * copy.files[0].size)
    with pytest.raises(DigestMismatchError):
        copy.metrics.series("loss")


def test_some_files_are_downloaded(seen, tmp_path):
    """Only those that were named."""
    seen.download(tmp_path / "here", "roc.svg")

    files = [path.name for path in (tmp_path / "here").rglob("*") if path.is_file()]
    assert files == ["roc.svg"]


def test_a_download_replaces_nothing(seen, tmp_path):
    """A file that is there stays as it is."""
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/roc.svg").write_text("mine")

    with pytest.raises(InvalidInputError, match=r"roc\.svg exists; download into another folder"):
        seen.download(tmp_path, "roc.svg")
    assert (tmp_path / "artifacts/roc.svg").read_text() == "mine"


def test_downloaded_files_belong_to_the_user(seen, tmp_path):
    """They can be edited, without changing the version."""
    folder = seen.download(tmp_path / "here")

    with (folder / "artifacts/roc.svg").open("a") as file:
        file.write("mine")

    assert seen.verify().ok


# ---- loading


def test_a_version_without_an_object_loads_nothing(registry):
    """The error says so."""
    version = registry.save("churn", params={"C": 1})

    with pytest.raises(ObjectNotFoundError, match="churn:1 was committed without an object"):
        version.load()
    assert version.type is None


def test_loads_are_copies(version):
    """Changing what was loaded changes nothing that is stored."""
    version.load()["w"].append(2)

    assert version.load() == {"w": [1]}


def test_a_mapped_load_is_read_only(registry):
    """Arrays are views of the file; a load without it gives arrays of one's own."""
    array = numpy.arange(1_000_000.0)
    version = registry.save("churn", {"a": array})

    mapped, own = version.load(mmap=True)["a"], version.load()["a"]

    assert not mapped.flags.writeable and own.flags.writeable
    assert (mapped == array).all() and (own == array).all()
    own[:] = 0
    assert version.verify().ok


def test_pickles_run_only_what_is_allowed(registry):
    """A list of exact names allows these besides those that only build data, True all."""
    value = [date(2026, 11, 1), attrgetter("real"), itemgetter(0)]
    version = registry.save("churn", value)
    names = ["operator:attrgetter", "operator:itemgetter"]

    with pytest.raises(UntrustedPickleError, match=r"allow_pickle=\['operator:attr") as refusal:
        version.load(allow_pickle=False)
    assert list(refusal.value.globals) == names
    with pytest.raises(UntrustedPickleError) as refusal:
        version.load(allow_pickle=names[:1])
    assert list(refusal.value.globals) == names[1:]
    for allow in (names, True, None):
        assert repr(version.load(allow_pickle=allow)) == repr(value)


def test_a_registry_says_what_its_loads_may_run(registry):
    """Its word holds for each load that says nothing itself."""
    registry.save("churn", itemgetter(0))

    for allow in (False, [], "operator:attrgetter"):
        strict = mv.Registry(registry.url, allow_pickle=allow)
        for load in (strict.get("churn").load, strict["churn"][1].load, strict.search()[0].load):
            with pytest.raises(UntrustedPickleError):
                load()
        assert strict.load("churn", allow_pickle=True)("ab") == "a"
    assert mv.Registry(registry.url, allow_pickle="operator:itemgetter").load("churn")("ab") == "a"


DAMAGE = {
    "removed": (lambda path: path.unlink(), FileMissingError),
    "shorter": (lambda path: path.write_bytes(path.read_bytes()[:-1]), SizeMismatchError),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"x"), SizeMismatchError),
    "other": (lambda path: path.write_bytes(b"x" * path.stat().st_size), DigestMismatchError),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["version.json", "object/object.pkl", "artifacts/roc.svg"])
def test_damage_is_found(version, registry, name, damage):
    """Each file that is not the committed one is refused by what reads it, and named by verify."""
    change, error = DAMAGE[damage]
    path = Path(registry.url, "models/churn/versions/1", name)
    path.chmod(0o644)
    change(path)
    fresh = mv.Registry(registry.url).get("churn:1")

    report = fresh.verify()
    assert not report
    assert [problem.key for problem in report.problems][:1] == [f"models/churn/versions/1/{name}"]
    assert name in str(report)
    use = (lambda: fresh.open("roc.svg")) if name.startswith("art") else fresh.load
    with pytest.raises(error, match=r"Churn:1|churn:1"):
        use()


# ---- withdrawing


def test_a_withdrawn_version_warns(version, registry):
    """Each load says when, why, and what to use; a restored one is quiet."""
    better = registry.save("churn", {"w": [2]})
    version.withdraw(reason="bad labels", use_instead=better)

    for load in (version.load, lambda: mv.Registry(registry.url).load("churn:1")):
        with pytest.warns(
            WithdrawnWarning, match=r"Churn:1 was withdrawn on .*: bad labels; use Churn:2"
        ):
            assert load() == {"w": [1]}
    assert version.withdrawn == "bad labels"
    version.restore(reason="labels were right")
    assert version.withdrawn is None
    assert version.load() == {"w": [1]}


LOADERS = {
    "version": lambda r: r["churn"][1].load(),
    "mapped": lambda r: r["churn"][1].load(mmap=True),
    "alias": lambda r: r.load("churn@champion"),
    "stage": lambda r: r["churn"]["staging"].load(),
    "MLflow's": lambda r: r.load("models:/churn/1"),
    "default registry": lambda r: mv.load("churn:1"),
    "moment": lambda r: r["churn"].at("2999-01-01")["staging"].load(),
    "copy of the handle": lambda r: pickle.loads(pickle.dumps(r["churn"][1])).load(),
    "table": lambda r: next(iter(r["churn"].versions(where="withdrawn = true"))).load(),
    "followed": lambda r: r["churn"].follow("staging").get()[0],
}


@pytest.mark.parametrize("loader", LOADERS)
def test_whoever_loads_a_withdrawn_version_is_warned(version, registry, monkeypatch, loader):
    """By whatever name and handle it is found: why, and what to use instead."""
    monkeypatch.setenv("MODELVERSION_REGISTRY", registry.url)
    registry["churn"].set_alias("champion", 1)
    version.promote("staging")
    better = registry.save("churn", {"w": [2]})
    with pytest.warns(LiveVersionWarning):
        version.withdraw(reason="bad labels", use_instead=better)

    with pytest.warns(WithdrawnWarning, match=r"bad labels; use Churn:2"):
        assert LOADERS[loader](registry) == {"w": [1]}


def test_the_warning_points_at_the_callers_line(version, registry):
    """So that it is shown once for each place that loads."""
    version.withdraw(reason="r")

    for load in (version.load, lambda: registry.load("churn:1")):
        with pytest.warns(WithdrawnWarning) as caught:
            load()
        assert caught[0].filename == __file__


def test_latest_may_be_withdrawn(version, registry):
    """Withdrawing moves no pointer; it warns."""
    version.withdraw(reason="r")

    with pytest.warns(WithdrawnWarning):
        assert registry.load("churn") == {"w": [1]}


@pytest.mark.parametrize("instead", [9, 0, "latest-ish", True])
def test_the_version_to_use_is_there(version, instead):
    """What to use instead has to exist."""
    with pytest.raises((VersionNotFoundError, KeyError, InvalidInputError)):
        version.withdraw(reason="r", use_instead=instead)
    assert version.withdrawn is None


def test_a_version_is_not_used_instead_of_itself(version):
    """That would be no help."""
    with pytest.raises(InvalidInputError):
        version.withdraw(reason="r", use_instead=version)


def test_a_version_of_another_model_is_not_used_instead(version, registry):
    """A Version of another model is refused, not taken for this model's number."""
    registry.save("churn", {"w": [2]})
    registry.save("fraud", 1.5)
    other = registry.save("fraud", 2.5)

    with pytest.raises((VersionNotFoundError, InvalidInputError)):
        version.withdraw(reason="r", use_instead=other)


def test_what_is_recorded_can_be_read_from_any_place(place):
    """A version in memory has all that one in a folder has."""
    registry = mv.Registry(place)
    frame = polars.DataFrame({"x": [1]})
    version = registry.save("churn", {"a": 1}, data={"t": frame}, artifacts={"a.txt": "a"})

    assert version.open("a.txt").read() == b"a"
    assert dict(version.data["t"].columns) == {"x": "int64"}
    assert version.verify().ok
    assert os.fspath(place) in registry.url
