"""The registry: opening, finding, searching, and everything that it refuses."""

import copy
import os
import pickle
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from processes import together

import modelversion as mv
from modelversion.errors import (
    AliasNotFoundError,
    InvalidInputError,
    InvalidNameError,
    InvalidReferenceError,
    ModelNotFoundError,
    ModelVersionError,
    NewerFormatError,
    NotARegistryError,
    QueryError,
    ReadOnlyError,
    RecordError,
    StorageError,
    VersionNotFoundError,
)

_NOBODY = 65534

# ---- opening


def test_opening_does_no_io(tmp_path):
    """A registry of a place that is not there can be opened, and makes nothing."""
    registry = mv.Registry(tmp_path / "far" / "away")

    assert registry.url == str(tmp_path / "far" / "away")
    assert not (tmp_path / "far").exists()


def test_reading_an_empty_place_gives_an_empty_registry(place, tmp_path):
    """Nothing is made, and nothing is missing."""
    registry = mv.Registry(place)

    assert list(registry) == registry.models() == []
    assert len(registry) == 0
    assert "churn" not in registry
    assert registry.id is None
    assert len(registry.search()) == 0
    assert registry.verify().ok
    assert registry.usage().versions == registry.usage().bytes == 0
    assert registry.gc().removed == ()
    assert not any(tmp_path.iterdir())


def test_an_empty_place_has_no_model(place):
    """Asking for one is the error that it is in any registry."""
    registry = mv.Registry(place)

    for ask in (registry.__getitem__, registry.get, registry.load):
        with pytest.raises(ModelNotFoundError, match="no model 'churn'"):
            ask("churn")


def test_the_first_write_makes_the_registry(place):
    """It has an id from then on, which every handle reads."""
    registry = mv.Registry(place)

    registry.save("churn", {"a": 1})

    assert registry.id == mv.Registry(place).id
    assert len(registry.id) == 32


@pytest.mark.parametrize("spell", [str, Path, os.fspath, lambda p: f"file://{p}"])
def test_a_folder_is_spelt_in_any_way(tmp_path, spell):
    """Text, paths and file URLs are one place."""
    mv.Registry(tmp_path / "r").save("churn", 1.5)

    assert mv.Registry(spell(tmp_path / "r")).load("churn") == 1.5


def test_a_relative_path_is_fixed_when_it_is_opened(tmp_path, monkeypatch):
    """Changing the folder later does not move the registry."""
    monkeypatch.chdir(tmp_path)
    registry = mv.Registry("models")
    (tmp_path / "elsewhere").mkdir()

    monkeypatch.chdir(tmp_path / "elsewhere")
    registry.save("churn", 1.5)

    assert (tmp_path / "models" / "registry.json").is_file()


def test_a_home_folder_is_expanded(tmp_path, monkeypatch):
    """`~` is the user's folder."""
    monkeypatch.setenv("HOME", str(tmp_path))

    assert mv.Registry("~/models").url == str(tmp_path / "models")


class Universal:
    """What a UPath looks like from outside."""

    def __init__(self, fs, path):
        self.fs, self.path = fs, path

    def __str__(self):
        return f"memory://{self.path}"


def test_a_filesystem_with_a_path_is_a_place():
    """What carries its own fsspec filesystem is taken as it is."""
    import fsspec

    place = Universal(fsspec.filesystem("memory"), "/universal")
    mv.Registry(place).save("churn", 1.5)

    assert mv.Registry("memory://universal").load("churn") == 1.5


@pytest.mark.parametrize("url", ["", b"folder", 3, ["a"], object()])
def test_a_place_is_a_path_or_a_url(url):
    """Anything else is refused when it is opened."""
    with pytest.raises(InvalidInputError, match="a registry is a path or a URL"):
        mv.Registry(url)


@pytest.mark.parametrize("path", ["a\0b", "\ud800", 3, None, [], ""])
def test_a_path_is_one_that_a_system_can_have(registry, path):
    """Of a registry, of a version directory and of a folder to download to; nothing is made."""
    version = registry.save("churn", 1)

    with pytest.raises(InvalidInputError, match="a version directory must be a path, found"):
        mv.open_directory(path)
    with pytest.raises(InvalidInputError, match="folder must be a path, found"):
        version.download(path)
    with pytest.raises(InvalidInputError, match="a registry"):
        mv.Registry(path if path is not None else b"")


@pytest.mark.parametrize("junk", [3, [1], {}, object()])
def test_what_is_no_name_is_refused_as_what_it_is(registry, junk):
    """The error says what was wanted."""
    version = registry.save("churn", 1, metrics={"auc": 0.9})

    with pytest.raises(InvalidInputError, match="metric name must be str"):
        registry["churn"].best(junk)
    with pytest.raises(InvalidInputError, match="artifact path must be str"):
        version.open(junk)
    if not isinstance(junk, dict):  # which names none
        with pytest.raises(InvalidInputError, match="model name must be str"):
            registry.audit(models=junk)
        with pytest.raises(InvalidInputError, match="copy takes references and versions"):
            registry.copy(junk, to=registry)


def test_an_unknown_protocol_is_refused():
    """A URL that no filesystem answers to is one of our errors, with the URL."""
    with pytest.raises(ModelVersionError, match="gopher"):
        mv.Registry("gopher://team/models")


@pytest.mark.parametrize(
    "option",
    [{"writers": "few"}, {"actor": 5}, {"actor": ""}, {"actor": "\ud800"}, {"allow_pickle": 5}],
)
def test_options_are_checked(tmp_path, option):
    """What could not be stored or has no meaning is refused when it is opened."""
    with pytest.raises(InvalidInputError):
        mv.Registry(tmp_path / "r", **option)


def test_a_handle_pickles(place):
    """A copy of a handle reads and writes the same place as the same actor."""
    registry = mv.Registry(place, actor="ana@team", allow_pickle=["builtins:set"])
    registry.save("churn", {"a": 1})

    for twin in (pickle.loads(pickle.dumps(registry)), copy.deepcopy(registry)):
        version = twin.save("churn", {"a": os.urandom(2).hex()})
        assert version.actor.name == "ana@team"
        assert twin.url == registry.url
        assert registry.get("churn") == version


def test_an_unopened_handle_pickles(place):
    """Nothing has to be read for it."""
    twin = pickle.loads(pickle.dumps(mv.Registry(place)))

    assert twin.save("churn", 1.5).ref == "churn:1"


def test_the_clock_is_the_callers(place, clock):
    """Times come from the clock that was given."""
    registry = mv.Registry(place, clock=clock)

    assert registry.save("churn", 1.5).created_at.startswith("2026-11-01T12:00:")


# ---- places that are something else


@pytest.mark.parametrize("name", ["model.pkl", "models", "policies", ".git", "registry"])
def test_a_folder_that_holds_something_else_is_refused(tmp_path, name):
    """Nothing is written into it, and the error says what is there."""
    (tmp_path / name).mkdir()
    registry = mv.Registry(tmp_path)

    with pytest.raises(NotARegistryError, match=f"is not empty .it holds '{name}'"):
        registry.save("churn", 1.5)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", [".gitignore", ".DS_Store", "desktop.ini"])
def test_what_tools_leave_in_a_folder_is_no_harm(tmp_path, name):
    """A folder with only that is empty."""
    (tmp_path / name).touch()

    assert mv.Registry(tmp_path).save("churn", 1.5).ref == "churn:1"


def test_a_file_is_no_place(tmp_path):
    """A place that is a file is refused, and the file is left as it is."""
    (tmp_path / "file").write_text("precious")

    with pytest.raises(NotARegistryError, match="a file is where"):
        mv.Registry(tmp_path / "file").save("churn", 1.5)
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", RecordError),
        ('{"format":', RecordError),
        ("[]", NotARegistryError),
        ("{}", NotARegistryError),
        ('{"name": "npm"}', NotARegistryError),
        ('{"format": 1, "id": 5}', RecordError),
        ('{"format": 1, "format": 1, "id": "a"}', RecordError),
        ('{"format": 2, "shape": "new"}', NewerFormatError),
    ],
)
def test_a_registry_json_of_something_else_is_refused(tmp_path, text, error):
    """Truncated, edited, foreign and newer ones each have their error, for reading and writing."""
    (tmp_path / "registry.json").write_text(text)
    registry = mv.Registry(tmp_path)

    for use in (lambda: registry.save("churn", 1.5), lambda: list(registry), registry.verify):
        with pytest.raises(error, match=r"registry\.json"):
            use()
    assert [path.name for path in tmp_path.iterdir()] == ["registry.json"]


def test_a_read_only_place_is_refused():
    """The error names the place, and is a PermissionError; root, who may all, is somebody else."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IROTH | stat.S_IXOTH)

        (refused,) = together(_save_without_rights, [place])

    assert place in refused


def _save_without_rights(place):
    if os.geteuid() == 0:
        os.setuid(_NOBODY)
    with pytest.raises(ReadOnlyError) as caught:
        mv.Registry(f"{place}/r").save("churn", 1.5)
    assert isinstance(caught.value, PermissionError)
    return str(caught.value)


def test_unknown_filesystems_are_read_and_not_written():
    """A class that may let two writers win is refused, unless there is one writer."""

    class Unknown(MemoryFileSystem):
        """Like the one of memory, but nobody has looked at it."""

    mv.Registry("memory://known/r").save("churn", 1.5)
    known = SimpleNamespace(fs=Unknown(), path="/known/r")

    with pytest.raises(StorageError, match=r"writers='single'"):
        mv.Registry(known).save("churn", 2.5)
    assert mv.Registry(known, allow_pickle=True).load("churn") == 1.5
    assert mv.Registry(known, writers="single", allow_pickle=True).save("churn", 2.5).number == 2


# ---- models


def test_models_are_listed_by_name(registry):
    """A registry is read like a dict: names in their first spelling, sorted."""
    for name in ("Zeta", "alpha", "Mid"):
        registry.save(name, 1.5)

    assert list(registry) == ["alpha", "Mid", "Zeta"]
    assert [model.name for model in registry.models()] == ["alpha", "Mid", "Zeta"]
    assert len(registry) == 3
    assert "MID" in registry and "mid" in registry
    assert "no such" not in registry and 3 not in registry
    assert registry._ipython_key_completions_() == ["alpha", "Mid", "Zeta"]


def test_names_ignore_case_and_keep_their_first_spelling(registry):
    """`Churn` and `churn` are one model, shown as it was first spelt."""
    registry.save("Churn", {"a": 1})

    version = registry.save("churn", {"a": 2})

    assert version.ref == "Churn:2"
    assert registry["CHURN"].name == version.model == "Churn"
    assert registry.get("churn:2").ref == "Churn:2"
    assert mv.Registry(registry.url).get("churn").ref == "Churn:2"


def test_a_missing_model_is_suggested(churn, registry):
    """A typo gets the nearest name, another name gets the list."""
    for ask in (registry.__getitem__, registry.get, lambda name: registry.load(f"{name}:3")):
        with pytest.raises(ModelNotFoundError, match=r"no model 'chrun' .* did you mean 'churn'"):
            ask("chrun")
        with pytest.raises(ModelNotFoundError, match=r"no model 'fraud' .* models: churn"):
            ask("fraud")
    with pytest.raises(KeyError):
        registry["chrun"]


@pytest.mark.parametrize("name", ["", "a/b", "../x", "con", 3, None, "churn:3", "a" * 65])
def test_names_are_checked(registry, name):
    """A name that is none is refused for reading and for writing, and nothing is made."""
    for use in (lambda: registry.save(name, 1.5), lambda: registry[name]):
        with pytest.raises(InvalidNameError, match="model name"):
            use()
    assert not Path(registry.url).exists()


# ---- references


@pytest.mark.parametrize(
    ("reference", "number"),
    [
        ("churn", 3),
        ("churn:2", 2),
        ("churn:v2", 2),
        ("churn:latest", 3),
        ("churn@latest", 3),
        ("churn@champion", 1),
        ("Churn@CHAMPION", 1),
        ("models:/churn/2", 2),
        ("models:/churn/latest", 3),
        ("models:/churn@champion", 1),
        ("models:/churn/champion", 1),
    ],
)
def test_references_are_resolved(churn, registry, reference, number):
    """Every form names its version, in this handle and in a new one."""
    churn.set_alias("champion", 1)

    for handle in (registry, mv.Registry(registry.url)):
        assert handle.get(reference).number == number
        assert handle.load(reference) == {"weights": [number]}


@pytest.mark.parametrize(
    ("reference", "error", "message"),
    [
        ("churn:9", VersionNotFoundError, "no version churn:9; the latest versions are 3, 2, 1"),
        ("churn:0", VersionNotFoundError, "churn has no version 0"),
        (
            "churn@champion",
            AliasNotFoundError,
            "stages: development, staging, production; aliases: none",
        ),
        ("churn@3", AliasNotFoundError, "churn has no stage or alias '3'"),
        ("churn:a:b", InvalidReferenceError, "write churn, churn:3"),
        (3, InvalidReferenceError, "a reference is text"),
    ],
)
def test_a_reference_to_nothing_says_what_there_is(churn, registry, reference, error, message):
    """The error names what was asked and what was found."""
    with pytest.raises(error) as refusal:
        registry.get(reference)

    assert message in str(refusal.value)


def test_load_takes_what_a_version_takes(churn, registry):
    """`load` hands its options on."""
    assert registry.load("churn:1", mmap=True, allow_pickle=[]) == {"weights": [1]}


# ---- searching


@pytest.fixture
def zoo(registry):
    """Two models with versions of several kinds."""
    registry.save("churn", {"a": 1}, params={"C": 1, "opt/lr": 0.1}, metrics={"auc": 0.9})
    registry.save("churn", {"a": 2}, params={"C": 2, "opt/lr": 2.0}, metrics={"auc": 0.95})
    registry.save("fraud", {"a": 3}, params={"C": 1}, tags={"team": "risk"}, metrics={"auc": 0.5})
    return registry


def refs(versions):
    return [version.ref for version in versions]


def test_search_goes_over_all_models(zoo):
    """Without a condition it gives every version, by model and number."""
    assert refs(zoo.search()) == ["churn:1", "churn:2", "fraud:1"]
    assert refs(zoo.search(where="params.C = 1")) == ["churn:1", "fraud:1"]
    assert refs(zoo.search(where="params.`opt/lr` < 1")) == ["churn:1"]
    assert refs(zoo.search(where="tags.team = 'risk'")) == ["fraud:1"]
    assert refs(zoo.search(order_by="-metrics.auc")) == ["churn:2", "churn:1", "fraud:1"]
    assert refs(zoo.search(order_by="metrics.auc", limit=1)) == ["fraud:1"]


def test_a_search_that_does_not_parse_is_refused(zoo):
    """The error is that of the query, whatever the registry holds."""
    for registry in (zoo, mv.Registry("memory://nothing-there")):
        for question in ({"where": "metrics.auc >"}, {"order_by": "auc down"}, {"where": 3}):
            with pytest.raises(QueryError):
                registry.search(**question)


@pytest.mark.parametrize("limit", [-1, True, 1.5, "3"])
def test_a_limit_is_a_number_of_rows(zoo, limit):
    """Anything else is refused."""
    with pytest.raises(InvalidInputError, match="limit must be a number of rows, found"):
        zoo.search(limit=limit)


# ---- who acts


def actor_of(place, **options):
    return mv.Registry(place, **options).save("churn", os.urandom(4)).actor


def test_the_actor_is_the_one_given(place, monkeypatch):
    """The argument goes before the environment."""
    monkeypatch.setenv("MODELVERSION_ACTOR", "env@team")

    actor = actor_of(place, actor="ana@team")

    assert (actor.name, actor.source, str(actor)) == ("ana@team", "given", "ana@team")


def test_the_actor_is_that_of_the_environment(place, monkeypatch):
    """The variable goes before the CI."""
    monkeypatch.setenv("MODELVERSION_ACTOR", "env@team")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")

    actor = actor_of(place)

    assert (actor.name, actor.source) == ("env@team", "env")


@pytest.mark.parametrize(
    ("variables", "name", "url"),
    [
        (
            {
                "GITHUB_ACTIONS": "true",
                "GITHUB_ACTOR": "ana",
                "GITHUB_RUN_ID": "7",
                "GITHUB_SERVER_URL": "https://github.com",
                "GITHUB_REPOSITORY": "team/repo",
            },
            "ana",
            "https://github.com/team/repo/actions/runs/7",
        ),
        ({"GITHUB_ACTIONS": "true"}, "github", None),
        (
            {"GITLAB_CI": "1", "GITLAB_USER_LOGIN": "bo", "CI_JOB_URL": "https://x/1"},
            "bo",
            "https://x/1",
        ),
        (
            {"BUILDKITE": "1", "BUILDKITE_BUILD_CREATOR": "cy", "BUILDKITE_BUILD_URL": "https://y"},
            "cy",
            "https://y",
        ),
    ],
)
def test_in_a_ci_its_actor_acts(place, monkeypatch, variables, name, url):
    """The run's URL is kept beside the name."""
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)

    actor = actor_of(place)

    assert (actor.name, actor.source, actor.run_url) == (name, "ci", url)


def test_else_the_user_acts(place):
    """Without any word it is user@host."""
    actor = actor_of(place)

    assert actor.source == "os"
    assert "@" in actor.name


# ---- showing


def test_a_repr_is_one_line(registry):
    """It says where and how many."""
    assert repr(registry) == f"<Registry {registry.url}: 0 models>"
    registry.save("churn", 1.5)
    assert repr(registry) == f"<Registry {registry.url}: 1 model>"
    registry.save("fraud", 1.5)
    assert repr(registry) == f"<Registry {registry.url}: 2 models>"


def test_a_repr_never_raises(tmp_path):
    """What cannot be read is shown as the kind of its error."""
    (tmp_path / "registry.json").write_text("{")

    assert repr(mv.Registry(tmp_path)) == f"<Registry {tmp_path} (RecordError)>"


@pytest.mark.skipif(os.name == "nt", reason="such a folder cannot exist there")
def test_a_repr_of_a_strange_place_is_one_line(tmp_path):
    """Line breaks and control characters in a path do not break the line."""
    registry = mv.Registry(tmp_path / "a\nb\x1b[31m")

    assert repr(registry).isprintable()


# ---- everything at once


def test_a_registry_is_what_its_files_say(churn, registry, tmp_path):
    """A moved folder is the same registry."""
    churn.set_alias("champion", 2)
    registry_id = registry.id
    moved = tmp_path / "moved"
    Path(registry.url).rename(moved)

    again = mv.Registry(moved)

    assert again.id == registry_id
    assert again.load("churn@champion") == {"weights": [2]}
    assert again.verify().ok
    assert again.save("churn", {"weights": [4]}).number == 4


def test_files_cannot_be_written_by_accident(churn, registry):
    """What is committed is read-only on a disk."""
    files = [path for path in Path(registry.url).rglob("*") if path.is_file()]

    fixed = [path for path in files if path.name not in ("head.json",) and path.suffix != ".jsonl"]
    assert fixed
    assert not any(path.stat().st_mode & 0o222 for path in fixed)


def test_the_default_registry_loads(tmp_path, monkeypatch):
    """`modelversion.load` reads the default registry."""
    monkeypatch.setenv("MODELVERSION_REGISTRY", str(tmp_path / "r"))
    mv.Registry().save("churn", {"a": 1})

    assert mv.load("churn:1") == {"a": 1}
    assert mv.load("churn", mmap=True, allow_pickle=[]) == {"a": 1}


def test_a_fresh_process_reads_it(churn, registry):
    """Nothing of a registry is in the process that made it."""
    program = (
        "import modelversion as mv, sys; r = mv.Registry(sys.argv[1]);"
        "print(r.load('churn:2'), [v.metrics['auc'] for v in r['churn']], r.verify().ok)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, registry.url], capture_output=True, text=True, check=True
    )

    assert done.stdout == "{'weights': [2]} [0.7, 0.9, 0.8] True\n"


def test_usage_counts_versions_and_bytes(zoo):
    """By model and in all; deleted ones do not count."""
    usage = zoo.usage()

    assert {name: model.versions for name, model in usage.models.items()} == {
        "churn": 2,
        "fraud": 1,
    }
    assert usage.versions == 3
    assert usage.bytes == sum(f.size for v in zoo.search() for f in v.files)
    assert str(usage).startswith(f"usage: 3 versions, {usage.bytes:,} bytes")
    zoo.get("churn:1").delete(reason="r")
    assert zoo.usage().versions == 2
